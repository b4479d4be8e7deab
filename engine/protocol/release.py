"""What became of a release: the checks of each artefact, and how it answers as served. gate.json, one per artefact."""

from __future__ import annotations

import hashlib
import importlib.util
from enum import StrEnum
from pathlib import Path

import msgspec

from engine.protocol import jsonl, plain_file, records
from engine.protocol.decision import Interval
from engine.protocol.errors import damaged_as
from engine.protocol.loopback import address_of
from engine.protocol.paths import cache_dir
from engine.protocol.records import Points
from engine.protocol.rows import RowMixin
from engine.protocol.run_dir import Run
from engine.protocol.status import Process

GATE_FILE = "gate.json"

HEADING = "## The released model"
"""Of the last section of a run's report, and of the page that takes its place once there is a release."""

PAGE_FILE = "report.md"
PAPER_FILE = "REPORT.html"
"""In the release folder: what became of each artefact, and all of the run for those who sign."""

MARGIN = 1.0
"""Points by which an artefact may be worse than the judged adapter, unless told otherwise."""


NEXT = (
    ("release", "write the model for servers, and prove it as served"),
    ("serve", "serve it with OpenAI's API"),
    ("takeover", "let it answer behind the service's API: shadow first", "--mode shadow"),
    ("drill", "rehearse the day on which the service is gone"),
)


GGUF_NEEDS = {"llama_cpp": "the converter of llama.cpp", "xllamacpp": "llama.cpp"}
"""Modules of the extra [gguf] without which no GGUF file is written and served, and what they are."""


def lacking_for_gguf() -> str:
    """What of the extra [gguf] is not installed here, in words; "" where GGUF files can be written and served."""
    return next((what for module, what in GGUF_NEEDS.items() if importlib.util.find_spec(module) is None), "")


def next_commands(name: str) -> list[str]:
    """The commands that lead from a run that has reached its target to a model that answers, each with what it does.

    `name` is the run's, as commands take it.
    """
    lines = [(" ".join(["llamaduo-tui", command, name, *options]), what) for command, what, *options in NEXT]
    width = max(len(line) for line, _ in lines)
    return [f"{line:<{width}}   # {what}" for line, what in lines]


class Cause(StrEnum):
    """What people report when a model is good in training and bad when served; each is checked by this name."""

    TEMPLATE = "chat template"
    BOS = "one BOS token"
    END = "end of turn"
    MERGE = "merged in 16 bits"
    WEIGHTS = "weights as judged"
    TIED = "tied embeddings"
    ADAPTER = "adapter applied"
    SAVED_MODULES = "no modules to save"
    KERNELS = "log-probabilities"
    SAMPLING = "sampling defaults"
    CONTEXT = "context length"
    PATHS = "paths"
    TOKENS = "token ids"
    TOKENIZER = "tokenizer class"
    MODELFILE = "Modelfile"


class Result(StrEnum):
    """What a check found; it does not apply where a format has nothing of the kind."""

    PASSED = "passed"
    FAILED = "failed"
    DOES_NOT_APPLY = "does not apply"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One cause, and what was found, in words."""

    cause: Cause
    result: Result
    detail: str


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt that the artefact answers otherwise than the adapter, with both mean scores where both were judged."""

    id: str
    adapter: str
    served: str
    adapter_score: Points | None = None
    served_score: Points | None = None


class Gate(RowMixin, frozen=True, kw_only=True):
    """gate.json: whether an artefact, as served by `engine`, answers like the judged adapter.

    `identical` of the `prompts`, which are of so many `families`, have the same answer, word by word; the others were
    judged. `precision` and `similarity` are served minus adapter, in points, their bounds passed with a chance of
    `risk` each; None where the checks failed before anything was asked. `identical_low` is the least share of identical
    answers, 0 to 1, at the same risk. `differences` are the worst first.
    """

    artefact: str
    engine: str
    passed: bool
    reason: str
    checks: tuple[Check, ...]
    margin: Points
    risk: float
    prompts: int = 0
    families: int = 0
    identical: int = 0
    identical_low: float = 0.0
    precision: Interval | None = None
    similarity: Interval | None = None
    differences: tuple[Difference, ...] = ()
    seconds: float = 0.0
    cost_usd: float = 0.0

    @property
    def failed(self) -> list[Check]:
        """The checks that failed."""
        return [check for check in self.checks if check.result is Result.FAILED]


def read_gate(folder: Path) -> Gate | None:
    """The gate of an artefact's folder, None before it was there. Raises DamagedError where it can't be read."""
    path = folder / GATE_FILE
    row = jsonl.read_json(path)
    with damaged_as(path):
        return None if row is None else records.build(Gate, row)


def read_gates(release: Path) -> list[Gate]:
    """The gates of a release folder, by artefact."""
    found = (read_gate(path.parent) for path in sorted(release.glob(f"*/{GATE_FILE}")))
    return [gate for gate in found if gate is not None]


def report_text(run: Run) -> str:
    """A run's report; its last section is that of the release, once there is one. Raises OSError without a report.

    A release leaves the run's own file as it was vouched for at the end, and writes a page of its own.
    """
    text, page = _text(run.report_file), run.release / PAGE_FILE
    if not page.is_file():
        return text
    own = text.partition(f"\n{HEADING}\n")[0].rstrip("\n")
    return f"{own}\n\n{_text(page)}"


def _text(path: Path) -> str:
    return plain_file.read_bytes(path).decode(errors="replace")


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """What is served of a release folder, while it is; `up` where the server answers.

    `key_env` is the environment variable with the key that requests need, None where they need none. `process` tells
    `pid` from a later process with the same number.
    """

    artefact: str
    pid: int
    host: str
    port: int
    model: str
    engine: str
    log: str
    up: bool
    restarts: int
    since: float
    key_env: str | None = None
    process: Process | None = None

    @property
    def base_url(self) -> str:
        return f"{address_of(self.host, self.port)}/v1"


def serving_file(release: Path) -> Path:
    """Where the server of a release folder says what it is: not in the folder, which may be read-only or a copy."""
    name = hashlib.sha256(str(release.resolve()).encode()).hexdigest()[:16]
    return cache_dir() / "serve" / f"{name}.json"


def read_served(release: Path) -> Served | None:
    """What is served of a release folder; None where nothing is."""
    import psutil  # it takes longer to import than this file to read

    path = serving_file(release)
    row = jsonl.read_json(path)
    with damaged_as(path):
        served = None if row is None else records.build(Served, row)
    if served is None:
        return None
    process = served.process
    told = process is not None and process.boot  # systems without a boot id, and older versions, know the pid alone
    lives = process.here and process.alive if process is not None and told else psutil.pid_exists(served.pid)
    return served if lives else None
