"""Runs side by side, or rounds of one: settings that differ, scores, losses, and the answers to the same dev prompts.

Files are streamed: of 100,000 answers only ids, scores and offsets are kept, and texts are read when they are shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from engine.protocol import jsonl, plain_file, records
from engine.protocol.decision import Decision, Interval
from engine.protocol.errors import DamagedError, InputError
from engine.protocol.events import RunStarted, TrainMetrics, first_event, from_row
from engine.protocol.manifest import manifest
from engine.protocol.rows import VERDICTS_FILE, Response, prompt_text
from engine.protocol.run_dir import Run
from engine.protocol.stages import FINETUNE, INFER, JUDGE
from engine.protocol.status import State
from engine.settings.load import settings_of
from llamaduo_tui.views.starts import Starts
from llamaduo_tui.views.text import one_line

MUCH = 10.0
"""Points of the mean of both scores from which on an answer counts as better."""

RESPONSES = "responses.jsonl"
METRICS = "metrics.jsonl"


@dataclass(frozen=True, slots=True)
class Point:
    """A step of a training, with the losses in nats a token that were measured there."""

    step: int
    loss: float | None
    dev_loss: float | None


@dataclass(frozen=True, slots=True)
class Answer:
    """A prompt's score, the mean of precision and similarity over its answers and verdicts; where its first one is."""

    score: float | None
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A run in a round: by default that of its best scores. `losses` and `answers` are of that round."""

    run: Run
    name: str
    state: State
    round: int
    decisions: tuple[Decision, ...]
    sealed: tuple[Interval, Interval] | None
    model: str
    service: str
    pairs: int
    cost_usd: float | None
    worked_s: float
    settings: dict[str, Any]
    losses: tuple[Point, ...] = ()
    answers: dict[str, Answer] = field(default_factory=dict)

    @property
    def decision(self) -> Decision | None:
        """The decision of the round."""
        return next((one for one in self.decisions if one.round == self.round), None)

    @property
    def responses_file(self) -> Path:
        return INFER.folder(self.run, self.round) / RESPONSES

    def text(self, id_: str) -> tuple[str, str]:
        """The prompt and the first answer to it; "" for a prompt that it does not have."""
        answer = self.answers.get(id_)
        if answer is None:
            return "", ""
        with plain_file.open_file(self.responses_file) as file:
            file.seek(answer.offset)
            row = records.parse(Response, file.readline(plain_file.MOST_LINE_BYTES))
        return prompt_text(row.prompt, row.tools), row.response


@dataclass(frozen=True, slots=True)
class Difference:
    """A prompt that two sides have, and their scores."""

    id: str
    first: float
    second: float

    @property
    def gain(self) -> float:
        """Points of the second side over the first."""
        return self.second - self.first


@dataclass(frozen=True, slots=True)
class Compared:
    """Sides, and what tells them apart: settings by their path, and the prompts of the first two by their gap."""

    sides: tuple[Side, ...]
    settings: dict[str, tuple[Any, ...]]
    shared: tuple[Difference, ...]

    @property
    def better(self) -> int:
        """Prompts on which the second side is better by much."""
        return sum(one.gain >= MUCH for one in self.shared)

    @property
    def worse(self) -> int:
        """Prompts on which the second side is worse by much."""
        return sum(one.gain <= -MUCH for one in self.shared)


def compare(runs: Sequence[tuple[Run, int | None]], losses: bool = True) -> Compared:
    """Compare runs, each in a round, None for its best. Raises LlamaDuoError where one cannot be read."""
    sides = tuple(_side(run, number, losses) for run, number in runs)
    return Compared(sides, _differing(sides), _shared(*sides[:2]))


@dataclass
class _Row:
    start: str = ""


def beginnings(compared: Compared, count: int) -> list[str]:
    """The beginnings of the first so many shared prompts, from where they differ; reads the first side's file."""
    starts, rows = Starts(), list[_Row]()
    for one in compared.shared[:count]:
        rows.append(_Row())
        starts.add(rows[-1], compared.sides[0].text(one.id)[0])
    starts.shorten(rows)
    return [one_line(row.start) for row in rows]


def as_row(compared: Compared, prompts: int = 0) -> dict[str, Any]:
    """A comparison as a JSON object, with so many prompts and both answers."""
    return {
        "runs": [
            {
                "run": side.run.name,
                "state": side.state,
                "round": side.round,
                "model": side.model,
                "service": side.service,
                "pairs": side.pairs,
                "cost_usd": side.cost_usd,
                "worked_s": side.worked_s,
                "precision": _interval(side.decision.precision if side.decision else None),
                "similarity": _interval(side.decision.similarity if side.decision else None),
                "sealed_precision": _interval(side.sealed[0] if side.sealed else None),
                "sealed_similarity": _interval(side.sealed[1] if side.sealed else None),
                "losses": [[point.step, point.loss, point.dev_loss] for point in side.losses],
            }
            for side in compared.sides
        ],
        "settings": {path: list(values) for path, values in compared.settings.items()},
        "shared_prompts": len(compared.shared),
        "better": compared.better,
        "worse": compared.worse,
        "answers": [
            {
                "id": one.id,
                "scores": [one.first, one.second],
                "prompt": compared.sides[0].text(one.id)[0],
                "answers": [side.text(one.id)[1] for side in compared.sides],
            }
            for one in compared.shared[:prompts]
        ],
    }


