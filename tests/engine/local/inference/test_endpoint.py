"""Any endpoint with OpenAI's API, to which the user's command takes each round's model."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import fake_openai
import pytest

from engine.local.inference import load_inference, serving
from engine.local.inference.base import Completion, Inference, Place, Prompt
from engine.local.inference.encoded import Encoded
from engine.local.inference.seeds import adapter_name
from engine.local.lora import add_adapter
from engine.local.resolve import ResolvedModel
from engine.local.tokenizer import load_tokenizer
from engine.protocol.errors import InputError, LlamaDuoError, StageError
from engine.settings.local import Adapter, Local
from engine.settings.schema import Migration

PROMPTS = [Prompt(id=f"p{n}", messages=[{"role": "user", "content": "x" * n}], tools=[]) for n in range(1, 6)]
DONE = f"{sys.executable} -S -c pass"
FAILING = shlex.join([sys.executable, "-S", "-c", "raise SystemExit('cannot convert')"])


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "POLL_S", 0.02)
    monkeypatch.setattr(serving, "LISTED_POLLS", 3)


def backend(tiny: ResolvedModel, place: Place, **inference: Any) -> Inference:
    tables = {"coverage": {"source": "-"}, "service": {"model": "sandbox"}, "local": {"model": "tiny"}}
    settings = {**tables, "inference": {"backend": "endpoint", "samples": 2, **inference}}
    return load_inference(Migration.model_validate(settings), tiny, place)


def answers(model: Inference) -> list[Completion]:
    return [one for batch in model.plan(PROMPTS, 2).batches for one in model.complete(batch, lambda _: None)]


@contextmanager
def answering(name: str, **how: Any) -> Iterator[fake_openai.FakeOpenAI]:
    server = fake_openai.serve(models=[{"id": name}], **how)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def test_a_command_is_the_server_of_a_round(
    executable: str, tiny: ResolvedModel, adapter: Path, tmp_path: Path
) -> None:
    told: list[str] = []
    place = Place(folder=tmp_path / "infer", adapter=adapter, tell=told.append)
    command = f"{executable} --port {{port}} --name {{name}} --adapter={{adapter}} '--json={{\"a\": [1, 2]}}'"
    with closing(backend(tiny, place, serve=command)) as model:
        done = answers(model)
    assert {one.text.split()[0] for one in done} == {adapter_name(adapter)}
    assert len({one.text for one in done}) == 10, "a seed for each sample"
    assert {(one.mean_logprob, one.least_logprob, one.completion_tokens) for one in done} == {(-1.0, -1.5, 2)}
    assert any(f"the endpoint has {adapter_name(adapter)}" in line for line in told)
    assert sorted(file.name for file in place.folder.iterdir()) == ["batches.json", "serve.log"]


def test_a_command_may_end_where_the_server_is_there_already(
    tiny: ResolvedModel, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOX_KEY", "secret")
    served: dict[str, Any] = {"api_key_env": "BOX_KEY", "serve": DONE, "model": "{name}:latest"}
    warned: list[str] = []
    place = Place(folder=tmp_path / "infer", adapter=adapter, warn=warned.append)
    with (
        answering(f"{adapter_name(adapter)}:latest", key="secret") as server,
        closing(backend(tiny, place, api_base=server.base, **served)) as model,
    ):
        done = answers(model)
        asked = [body for body in server.requests if body["messages"] == PROMPTS[-1].messages]
    assert len(done) == 10 and [body["max_tokens"] for body in asked] == [1024, 1024]
    (warning,) = warned
    assert "counts 4 tokens in a prompt that has" in warning


def test_an_older_model_is_not_taken_for_the_rounds(tiny: ResolvedModel, adapter: Path, tmp_path: Path) -> None:
    """The server has the name from an earlier round until the command is done."""
    slow = "import time; time.sleep(0.3); open('{folder}/done', 'w')"
    command = shlex.join([sys.executable, "-S", "-c", slow])
    place = Place(folder=tmp_path / "infer", adapter=adapter)
    with (
        answering("tuned") as server,
        closing(backend(tiny, place, api_base=server.base, serve=command, model="tuned")) as model,
    ):
        answers(model)
        assert (place.folder / "serve" / "done").exists()


def test_the_untuned_model_may_have_a_name_of_its_own(tiny: ResolvedModel, tmp_path: Path) -> None:
    place = Place(folder=tmp_path / "infer", adapter=None)
    more: dict[str, Any] = {"serve": "false", "untuned_model": "llama-1b"}
    with answering("llama-1b") as server, closing(backend(tiny, place, api_base=server.base, **more)) as model:
        assert {one.text.split()[0] for one in answers(model)} == {"llama-1b"}


def test_a_server_without_log_probabilities_is_asked_without(
    tiny: ResolvedModel, adapter: Path, tmp_path: Path
) -> None:
    warned: list[str] = []
    place = Place(folder=tmp_path / "infer", adapter=adapter, warn=warned.append)
    with (
        answering(adapter_name(adapter), fault="no logprobs") as server,
        closing(backend(tiny, place, api_base=server.base, serve=DONE)) as model,
    ):
        assert {one.mean_logprob for one in answers(model)} == {None}
    assert "no log-probabilities" in warned[0]


def test_a_busy_server_is_waited_for(tiny: ResolvedModel, adapter: Path, tmp_path: Path) -> None:
    place = Place(folder=tmp_path / "infer", adapter=adapter)
    with (
        answering(adapter_name(adapter), fault="busy") as server,
        closing(backend(tiny, place, api_base=server.base, serve=DONE)) as model,
    ):
        assert len(answers(model)) == 10


@pytest.mark.parametrize(
    ("serve", "name", "problem", "hint"),
    [
        ("no-such-program", "other", "no-such-program ended with status 127: cannot start", "inference.serve"),
        (
            f"{sys.executable} -S -c \"raise SystemExit('cannot convert')\"",
            "other",
            "status 1: cannot convert",
            "inference.serve",
        ),
        (DONE, "other", "the endpoint doesn't list tuned-", "inference.model"),
    ],
)
def test_a_command_that_fails_says_why(
    serve: str, name: str, problem: str, hint: str, tiny: ResolvedModel, adapter: Path, tmp_path: Path
) -> None:
    place = Place(folder=tmp_path / "infer", adapter=adapter)
    with (
        answering(name) as server,
        closing(backend(tiny, place, api_base=server.base, serve=serve)) as model,
        pytest.raises(StageError) as failed,
    ):
        answers(model)
    assert problem in failed.value.message and hint in failed.value.hint


def test_a_wrong_key_is_named(
    tiny: ResolvedModel, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOX_KEY", "wrong")
    place = Place(folder=tmp_path / "infer", adapter=adapter)
    with (
        answering("any", key="secret") as server,
        closing(backend(tiny, place, api_base=server.base, api_key_env="BOX_KEY", serve=DONE)) as model,
        pytest.raises(InputError, match="refuses the API key"),
    ):
        answers(model)


def test_a_server_that_ends_is_found(
    executable: str, tiny: ResolvedModel, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE", "crash")
    place = Place(folder=tmp_path / "infer", adapter=adapter)
    command = f"{executable} --port {{port}} --name {{name}}"
    with closing(backend(tiny, place, serve=command)) as model, pytest.raises(LlamaDuoError) as failed:
        answers(model)
    assert "vllm ended with status 7: RuntimeError: CUDA error" in failed.value.message


def test_a_merged_model_is_the_tuned_one(tiny: ResolvedModel, tmp_path: Path) -> None:
    """The command finds one folder, which answers as base and adapter do together; it is removed at the end."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    tuned = add_adapter(AutoModelForCausalLM.from_pretrained(tiny.path, dtype=torch.float32), Adapter(r=2, dropout=0))
    for name, weight in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    tuned.save_pretrained(tmp_path / "adapter")
    look = "import sys, shutil; shutil.copytree(sys.argv[1], sys.argv[2])"
    command = shlex.join([sys.executable, "-S", "-c", look, "{merged}", str(tmp_path / "kept")])
    place = Place(folder=tmp_path / "infer", adapter=tmp_path / "adapter")
    with (
        answering(adapter_name(tmp_path / "adapter")) as server,
        closing(backend(tiny, place, api_base=server.base, serve=command)) as model,
    ):
        answers(model)
    assert not (place.folder / "serve").exists()
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "kept", dtype=torch.float32)
    ids = torch.tensor([[1, 20, 30, 40]])
    untuned = AutoModelForCausalLM.from_pretrained(tiny.path, dtype=torch.float32)
    with torch.inference_mode():
        expected, found, base = (one(ids).logits.softmax(-1) for one in (tuned, merged, untuned))
    assert (found - expected).abs().max() < 0.1 * (base - expected).abs().max()
    tokens = Encoded(load_tokenizer(tiny, Local())).tokens(PROMPTS[0])
    kept = ResolvedModel("kept", tmp_path / "kept", None, "0" * 16)
    assert Encoded(load_tokenizer(kept, Local())).tokens(PROMPTS[0]) == tokens


