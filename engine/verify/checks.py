"""What a check of a run finds: one row a claim, with the files that speak against it."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

SETTINGS, DATA, SEAL, ADAPTERS, ANSWERS, VERDICTS, DECISION, REPORT, RELEASE, LEDGER, LOG = (
    "settings",
    "data",
    "seal",
    "adapters",
    "answers",
    "verdicts",
    "decision",
    "report",
    "release",
    "ledger",
    "log",
)
"""The claims, in the order in which they are shown."""

ALL = (SETTINGS, DATA, SEAL, ADAPTERS, ANSWERS, VERDICTS, DECISION, REPORT, RELEASE, LEDGER, LOG)


class Finding(StrEnum):
    """What became of a claim."""

    HOLDS = "holds"
    BROKEN = "broken"
    UNKNOWN = "unknown"
    ABSENT = "not yet"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A file, by its path in the run, and what is wrong with it, in words that follow the path."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file} {self.what}"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One claim of a run: what was found, in a sentence, and the files that speak against it."""

    name: str
    finding: Finding
    text: str
    problems: tuple[Problem, ...] = ()


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """All checks of a run; `notes` are what people changed, and what is no part of the record.

    `record` is the SHA-256 of record.json, `sealed` that of the sealed prompts; "" where there is none.
    """

    run: str
    format: int
    holds: bool
    record: str
    sealed: str
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = msgspec.field(default=())

    @property
    def problems(self) -> list[Problem]:
        """All files that are not right, each once."""
        found = {problem.file: problem for check in self.checks for problem in check.problems}
        return list(found.values())


LOGS = ("events.jsonl", "status.json", "record.json", "worker.log", "worker.log.1", "commands.jsonl", "probe", "work")


def claim_of(file: str) -> str:
    """The claim that a file of a run belongs to, by its path."""
    parts = file.split("/")
    if file in ("coverage/test.sealed", "coverage/test.jsonl", "final/opened.json", "final/target.json"):
        return SEAL
    if parts[0] == "coverage":
        return DATA
    if parts[-1] == "decision.json":
        return DECISION
    if "finetune" in parts or "synthesize" in parts or file == "model.json":
        return ADAPTERS
    if "infer" in parts:
        return ANSWERS
    if "judge" in parts or "teacher" in parts:
        return VERDICTS
    if parts[0] == "final":
        return REPORT
    if parts[0] == "release":
        return RELEASE
    if file in ("ledger.sqlite", "ledger.sqlite-journal"):
        return LEDGER
    if parts[0] in LOGS or file.startswith("sandbox"):
        return LOG
    return SETTINGS


def of_claim(name: str, problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """The problems that speak against a claim."""
    return tuple(problem for problem in problems if claim_of(problem.file) == name)
