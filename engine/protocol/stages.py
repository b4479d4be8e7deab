"""The stages of a run: one table that the worker, the command line and the app read.

A new stage is a module `engine/stages/NAME.py` with a function `run`, a row here, and a line in the worker's loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from engine.protocol.run_dir import Run


class Phase(StrEnum):
    """The phases of a run, in their order: before the rounds, the untuned model, the rounds, the sealed test."""

    DATA = "data"
    BASELINE = "baseline"
    ROUND = "round"
    SEALED = "sealed"


class Place(StrEnum):
    """Where a stage runs: in the worker, or in a process that the worker starts, which loads the model libraries."""

    WORKER = "worker"
    OWN_PROCESS = "own process"


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of work, done once in each phase that it belongs to, or once a round.

    `name` stands in events, manifests and paths; `label` names the work in sentences and tables. `pays` says that it
    calls the service LLM, `parallel` that several processes can share it. `purpose` tells a newcomer what it does and
    why, for each phase in which it may run; in those of `expected` it always runs. `folder` gives its folder in a run
    for a round, None where no round is at work: the data and the sealed test.
    """

    name: str
    label: str
    place: Place
    pays: bool = False
    parallel: bool = False
    purpose: Mapping[Phase, str]
    expected: frozenset[Phase]
    folder: Callable[[Run, int | None], Path]


def _round_folder(name: str) -> Callable[[Run, int | None], Path]:
    """round-NN/NAME, and final/NAME for the sealed test."""
    return lambda run, number: (run.final if number is None else run.round(number)) / name


COVERAGE = Stage(
    name="coverage",
    label="coverage data",
    place=Place.OWN_PROCESS,
    purpose={
        Phase.DATA: "Reading your prompts with their reference responses. Some are for training, some steer the loop "
        "(dev), and some stay sealed until the end (test)."
    },
    expected=frozenset({Phase.DATA}),
    folder=lambda run, _: run.coverage,
)
PROBE = Stage(
    name="probe",
    label="asking the service",
    place=Place.WORKER,
    pays=True,
    purpose={
        Phase.DATA: "The service gives one verdict and writes one pair, so that a wrong key, name or parameter shows "
        "before the small model is put to work."
    },
    expected=frozenset(),
    folder=lambda run, _: run.folder / "probe",
)
FINETUNE = Stage(
    name="finetune",
    label="fine-tuning",
    place=Place.OWN_PROCESS,
    parallel=True,
    purpose={
        Phase.ROUND: "Training an adapter of the small model on all pairs so far; the state with the lowest loss on "
        "dev prompts is kept."
    },
    expected=frozenset({Phase.ROUND}),
    folder=_round_folder("finetune"),
)
INFER = Stage(
    name="infer",
    label="local answers",
    place=Place.OWN_PROCESS,
    parallel=True,
    purpose={
        Phase.BASELINE: "The untuned small model answers the dev prompts: the baseline that the rounds have to beat.",
        Phase.ROUND: "The tuned model answers the dev prompts, which it was not trained on.",
        Phase.SEALED: "The sealed test: the best round answers prompts that neither training nor the loop has ever "
        "seen.",
    },
    expected=frozenset({Phase.BASELINE, Phase.ROUND, Phase.SEALED}),
    folder=_round_folder("infer"),
)
JUDGE = Stage(
    name="judge",
    label="judging",
    place=Place.WORKER,
    pays=True,
    purpose={
        Phase.BASELINE: "The service LLM scores these answers: are they right (precision), and like your references "
        "(similarity)?",
        Phase.ROUND: "The service LLM scores each answer from 1 to 100: is it right (precision), and is it like the "
        "reference response (similarity)?",
        Phase.SEALED: "The service LLM scores the sealed test: this is the figure to trust.",
    },
    expected=frozenset({Phase.BASELINE, Phase.ROUND, Phase.SEALED}),
    folder=_round_folder("judge"),
)
TEACHER = Stage(
    name="teacher",
    label="the service's own answers",
    place=Place.WORKER,
    pays=True,
    purpose={
        Phase.BASELINE: "The service answers the dev prompts again, judged against its own earlier answers: the "
        "ceiling for a model that learns from it.",
        Phase.SEALED: "The service answers the sealed prompts again, and is scored like the small model.",
    },
    expected=frozenset(),
    folder=lambda run, number: run.final / "teacher" if number is None else run.teacher,
)
SYNTHESIZE = Stage(
    name="synthesize",
    label="new pairs",
    place=Place.WORKER,
    pays=True,
    purpose={
        Phase.ROUND: "The service LLM writes new pairs to train on, similar to prompts that the small model gets "
        "wrong; copies and near-duplicates of test prompts are refused."
    },
    expected=frozenset(),
    folder=_round_folder("synthesize"),
)
REPORT = Stage(
    name="report",
    label="report",
    place=Place.WORKER,
    purpose={
        Phase.SEALED: "Writing the report: scores with their bounds, costs, and the files that are kept.",
    },
    expected=frozenset({Phase.SEALED}),
    folder=lambda run, _: run.final,
)

STAGES = (COVERAGE, PROBE, FINETUNE, INFER, JUDGE, TEACHER, SYNTHESIZE, REPORT)
"""All stages, in the order in which those of one phase begin."""

BY_NAME = {stage.name: stage for stage in STAGES}


def expected(phase: Phase) -> tuple[Stage, ...]:
    """The stages that a phase never passes without, in their order."""
    return tuple(stage for stage in STAGES if phase in stage.expected)


def phase_of(round_: int | None, stage: str | None) -> Phase | None:
    """The phase that an event belongs to, by its round and stage; None where these don't tell."""
    if round_ is not None:
        return Phase.ROUND if round_ else Phase.BASELINE
    known = BY_NAME.get(stage or "")
    phases = known.purpose if known else ()
    return next((phase for phase in (Phase.DATA, Phase.SEALED) if phase in phases), None)
