"""A release from start to end, and artefacts that were damaged: each is refused by the right name."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from msgspec.structs import replace
from safetensors.torch import load_file, save_file

from engine.local.inference.base import Completion
from engine.local.inference.encoded import Encoded
from engine.local.served_template import served_template
from engine.protocol import jsonl
from engine.protocol.errors import InputError, StageError
from engine.protocol.release import HEADING, Cause, Result, read_gate, report_text
from engine.release import gate as gates
from engine.release import release as releases
from engine.release.artefact import read_artefact
from engine.release.asking import Asking
from engine.release.checks import check_files
from engine.release.formats import chosen_formats
from engine.release.gate import GateKeeper, answers_at_zero
from engine.release.live_checks import check_answers, check_tokens
from engine.release.release import lines_of, release
from engine.release.source import Source
from tests.engine.release.serving_here import ServerHere


@pytest.fixture(scope="session")
def released(source: Source) -> Path:
    """The release folder, with safetensors and the adapter alone, held against the adapter by a real server."""
    patch = pytest.MonkeyPatch()
    patch.setattr(gates, "start", ServerHere)
    patch.setattr(releases, "source_of", lambda *_: source)
    source.run.report_file.write_text("# tiny: target reached\n")
    found = release(source.run, chosen_formats(["safetensors", "lora"], []), margin=1.0, tell=lambda _: None)
    patch.undo()
    assert [(gate.artefact, gate.passed, gate.reason) for gate in found if not gate.passed] == []
    return source.run.release


def test_both_answer_like_the_adapter(released: Path) -> None:
    for name in ("safetensors", "lora"):
        gate = read_gate(released / name)
        assert gate is not None
        assert gate.passed
        assert (gate.identical, gate.prompts, gate.cost_usd) == (12, 12, 0.0)
        assert {check.cause for check in gate.checks} == set(Cause)
        assert not gate.failed
        assert lines_of(gate) == [f"{name}: released"]


def test_the_sums_are_those_of_all_files(released: Path) -> None:
    for name in ("safetensors", "lora"):
        done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=released / name, capture_output=True)
        assert done.returncode == 0
        named = {line.split("  ")[1] for line in (released / name / "SHA256SUMS").read_text().splitlines()}
        assert named == {path.name for path in (released / name).iterdir()} - {"SHA256SUMS"}


def test_the_card_tells_scores_data_and_commands(released: Path) -> None:
    card = (released / "safetensors" / "README.md").read_text()
    assert "97.0 (92.0 to 99.0)" in card
    assert "6 recorded pairs for training" in card
    assert "vllm serve . --served-model-name tiny-task-safetensors" in card
    assert "| token ids | passed |" in card
    assert "The service was the sandbox" in card


def test_the_report_is_left_alone_and_read_with_the_page_of_the_release(released: Path, source: Source) -> None:
    assert source.run.report_file.read_text() == "# tiny: target reached\n"
    text = report_text(source.run)
    assert text.startswith("# tiny: target reached\n")
    assert text.count(HEADING) == 1
    assert "### safetensors: released" in text and "### lora: released" in text
    listed = [line.split("  ")[1] for line in (released / "SHA256SUMS").read_text().splitlines()]
    assert listed == ["REPORT.html", "report.md"]
    assert "2 of 2" in (released / "REPORT.html").read_text()


def test_no_folder_of_this_machine_is_named_where_others_read(released: Path, source: Source) -> None:
    config = jsonl.read_json(released / "lora" / "adapter_config.json")
    assert config is not None
    assert config["base_model_name_or_path"] == "tiny"
    assert not (released / "safetensors" / "complete").exists()
    assert not source.scratch.exists()


Damage = Callable[[Path], None]


def _json(folder: Path, name: str, **values: object) -> None:
    jsonl.write_json(folder / name, (jsonl.read_json(folder / name) or {}) | values)


def _tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def _other_template(folder: Path) -> None:
    path = folder / "chat_template.jinja"
    path.write_text(path.read_text().replace("<|im_start|>", "<|endoftext|>", 1))


def _base_weights(folder: Path) -> None:
    shutil.copyfile(folder.parents[3] / "base" / "model.safetensors", folder / "model.safetensors")


def _part_of_base(folder: Path) -> None:
    """As where one file of several was lost, and the base's taken."""
    base = load_file(folder.parents[3] / "base" / "model.safetensors")
    _tensors(folder, lambda own: own.update({name: base[name] for name in own if ".layers.0." in name}))


def _merged_twice(folder: Path) -> None:
    base = load_file(folder.parents[3] / "base" / "model.safetensors")

    def again(own: dict[str, torch.Tensor]) -> None:
        own.update({name: (2 * own[name].float() - base[name].float()).to(own[name].dtype) for name in own})

    _tensors(folder, again)


def _no_head(folder: Path) -> None:
    _tensors(folder, lambda tensors: tensors.pop("lm_head.weight"))


def _four_bits(folder: Path) -> None:
    _json(folder, "config.json", quantization_config={"load_in_4bit": True})


