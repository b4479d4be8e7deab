"""vLLM as a child: a stand-in for its executable shows how it is started, asked, watched and ended."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.local.chat import encode_prompt
from engine.local.inference import load_inference, vllm
from engine.local.inference.base import Completion, Inference, Place, Prompt
from engine.local.inference.vllm import tokens_of
from engine.local.resolve import ResolvedModel
from engine.local.tokenizer import load_tokenizer
from engine.protocol.errors import StageError
from engine.settings.local import Local
from engine.settings.schema import Migration

PROMPTS = [Prompt(id=f"p{n}", messages=[{"role": "user", "content": "x" * n}], tools=[]) for n in range(1, 6)]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(vllm, "POLL_S", 0.05)
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "started.jsonl"))


def backend(executable: str, tiny: ResolvedModel, place: Place, **more: Any) -> Inference:
    inference = {"backend": "vllm", "vllm": executable, "samples": 2, "max_new_tokens": 8, **more}
    tables = {"coverage": {"source": "-"}, "service": {"model": "sandbox"}, "local": {"model": "tiny"}}
    settings = Migration.model_validate({**tables, "inference": inference})
    return load_inference(settings, tiny, place)


def answers(model: Inference) -> list[Completion]:
    plan = model.plan(PROMPTS, 2)
    return [one for batch in plan.batches for one in model.complete(batch, lambda _: None)]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """What the servers were started with, read at the end of a test; none of them may be alive then."""
    rows: list[dict[str, Any]] = []
    yield rows
    rows += [json.loads(line) for line in (tmp_path / "started.jsonl").read_text().splitlines()]
    assert rows and not any(psutil.pid_exists(row["pid"]) for row in rows)


def only(tmp_path: Path) -> dict[str, Any]:
    (line,) = (tmp_path / "started.jsonl").read_text().splitlines()
    row: dict[str, Any] = json.loads(line)
    return row


def test_it_answers_with_the_adapter_and_ends(
    executable: str, tiny: ResolvedModel, adapter: Path, tmp_path: Path, started: list[Any]
) -> None:
    told: list[str] = []
    place = Place(folder=tmp_path / "infer", adapter=adapter, tell=told.append)
    with closing(backend(executable, tiny, place, vllm_args="--max-num-seqs 4")) as model:
        first = answers(model)
    row = only(tmp_path)
    arguments, key = row["arguments"], row["environment"]["VLLM_API_KEY"]
    assert arguments[:2] == ["serve", str(tiny.path)] and arguments[-2:] == ["--max-num-seqs", "4"]
    assert f"={adapter}" in arguments[arguments.index("--lora-modules") + 1]
    longest = len(encode_prompt(load_tokenizer(tiny, Local()), PROMPTS[-1].messages))
    assert arguments[arguments.index("--max-model-len") + 1] == str(longest + 8)
    assert len(key) == 32 and key not in str(arguments) and "PYTHONPATH" not in row["environment"]
    assert all(key not in file.read_text() for file in place.folder.iterdir())
    assert len(first) == 10 and len({one.text for one in first}) == 10, "a seed for each sample"
    assert all(one.mean_logprob is not None and one.least_logprob is not None for one in first)
    assert any("vLLM answers after" in line for line in told)
    with closing(backend(executable, tiny, place)) as again:
        assert answers(again) == first, "the same batches and answers when resumed"


def test_the_untuned_model_needs_no_adapter(
    executable: str, tiny: ResolvedModel, tmp_path: Path, started: list[Any]
) -> None:
    with closing(backend(executable, tiny, Place(folder=tmp_path / "infer", adapter=None))) as model:
        assert len(answers(model)) == 10
    assert "--enable-lora" not in only(tmp_path)["arguments"]


@pytest.mark.parametrize(
    ("fault", "problem", "hint"),
    [
        ("no start", "vLLM did not start: ValueError: No available memory", "inference.vllm_args"),
        ("crash", "vLLM ended with status 7: RuntimeError: CUDA error", "vllm.log"),
        ("hang", "vLLM hangs", "vllm.log"),
        ("ill", "vLLM hangs", "vllm.log"),
        ("no adapter", "vLLM doesn't list tuned-", "another version"),
        ("ignores adapter", "it doesn't apply the adapter", "transformers"),
    ],
)
def test_a_server_that_fails_says_why(
    fault: str,
    problem: str,
    hint: str,
    executable: str,
    tiny: ResolvedModel,
    adapter: Path,
    tmp_path: Path,
    started: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE", fault)
    monkeypatch.setattr(vllm, "SILENT_POLLS", 8)
    monkeypatch.setattr(vllm, "DEAD_POLLS", 4)
    place = Place(folder=tmp_path / "infer", adapter=adapter)
    with closing(backend(executable, tiny, place)) as model, pytest.raises(StageError) as failed:
        answers(model)
    assert problem in failed.value.message and hint in failed.value.hint and "resume" in failed.value.hint


@pytest.mark.parametrize(
    ("tokens", "logprobs", "reason"),
    [([5, 6], [-1.0, -1.0], "stop"), ([5, 2], [-1.0], "stop"), ([5, 2], [None, -1.0], "stop"), (None, None, "stop")],
)
def test_a_reply_without_all_tokens_is_refused(tokens: Any, logprobs: Any, reason: str) -> None:
    choice = {"token_ids": tokens, "logprobs": {"token_logprobs": logprobs}, "finish_reason": reason}
    with pytest.raises(StageError):
        tokens_of({"choices": [choice]}, 4, {2})


@pytest.mark.parametrize(
    ("gpus", "own", "added"),
    [
        ("0", [], []),
        ("0,1", [], ["--data-parallel-size", "2"]),
        ("GPU-a,GPU-b,GPU-c", ["--max-num-seqs", "4"], ["--data-parallel-size", "3"]),
        ("0,1", ["--tensor-parallel-size=2"], []),
        ("0,1", ["-tp", "2"], []),
        ("", [], []),
    ],
)
def test_each_gpu_has_a_copy_of_the_model(
    gpus: str, own: list[str], added: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert vllm._parallel(own) == added


@pytest.mark.parametrize(
    "reply",
    [
        {"choices": [3]},
        {"choices": "x"},
        {"choices": [{"token_ids": [5, "2"], "logprobs": {"token_logprobs": [-1.0, -1.0]}}]},
        {"choices": [{"token_ids": [-5, 2], "logprobs": {"token_logprobs": [-1.0, -1.0]}}]},
        {"choices": [{"token_ids": [10**30, 2], "logprobs": {"token_logprobs": [-1.0, -1.0]}}]},
        {"choices": [{"token_ids": [5, 2], "logprobs": []}]},
    ],
)
def test_a_reply_of_another_form_is_refused(reply: Any) -> None:
    with pytest.raises(StageError):
        tokens_of(reply, 4, {2})
