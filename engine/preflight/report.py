"""What `check` and `doctor` return: types alone, which the programs print as JSON and the app reads back."""

from __future__ import annotations

from typing import Literal

import msgspec

from engine.protocol.counts import number_of
from engine.protocol.data_summary import Summary
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.estimate import PhaseEstimate
from engine.protocol.power import Power
from engine.protocol.probe import ModelProbe
from engine.protocol.volume import DAY_S

SHOWN_PHASES = 6
"""Phases that are listed at the start of a long run, before the last two."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """A reason why a run would fail, and what to do about it; `exit_status` is that of the command."""

    error: str
    hint: str
    exit_status: int = InputError.exit_status

    @classmethod
    def of(cls, error: LlamaDuoError) -> Problem:
        return cls(error=error.message, hint=error.hint, exit_status=error.exit_status)


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a run takes at most: `*_most` is the sum of `phases`; None where a price is unknown.

    `memory_bytes` is what training takes, `answering_bytes` what answering does, 0 where a server answers. Several GPUs
    can share the frozen weights of all layers, `layers_bytes`, of which the largest has `layer_bytes`.
    With `batch`, money is the price of batches, and no time is counted for calls; otherwise calls take as long as the
    limits in the settings make them.
    """

    train: int
    dev: int
    test: int
    calls_most: int
    tokens_most: int
    usd_most: float | None
    seconds_most: float
    memory_bytes: int
    memory_free_bytes: int
    answering_bytes: int = 0
    layers_bytes: int = 0
    layer_bytes: int = 0
    parameters: int
    device: str
    batch: bool
    phases: tuple[PhaseEstimate, ...]

    @property
    def calls_a_day(self) -> int:
        """The most calls within 24 hours, as services with a daily limit count them; a phase counts whole."""
        most = 0
        for first in range(len(self.phases)):
            calls, seconds = 0, 0.0
            for phase in self.phases[first:]:
                if seconds >= DAY_S:
                    break
                calls, seconds = calls + phase.calls, seconds + phase.seconds
            most = max(most, calls)
        return most

    @property
    def shown(self) -> list[PhaseEstimate]:
        """The phases to list, of a long run the first and the last ones, and then the most that all of them take."""
        most = PhaseEstimate(
            name="at most",
            calls=self.calls_most,
            tokens=self.tokens_most,
            usd=self.usd_most,
            seconds=self.seconds_most,
        )
        return [*self.phases[:SHOWN_PHASES], *self.phases[SHOWN_PHASES:][-2:], most]


class SplitSize(msgspec.Struct, frozen=True, kw_only=True):
    """A split's rows, how many of them are independent, and the tokens of their prompts and responses, estimated.

    `units` counts families: related rows, each named a `unit`, count once. 0 where it is unknown.
    """

    name: str
    rows: int
    tokens: int
    units: int = 0
    unit: str = "prompt"

    @property
    def size(self) -> str:
        """The rows, and what they are parts of where that are fewer: "40 prompts of 8 conversations"."""
        return rows_of(self.rows, self.units, self.unit)


def rows_of(rows: int, units: int, unit: str) -> str:
    """A number of rows, and of the units that they are parts of, where that are fewer and known."""
    if not 0 < units < rows:
        return number_of(rows, "row")
    return f"{number_of(rows, 'prompt')} of {number_of(units, unit)}"


class DataReport(Summary, frozen=True, kw_only=True):
    """What was read, and how it is split; `splits` is empty where nothing could be split.

    `categories` is their number, `families` that of related rows, which stay in one split, and `related` how many rows
    have a relative. `sample` is a pair as the local model will see it, "" where there is none.
    """

    splits: tuple[SplitSize, ...]
    categories: int
    families: int
    related: int
    sample: str


class SamplePair(msgspec.Struct, frozen=True, kw_only=True):
    """A pair to show in a preview: the text of its prompt and of its response, cut."""

    prompt: str
    response: str