def _bytes(folder: Path) -> None:
    def rounded(tensors: dict[str, torch.Tensor]) -> None:
        name = "model.layers.0.mlp.down_proj.weight"
        tensors[name] = tensors[name].to(torch.int8)

    _tensors(folder, rounded)


def _small_context(folder: Path) -> None:
    _json(folder, "artefact.json", context=40)


def _named_template(folder: Path) -> None:
    (folder / "additional_chat_templates").mkdir()
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("{{ messages }}")


def _word_ends(folder: Path) -> None:
    listed = (jsonl.read_json(folder / "generation_config.json") or {})["eos_token_id"]
    _json(folder, "generation_config.json", eos_token_id=[*listed, 5])


DAMAGED: list[tuple[str, Cause, Damage]] = [
    ("safetensors", Cause.TEMPLATE, _other_template),
    ("safetensors", Cause.TEMPLATE, lambda folder: (folder / "chat_template.jinja").unlink()),
    ("safetensors", Cause.TEMPLATE, _named_template),
    ("safetensors", Cause.END, lambda folder: _json(folder, "generation_config.json", eos_token_id=0)),
    ("safetensors", Cause.END, _word_ends),
    ("safetensors", Cause.MERGE, _four_bits),
    ("safetensors", Cause.MERGE, _bytes),
    ("safetensors", Cause.TIED, _no_head),
    ("safetensors", Cause.ADAPTER, _base_weights),
    ("safetensors", Cause.ADAPTER, _part_of_base),
    ("safetensors", Cause.ADAPTER, _merged_twice),
    ("safetensors", Cause.SAMPLING, lambda folder: _json(folder, "generation_config.json", do_sample=True)),
    ("safetensors", Cause.SAMPLING, lambda folder: _json(folder, "generation_config.json", num_beams=4)),
    ("safetensors", Cause.SAMPLING, lambda folder: _json(folder, "generation_config.json", suppress_tokens=[5])),
    ("safetensors", Cause.SAMPLING, lambda folder: _json(folder, "generation_config.json", max_new_tokens=3)),
    ("safetensors", Cause.CONTEXT, lambda folder: _json(folder, "config.json", max_position_embeddings=32)),
    ("safetensors", Cause.TOKENIZER, lambda folder: _json(folder, "tokenizer_config.json", tokenizer_class="Other")),
    ("safetensors", Cause.SAMPLING, lambda folder: _json(folder, "generation_config.json", repetition_penalty=1.1)),
    ("safetensors", Cause.CONTEXT, _small_context),
    (
        "safetensors",
        Cause.TOKENIZER,
        lambda folder: _json(folder, "tokenizer_config.json", tokenizer_class="TokenizersBackend"),
    ),
    ("lora", Cause.SAVED_MODULES, lambda folder: _json(folder, "adapter_config.json", modules_to_save=["lm_head"])),
    ("lora", Cause.PATHS, lambda folder: _json(folder, "adapter_config.json", base_model_name_or_path="/home/me/base")),
    ("lora", Cause.PATHS, lambda folder: _json(folder, "adapter_config.json", base_model_name_or_path="../base")),
    ("lora", Cause.PATHS, lambda folder: _json(folder, "adapter_config.json", base_model_name_or_path="C:\\base")),
    ("lora", Cause.ADAPTER, lambda folder: (folder / "adapter_model.safetensors").unlink()),
]


