"""Models on the Hub: their small files first, which may tell that the others are of no use, then the weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.local import quantization_config
from engine.protocol.errors import InputError

Progress = Callable[[str], None]

# Code (*.py) does nothing unless the user trusts it by name; other copies of the weights stay there.
FILES = ["*.safetensors", "*.json", "*.jinja", "*.model", "*.tiktoken", "*.txt", "*.py"]
_TEMPLATES = "additional_chat_templates/"
# All other folders: fnmatch knows no exceptions, so these are paths that leave that name at some letter.
COPIES = ["consolidated*", "*/*/*"]
COPIES += [f"{_TEMPLATES[:at]}[!{letter}]*/*" for at, letter in enumerate(_TEMPLATES[:-1])]
COPIES += [f"{_TEMPLATES[:at]}/*" for at in range(1, len(_TEMPLATES) - 1)]
_PATIENCE_S = 3.0

_OTHER_KINDS = {
    ".gguf": ("GGUF files", "name the repository that they were made from; or download one, and name that file"),
    ".bin": ("pickled weights, which can run code when loaded", "choose a model that has safetensors"),
    ".onnx": ("ONNX files", "name the repository that they were made from"),
}
"""What a repository may have in place of safetensors, by the ending of its files, and what to do."""


def hub_answers(model: str) -> bool:
    """Whether the Hub gives a model's config.json at once."""
    import httpx
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        url = f"{constants.ENDPOINT}/{model}/resolve/main/config.json"
        return httpx.head(url, timeout=_PATIENCE_S, follow_redirects=True).is_success
    except httpx.HTTPError:
        return False


def fetch(model: str, revision: str | None, progress: Progress) -> Path:
    """The folder of a model in the Hub's cache, named after its commit; downloads what is not there yet.

    Raises InputError where the name, the model or the Hub is at fault, and before the download where the model's small
    files tell that its weights are not read here.
    """
    import httpx
    from huggingface_hub import constants, errors, snapshot_download

    def get(files: list[str], commit: str | None) -> Path:
        return Path(snapshot_download(model, revision=commit, allow_patterns=files, ignore_patterns=COPIES))

    progress(f"looking for {model} on the Hub or in its cache")
    at = f"{model} at {revision}" if revision else model
    try:
        folder = get(["*.json"], revision)
        _refuse_small_files(model, folder)
        folder = get(FILES, folder.name)
    except errors.HFValidationError:
        raise InputError(
            f"{model}: neither a folder, a .gguf file nor a Hub id", "write a Hub id as owner/name"
        ) from None
    except errors.GatedRepoError:
        raise InputError(
            f"{model}: the Hub restricts access to it",
            f"accept its licence at https://huggingface.co/{model} and set HF_TOKEN",
        ) from None
    except errors.RevisionNotFoundError:
        raise InputError(f"{at}: the Hub has no such revision", "check local.revision") from None
    except errors.RepositoryNotFoundError:
        raise InputError(
            f"{model}: the Hub has no such model, or it is private", "check local.model; set HF_TOKEN if it is private"
        ) from None
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled, errors.HfHubHTTPError, httpx.HTTPError):
        raise InputError(
            f"{at}: the Hub does not respond, and its cache has no copy",
            f"connect to {constants.ENDPOINT}, or name a folder, a .gguf file or "
            '"SmolLM2-135M-Instruct" in local.model',
        ) from None
    if not any(folder.glob("*.safetensors")):
        _refuse_other_kinds(model, folder.name)
    return folder


def adapter_error(name: str, folder: Path) -> InputError:
    """The error for a folder that holds an adapter in place of a model."""
    base = _table(folder / "adapter_config.json").get("base_model_name_or_path")
    return InputError(
        f"{name}: a LoRA adapter{f' of {base}' if base else ''}, not a model", "merge it into that model first"
    )


def _refuse_small_files(model: str, folder: Path) -> None:
    config = _table(folder / "config.json")
    if (method := quantization_config.method(config)) not in (None, "bitsandbytes"):
        raise quantization_config.quantised(model, quantization_config.name_of(str(method)))
    if not config and (folder / "adapter_config.json").is_file():
        raise adapter_error(model, folder)


def _refuse_other_kinds(model: str, commit: str) -> None:
    """Raise InputError with what a repository has in place of safetensors, where the Hub tells."""
    import httpx
    from huggingface_hub import errors, list_repo_files

    try:
        files = list_repo_files(model, revision=commit)
    except (errors.OfflineModeIsEnabled, errors.HfHubHTTPError, httpx.HTTPError):
        return
    for ending, (kind, hint) in _OTHER_KINDS.items():
        if found := next((file for file in files if file.endswith(ending)), None):
            raise InputError(f"{model}: has no safetensors but {kind}, such as {found}", hint)


def _table(file: Path) -> dict[str, Any]:
    """A JSON object, {} where the file is none: its reader says what is wrong with it."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
