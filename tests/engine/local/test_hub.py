from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.local.hub import COPIES, FILES, fetch
from engine.protocol.errors import InputError

Snapshot = Callable[..., str]


def quiet(_: str) -> None:
    pass


class Hub:
    """A Hub with one repository; it keeps what it was asked for."""

    def __init__(self, folder: Path, texts: dict[str, Any], others: list[str]) -> None:
        self.folder, self.texts, self.others = folder / "0123abcd", texts, others
        self.asked: list[list[str]] = []
        self.folder.mkdir()

    def snapshot(self, _: str, *, revision: str | None, allow_patterns: list[str], ignore_patterns: object) -> str:
        self.asked.append(allow_patterns)
        assert revision == (None if len(self.asked) == 1 else self.folder.name)
        for name, content in self.texts.items():
            (self.folder / name).write_text(json.dumps(content))
        if allow_patterns == FILES and "model.safetensors" in self.others:
            (self.folder / "model.safetensors").write_bytes(b"weights")
        return str(self.folder)

    def listed(self, _: str, *, revision: str) -> list[str]:
        return [*self.texts, *self.others]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[dict[str, Any], list[str]], Hub]:
    def make(texts: dict[str, Any], others: list[str]) -> Hub:
        found = Hub(tmp_path, texts, others)
        monkeypatch.setattr("huggingface_hub.snapshot_download", found.snapshot)
        monkeypatch.setattr("huggingface_hub.list_repo_files", found.listed)
        return found

    return make


def test_the_weights_come_after_the_small_files(hub: Callable[[dict[str, Any], list[str]], Hub]) -> None:
    found = hub({"config.json": {}}, ["model.safetensors", "pytorch_model.bin"])
    assert fetch("owner/name", None, quiet) == found.folder
    assert found.asked == [["*.json"], FILES]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"config.json": {"quantization_config": {"quant_method": "gptq"}}}, r"quantised \(GPTQ\)"),
        ({"config.json": {"text_config": {"quantization_config": {"quant_method": "fp8"}}}}, r"quantised \(FP8\)"),
        ({"config.json": {"quantization": {"bits": 4}}}, r"quantised \(MLX\)"),
        ({"adapter_config.json": {"base_model_name_or_path": "owner/base"}}, "a LoRA adapter of owner/base"),
    ],
)
def test_a_model_of_no_use_is_refused_before_its_weights_are_fetched(
    texts: dict[str, Any], message: str, hub: Callable[[dict[str, Any], list[str]], Hub]
) -> None:
    found = hub(texts, ["model.safetensors"])
    with pytest.raises(InputError, match=f"^owner/name: .*{message}"):
        fetch("owner/name", None, quiet)
    assert found.asked == [["*.json"]]


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (["name-Q4_K_M.gguf"], "has no safetensors but GGUF files, such as name-Q4_K_M.gguf"),
        (["pytorch_model.bin"], "pickled weights, which can run code when loaded, such as pytorch_model.bin"),
        (["model.onnx"], "ONNX files"),
    ],
)
def test_a_repository_without_safetensors_says_what_it_has(
    others: list[str], message: str, hub: Callable[[dict[str, Any], list[str]], Hub]
) -> None:
    hub({"config.json": {}}, others)
    with pytest.raises(InputError, match=message) as caught:
        fetch("owner/name", None, quiet)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ("GatedRepoError", "restricts access"),
        ("RevisionNotFoundError", "no such revision"),
        ("RepositoryNotFoundError", "no such model"),
        ("LocalEntryNotFoundError", "does not respond"),
    ],
)
def test_each_refusal_of_the_hub_has_its_words(error: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx
    from huggingface_hub import errors

    def refuse(*_: object, **__: object) -> str:
        kind = getattr(errors, error)
        if error == "LocalEntryNotFoundError":
            raise kind("nothing")
        raise kind("no", response=httpx.Response(404, request=httpx.Request("GET", "https://hub")))

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(InputError, match=message) as caught:
        fetch("owner/name", "v1", quiet)
    assert caught.value.hint


def test_of_a_hub_model_only_weights_and_texts_are_fetched() -> None:
    from huggingface_hub.utils import filter_repo_objects

    wanted = ["config.json", "model.safetensors", "additional_chat_templates/tool_use.jinja", "chat_template.jinja"]
    wanted += ["tokenizer.model", "tiktoken.model", "spiece.model", "qwen.tiktoken"]
    others = [
        "original/model.safetensors",
        "onnx/config.json",
        "add/config.json",
        "a/b.json",
        "consolidated.safetensors",
    ]
    others += ["additional/x.json", "pytorch_model.bin", "additional_chat_templates/a/b.jinja"]
    found = filter_repo_objects(wanted + others, allow_patterns=FILES, ignore_patterns=COPIES)
    assert list(found) == wanted