@pytest.mark.parametrize(
    ("name", "cause", "damage"), DAMAGED, ids=[f"{cause}-{at}" for at, (_, cause, _) in enumerate(DAMAGED)]
)
def test_a_damaged_artefact_is_refused_by_its_name(
    name: str, cause: Cause, damage: Damage, released: Path, source: Source, tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "tiny" / "release" / name
    shutil.copytree(released / name, folder)
    (tmp_path / "base").symlink_to(source.base.path)
    damage(folder)
    found = GateKeeper(release=folder.parent, source=source, margin=1.0, vllm="vllm").hold(name)
    assert not found.passed
    assert found.failed[0].cause is cause
    assert found.reason.startswith(f"{cause}: ")
    assert [check.cause for check in found.failed if check.cause is not cause] in (
        [],
        [Cause.ADAPTER],
        [Cause.SAVED_MODULES],
    )
    assert any(line.startswith(f"  {cause}: failed") for line in lines_of(found))


def test_an_adapter_of_a_4_bit_base_is_merged_into_16_bits(source: Source, tmp_path: Path) -> None:
    """It was judged on rounded weights: the files are right, and the comparison of the answers decides."""
    told: list[str] = []
    local = source.settings.local.model_copy(update={"quantization": "nf4"})
    settings = source.settings.model_copy(update={"local": local})
    on_4_bits = replace(source, settings=settings, work=tmp_path / "releasing", tell=told.append)
    on_4_bits.work.mkdir()
    folder = tmp_path / "release" / "safetensors"
    folder.mkdir(parents=True)
    chosen_formats(["safetensors"], [])[0].write(on_4_bits, folder)
    jsonl.write_json(folder / "artefact.json", on_4_bits.artefact("safetensors").to_row())
    found = {check.cause: check for check in check_files(folder, read_artefact(folder.parent, folder.name), on_4_bits)}
    assert [check for check in found.values() if check.result is Result.FAILED] == []
    assert found[Cause.MERGE].detail.endswith("tensors of 16 bits")
    assert found[Cause.ADAPTER].detail.endswith("% of the adapter's change is in the weights")
    assert found[Cause.WEIGHTS].detail == "16-bit weights with the values of the 4-bit ones, as judged"
    assert any("it was judged on a 4-bit base" in line for line in told)
    judged = answers_at_zero(on_4_bits)
    with ServerHere(folder.parent, "safetensors") as server:
        asking = Asking(server, Encoded(source.tokenizer))  # type: ignore[arg-type]
        checks = check_tokens(on_4_bits, on_4_bits.prompts, asking.tokens(on_4_bits.prompts))
        served = asking.answers(on_4_bits.prompts, 12)
    assert [check.result for check in checks] == [Result.PASSED, Result.PASSED]
    assert len(served) == len(judged) == 12


def test_a_second_bos_token_shows_once_it_is_served(released: Path, source: Source, tmp_path: Path) -> None:
    """The template of training is changed as well here, as if the check of the file could not see it."""
    folder = tmp_path / "safetensors"
    shutil.copytree(released / "safetensors", folder)
    text = served_template(source.tokenizer)
    assert isinstance(text, str)
    (folder / "chat_template.jinja").write_text("{{ bos_token }}" + text)
    keeper = GateKeeper(release=tmp_path, source=source, margin=1.0, vllm="vllm")
    found_in_files = check_files(folder, read_artefact(tmp_path, "safetensors"), source)
    checks = [check for check in found_in_files if check.cause is not Cause.TEMPLATE]
    with ServerHere(tmp_path, "safetensors") as server:
        found = keeper._served(server, "safetensors", checks)  # type: ignore[arg-type]
    assert [check.cause for check in found.failed] == [Cause.BOS, Cause.TOKENS]


def test_answers_that_do_not_end_or_go_on_are_refused(source: Source) -> None:
    judged = [replace(row, finish_reason="stop", mean_logprob=-0.1) for row in _keeper(source).adapter]
    same = [_completion(row.response, "stop", -0.1) for row in judged]
    fine, endless = (
        check_answers(source, judged, same),
        check_answers(source, judged, [_completion("", "length"), *same[1:]]),
    )
    marked = check_answers(source, judged, [_completion("ok<|im_end|>", "stop"), *same[1:]])
    unlike = check_answers(source, judged, [_completion(row.response, "stop", -0.6) for row in judged])
    assert [check.result for check in fine] == [Result.PASSED, Result.PASSED]
    assert (endless[0].cause, endless[0].result) == (Cause.END, Result.FAILED)
    assert endless[0].detail == "1 of 12 answers do not end, first p100"
    assert marked[0].detail == "the answer to p100 goes on behind the end of its turn"
    assert (unlike[1].cause, unlike[1].result) == (Cause.KERNELS, Result.FAILED)


def _keeper(source: Source) -> GateKeeper:
    return GateKeeper(release=source.run.release, source=source, margin=1.0, vllm="vllm")


def _completion(text: str, finish_reason: Literal["stop", "length"], logprob: float = -0.1) -> Completion:
    return Completion(
        text=text, finish_reason=finish_reason, prompt_tokens=1, completion_tokens=1, mean_logprob=logprob
    )


def test_what_cannot_be_released_says_so() -> None:
    with pytest.raises(InputError, match="'onnx': unknown to a release"):
        chosen_formats(["onnx"], [])
    with pytest.raises(InputError, match="--quantize is for GGUF files"):
        chosen_formats(["lora"], ["q8_0"])
    assert [one.quantization for one in chosen_formats(["gguf"], ["q8_0", "f16"])] == ["f16", "q8_0"]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("error loading model vocabulary: unknown pre-tokenizer type: 'x'", f"{Cause.TOKENIZER}: llama.cpp does not"),
        ("out of memory", "it cannot be served: llama.cpp ended"),
    ],
)
def test_a_server_that_does_not_start_is_a_refusal_that_says_why(
    released: Path, source: Source, monkeypatch: pytest.MonkeyPatch, said: str, reason: str
) -> None:
    def started(*_: object, log: Path, **__: object) -> None:
        log.parent.mkdir(exist_ok=True)
        log.write_text(f"{said}\nRuntimeError: Failed to init server\n")
        raise StageError("llama.cpp ended with status 1", "see its log")

    monkeypatch.setattr(gates, "start", started)
    found = GateKeeper(release=released, source=source, margin=1.0, vllm="vllm").hold("safetensors")
    assert not found.passed
    assert found.reason.startswith(reason)
    assert [check.cause for check in found.failed] == ([Cause.TOKENIZER] if "pre-tokenizer" in said else [])