class Profile(Summary, frozen=True, kw_only=True):
    """The preview of coverage data: what was read, the rows of each split, and some pairs.

    `read_bytes` of `total_bytes` were read: of large files only their beginning. Where the split is not `exact`, it is
    estimated from its shares, and `dev_units` and `test_units`, how many are independent, are 0: unknown.

    `prompt_tokens` and `response_tokens` are the means of a pair, estimated as bytes over four; `lengths` are those of
    whole pairs, ascending, of many pairs evenly spaced ones with the first and the last.

    `trained` rows are for training only, since the run to start from has learned them.
    """

    train: int
    dev: int
    test: int
    dev_units: int
    test_units: int
    unit: str
    exact: bool
    samples: tuple[SamplePair, ...]
    read_bytes: int
    total_bytes: int
    prompt_tokens: float = 0.0
    response_tokens: float = 0.0
    lengths: tuple[int, ...] = ()
    trained: int = 0

    @property
    def whole(self) -> bool:
        """Whether all of the data was read."""
        return self.read_bytes >= self.total_bytes


class UnreadError(InputError):
    """There is no preview of the data, which may be fine: only the pre-flight reads them."""


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What the program of the preview returns: a profile, or why there is none; `unread` where the data may be fine."""

    profile: Profile | None
    problem: Problem | None
    unread: bool = False


Advice = Literal["first", "fits", "slow", "unsuited", "large"]
"""Try it first; it fits; a round takes long; the data asks for what it lacks; it takes more memory than there is."""


class ModelAdvice(msgspec.Struct, frozen=True, kw_only=True):
    """A preset's model on this machine and for this data, with the reason in a line.

    Memory is in bytes: the least for training as the machine loads the weights, for training in 4 bits, and for
    generating one answer.
    """

    name: str
    model: str
    title: str
    licence: str
    gated: bool
    parameters: int
    context: int
    tools: str
    spoken: str
    training_bytes: int
    nf4_bytes: int
    answering_bytes: int
    advice: Advice
    reason: str


class ModelChoice(msgspec.Struct, frozen=True, kw_only=True):
    """All presets, for this machine and data, in words; `data` is "" where none was looked at."""

    machine: str
    data: str
    models: tuple[ModelAdvice, ...]

    @property
    def first(self) -> ModelAdvice | None:
        """The model to try first, None where none fits and suits."""
        return next((model for model in self.models if model.advice == "first"), None)

    def named(self, advice: Advice) -> list[ModelAdvice]:
        """The models of which this was found."""
        return [model for model in self.models if model.advice == advice]

    @property
    def sentences(self) -> list[str]:
        """What to try, in few lines."""
        if self.first is None:
            return ["no preset fits this machine and suits this data: llamaduo-tui presets gives the reasons"]
        others = [model.name for model in self.named("fits")]
        lines = [f"try first: {self.first.name} ({self.first.reason})"]
        return [*lines, f"these fit too: {', '.join(others)}"] if others else lines


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A check's result: `problems` prevent a run, `notes` do not.

    `data` is None where no row could be read, `estimate` where a problem prevents it. `probes` are the models' answers
    where they were asked. `power` is what the sealed test can show, None where the target leaves no room. `choice` says
    which other local models fit, None where the data could not be read.
    """

    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    estimate: Estimate | None
    data: DataReport | None = None
    power: Power | None = None
    probes: tuple[ModelProbe, ...] = ()
    choice: ModelChoice | None = None

    @property
    def passed(self) -> bool:
        return not self.problems and self.estimate is not None

    @property
    def exit_status(self) -> int:
        """0 where nothing would fail, else the highest status of the problems."""
        return max((problem.exit_status for problem in self.problems), default=0)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one item of this machine: `missing` is required by every run, `warn` may prevent some runs."""

    name: str
    state: Literal["ok", "warn", "missing"]
    detail: str