def _interval(value: Interval | None) -> dict[str, float] | None:
    return None if value is None else {"mean": value.mean, "low": value.low, "high": value.high}


def _side(run: Run, number: int | None, losses: bool) -> Side:
    status, decisions = run.status(), run.decisions()
    best = number if number is not None else decisions[-1].best_round if decisions else 0
    if number is not None and not run.round(number).is_dir():
        last = max(
            (int(path.name[6:]) for path in run.folder.glob("round-*") if path.name[6:].isdecimal()), default=None
        )
        raise InputError(
            f"{run.name} has no round {number}", "it has none" if last is None else f"its last is round {last}"
        )
    final, started = run.final_decision(), first_event(run.events_file)
    known = started if isinstance(started, RunStarted) else None
    sealed = final.sealed if final is not None and final.best_round == best else None
    trained = manifest(FINETUNE.folder(run, best))
    return Side(
        run=run,
        name=run.name if number is None else f"{run.name}@{number}",
        state=status.state,
        round=best,
        decisions=tuple(decisions),
        sealed=(sealed.precision, sealed.similarity) if sealed is not None else None,
        model=known.model if known else "",
        service=known.service if known else "",
        pairs=trained.count("pairs") if trained else 0,
        cost_usd=status.paid_usd,
        worked_s=status.worked_s,
        settings=dict(_flat(settings_of(run).model_dump(mode="json"))),
        losses=tuple(_losses(run, best)) if losses else (),
        answers=_answers(run, best),
    )


def _flat(table: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        name = f"{path}{key}"
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{name}.")
        else:
            yield name, value


def _differing(sides: Sequence[Side]) -> dict[str, tuple[Any, ...]]:
    paths = dict.fromkeys(path for side in sides for path in side.settings)
    values = {path: tuple(side.settings.get(path) for side in sides) for path in paths}
    return {path: each for path, each in values.items() if any(value != each[0] for value in each)}


def _losses(run: Run, number: int) -> Iterator[Point]:
    """The losses of a round's training, from its metrics; in an older run from the events."""
    file = FINETUNE.folder(run, number) / METRICS
    rows: Iterator[dict[str, Any]]
    if file.exists():
        rows = map(_loads, jsonl.lines(file))
    else:
        kind = f'"{TrainMetrics.kind}"'.encode()
        rows = (row for line in jsonl.lines(run.events_file) if kind in line and (row := _event_row(line, number)))
    for row in rows:
        step = row.get("step")
        if isinstance(step, int):
            yield Point(step, _number(row.get("loss")), _number(row.get("dev_loss")))


def _event_row(line: bytes, number: int) -> dict[str, Any]:
    try:
        event = from_row(_loads(line))
    except ValueError:
        return {}
    if not isinstance(event, TrainMetrics) or event.round != number:
        return {}
    return {"step": event.step, "loss": event.loss, "dev_loss": event.dev_loss}


def _loads(line: bytes) -> dict[str, Any]:
    try:
        row = jsonl.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer of hundreds of digits
        return None


class _Judged(msgspec.Struct):
    """What a verdict counts with."""

    id: str
    precision: float | None = None
    similarity: float | None = None
    pilot: bool = False


class _Answered(msgspec.Struct):
    """Where an answer belongs."""

    id: str
    sample: int = 0


def _answers(run: Run, number: int) -> dict[str, Answer]:
    """The prompts of a round with their scores and the place of their first answer."""
    sums: dict[str, list[float]] = {}
    verdicts = JUDGE.folder(run, number) / VERDICTS_FILE
    judged = msgspec.json.Decoder(_Judged)
    for line in jsonl.lines(verdicts):
        row = _decoded(judged, line, verdicts)
        if row.precision is not None and row.similarity is not None and not row.pilot:
            one = sums.setdefault(row.id, [0.0, 0])
            one[0] += (row.precision + row.similarity) / 2
            one[1] += 1
    responses, offset = INFER.folder(run, number) / RESPONSES, 0
    answered, found = msgspec.json.Decoder(_Answered), dict[str, Answer]()
    for line in jsonl.lines(responses):
        answer = _decoded(answered, line, responses)
        if answer.id not in found:
            total, count = sums.get(answer.id, (0.0, 0))
            found[answer.id] = Answer(total / count if count else None, offset)
        offset += len(line)
    return found


def _decoded(decoder: msgspec.json.Decoder[Any], line: bytes, file: Path) -> Any:
    try:
        return decoder.decode(line)
    except (ValueError, RecursionError) as error:
        raise DamagedError(file, str(error)) from None


def _shared(first: Side, second: Side) -> tuple[Difference, ...]:
    """The prompts of both with their scores, those with the greatest gap first."""
    found = [
        Difference(id_, one.score, other.score)
        for id_, one in first.answers.items()
        if (other := second.answers.get(id_)) is not None and one.score is not None and other.score is not None
    ]
    return tuple(sorted(found, key=lambda one: -abs(one.gain)))