def test_the_command_gets_values_as_variables_and_no_secrets(
    executable: str, tiny: ResolvedModel, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-service")
    monkeypatch.setenv("HF_TOKEN", "hf-of-the-hub")
    monkeypatch.setenv("BOX_KEY", "sk-of-the-box")
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "started.jsonl"))
    place = Place(folder=tmp_path / "in {port} $(fer)", adapter=adapter)
    command = f'sh -c \'exec {executable} --port "$LLAMADUO_PORT" --name {{name}} "$LLAMADUO_FOLDER"\' {{port}}'
    with closing(backend(tiny, place, serve=command, api_key_env="BOX_KEY")) as model:
        assert len(answers(model)) == 10
    row = json.loads((tmp_path / "started.jsonl").read_text())
    assert row["arguments"][-1] == str(place.folder / "serve")
    shown = row["environment"]
    assert shown["BOX_KEY"] == "sk-of-the-box" and not {"OPENAI_API_KEY", "HF_TOKEN"} & shown.keys()
    assert shown["LLAMADUO_ADAPTER"] == str(adapter) and shown["LLAMADUO_MERGED"] == ""


def test_without_an_adapter_its_words_are_left_out(
    executable: str, tiny: ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "started.jsonl"))
    place = Place(folder=tmp_path / "infer", adapter=None)
    naming = "--lora {adapter} --draft={adapter} --lora-modules {name}={adapter}"
    with closing(backend(tiny, place, serve=f"{executable} --port {{port}} {naming} --name {{name}}")) as model:
        answers(model)
    arguments = json.loads((tmp_path / "started.jsonl").read_text())["arguments"]
    assert arguments[0] == "--port" and arguments[2] == "--name" and len(arguments) == 4
