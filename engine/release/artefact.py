"""A released artefact: one folder of RUN/release that a server can take, described by its artefact.json."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from engine.protocol import jsonl, records
from engine.protocol.errors import DamagedError, InputError, damaged_as
from engine.protocol.rows import RowMixin

ARTEFACT_FILE = "artefact.json"

GGUF_FILE = "model.gguf"

MODEL_NAME = re.compile(r"\w[\w.-]{0,199}")
"""Names that are safe in a path, on a command line and in a Modelfile."""

FormatName = Literal["safetensors", "lora", "gguf"]
Quantization = Literal["", "f16", "q8_0", "q4_k_m"]


class Artefact(RowMixin, frozen=True, kw_only=True):
    """What a server has to know of an artefact; its weights lie next to artefact.json.

    `model` is the name that it is served by. `context` is the number of tokens, prompt and response together, that a
    server must have room for; `temperature` and `max_new_tokens` are those of the sealed test. `base` is the model that
    was tuned, at `base_path` on the machine of the run: a LoRA adapter alone needs it, the other formats don't.
    """

    format: FormatName
    quantization: Quantization = ""
    model: str
    context: int
    temperature: float
    max_new_tokens: int
    base: str
    base_revision: str = ""
    base_digest: str = ""
    base_path: str = ""
    lora_rank: int = 0
    trust_remote_code: bool = False

    @property
    def name(self) -> str:
        """Its folder in the release: safetensors, lora, gguf-q8_0."""
        return artefact_name(self.format, self.quantization)


def model_name(task: str, format_: FormatName, quantization: Quantization) -> str:
    """The name that an artefact of a task is served by."""
    words = re.sub(r"[^\w.]+", "-", task.lower()).strip("-._")[:150]
    return f"{words or 'model'}-{artefact_name(format_, quantization)}"


def artefact_name(format_: FormatName, quantization: Quantization) -> str:
    """The folder of an artefact in a release."""
    return f"{format_}-{quantization}" if quantization else format_


def artefact_names(release: Path) -> list[str]:
    """The artefacts of a release folder, by name."""
    return sorted(path.parent.name for path in release.glob(f"*/{ARTEFACT_FILE}"))


def read_artefact(release: Path, name: str) -> Artefact:
    """An artefact of a release folder. Raises InputError where there is none of that name, DamagedError."""
    path = release / name / ARTEFACT_FILE
    row = jsonl.read_json(path) if name in artefact_names(release) else None
    if row is None:
        known = ", ".join(artefact_names(release))
        hint = f"it has: {known}" if known else "write one: llamaduo-tui release RUN"
        raise InputError(f"{release}: no artefact {name!r}", hint)
    with damaged_as(path):
        artefact = records.build(Artefact, row)
    if not MODEL_NAME.fullmatch(artefact.model) or (artefact.base_path and not Path(artefact.base_path).is_absolute()):
        raise DamagedError(path, f"model {artefact.model[:80]!r} or base_path is none that a release writes")
    return artefact
