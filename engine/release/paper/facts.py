"""What the paper says of a run, read once from its files: the same rows as the report's, and the gates of a release."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec

from engine.dataset.prepare import SEALED
from engine.evaluation.prompt_scores import by_prompt
from engine.protocol import checksums, records
from engine.protocol.decision import BEST, Decision, Drift, FinalDecision, PromptScore
from engine.protocol.errors import InputError, damaged_as
from engine.protocol.manifest import Manifest, manifest
from engine.protocol.release import Gate, read_gates
from engine.protocol.rows import VERDICTS_FILE, Verdict
from engine.protocol.run_dir import Run
from engine.protocol.stages import INFER, JUDGE
from engine.protocol.status import Status
from engine.settings.load import settings_of
from engine.settings.schema import Migration, Target
from engine.stages import judge_drift
from engine.stages.report_rows import Example, KindRow, RoundRow, examples, kind_rows, round_rows, stage_rows

SHOWN = 5
"""Worst answers, as far as so many are short of all points."""

Worth = Sequence[tuple[str, str, str]]
"""What a migration is worth, in rows: a label, a value, the assumption behind it."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """A run that has ended, and its release.

    `decision` is that of the last round, None where none can be read; `target` the one that stood when the sealed
    prompts were opened; `sealed` the scores of each sealed prompt; `drift` how judges scored old answers again while
    they judged the sealed test.
    """

    run: Run
    settings: Migration
    status: Status
    final: FinalDecision
    decision: Decision | None
    target: Target
    rounds: list[RoundRow]
    kinds: list[KindRow]
    sealed: list[PromptScore]
    worst: list[Example]
    drift: tuple[Drift, ...]
    stages: list[Manifest]
    gates: list[Gate]
    worth: Worth

    @property
    def released(self) -> list[Gate]:
        """The artefacts that passed."""
        return [gate for gate in self.gates if gate.passed]

    @property
    def model(self) -> str:
        """The base model that answered the sealed prompts, with the digest of its weights where that is known."""
        answered = manifest(INFER.folder(self.run, None))
        return answered.model if answered is not None and answered.model else self.settings.local.model

    @property
    def ended(self) -> str:
        """The day on which the report was written, "" where the run has no manifest of it."""
        done = manifest(self.run.final)
        return time.strftime("%Y-%m-%d", time.localtime(done.finished)) if done is not None and done.finished else ""

    @property
    def seal(self) -> tuple[str, str]:
        """The day on which the prompts were sealed and the hash of the sealed file; both "" for earlier versions."""
        prepared = manifest(self.run.coverage)
        found = (prepared.outputs or {}).get(SEALED) if prepared is not None else None
        if prepared is None or found is None:
            return "", ""
        return time.strftime("%Y-%m-%d", time.localtime(prepared.finished)), found.sha256


def facts_of(run: Run, worth: Worth = ()) -> Facts:
    """Read a run. Raises InputError before its sealed test, DamagedError for a file that can't be read."""
    final = run.final_decision()
    if final is None:
        raise InputError(f"{run.name} has no sealed test yet", f"let it end first: llamaduo-tui status {run.name}")
    settings, decisions = settings_of(run), run.decisions()
    sealed = by_prompt(list(records.read(JUDGE.folder(run, None) / VERDICTS_FILE, Verdict)))
    return Facts(
        run=run,
        settings=settings,
        status=run.status(),
        final=final,
        decision=decisions[-1] if decisions else None,
        target=_target(run, settings),
        rounds=round_rows(run),
        kinds=kind_rows(run),
        sealed=sealed,
        worst=[one for one in examples(run, sealed, SHOWN)[1] if min(one.precision, one.similarity) < BEST],
        drift=judge_drift.drift_of(JUDGE.folder(run, None)),
        stages=stage_rows(run),
        gates=read_gates(run.release),
        worth=worth,
    )


def _target(run: Run, settings: Migration) -> Target:
    """The target that stood when the sealed prompts were opened."""
    row = checksums.read_json(run.sealed_target_file)
    if row is None:
        return settings.target
    with damaged_as(run.sealed_target_file):
        return Target.model_validate(row)
