"""A run as plain lines: for pipes, logs and unattended terminals."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from engine.protocol import events, plain_file
from engine.protocol.decision import Decision, Interval
from engine.protocol.durations import duration
from engine.protocol.events import Event
from engine.protocol.notices import last_message
from engine.protocol.run_dir import Run
from engine.protocol.stages import Phase, phase_of
from llamaduo_tui.views import phrases
from llamaduo_tui.views.questions import wording
from llamaduo_tui.views.run_view import Part, RunView
from llamaduo_tui.views.text import one_line

EVERY_S = 10.0
EVERY_SHARE = 0.1


@dataclass
class Lines:
    """Turns events into lines, with few of the lines on progress.

    Progress and losses get a line every 10 s or 10 %, by the events' own clock: a replay reads the same. With `dates`
    each line has its date; without them a new day has a line.
    """

    dates: bool = False
    _day: str = ""
    _shown: dict[tuple[int | None, str | None], tuple[float, float]] = field(default_factory=dict)
    _loss: str = ""
    _decisions: dict[int, Decision] = field(default_factory=dict)

    def of(self, event: Event) -> list[str]:
        """The lines of one event: none, one, or a few."""
        said = self._said(event)
        if not said:
            return []
        day, before = phrases.day(event.time), self._day
        self._day = day
        head = " ".join(filter(None, [day if self.dates else "", phrases.clock(event.time), _where(event)]))
        turned = [f"{phrases.clock(event.time)} {day}"] if before not in ("", day) and not self.dates else []
        return turned + [f"{head}  {line}" for line in said]

    def _said(self, event: Event) -> list[str]:
        match event:
            case events.RunStarted():
                return _started(event)
            case events.StageStarted():
                self._loss = ""
                return ["starts"]
            case events.StagePlaced():
                return [f"runs on {phrases.nodes(event.nodes)}"]
            case events.StageProgress():
                return self._progress(event, event.done, event.total, event.unit, event.seconds_left)
            case events.TrainMetrics():
                return self._metrics(event)
            case events.StageFinished():
                return [f"done in {duration(event.seconds)}{_counts(event)}"]
            case events.RoundScored():
                return self._decided(event.decision)
            case events.Log():
                level = "" if event.level == "info" else f"{one_line(event.level, 10)}: "
                return [level + one_line(event.message)]
            case events.QuestionAsked():
                return [wording(event.question.kind).asked(event.question)]
            case events.QuestionAnswered():
                by = f" by {one_line(event.by, 80)}" if event.by else ""
                return [wording(event.question.kind).answered(event) + by]
            case events.Notified():
                return [f"message sent by {', '.join(one_line(name, 20) for name in event.targets)}"]
            case events.RunFinished():
                return [f"{one_line(event.state, 20)}: {one_line(event.reason)}"]
            case events.RunFailed():
                return [f"failed: {one_line(event.error)}"]
        return []

    def _decided(self, decision: Decision) -> list[str]:
        """The reason of a decision; of one that reviews changed, what changed, and nothing where that is nothing."""
        before, self._decisions[decision.round] = self._decisions.get(decision.round), decision
        if before is None:
            return [one_line(decision.reason)]
        said = [
            f"{name} {old.mean:.1f} -> {new.mean:.1f}"
            for name, old, new in (
                ("precision", before.precision, decision.precision),
                ("similarity", before.similarity, decision.similarity),
            )
            if old != new
        ]
        if before.flagged != decision.flagged:
            said.insert(0, f"{phrases.count(len(decision.flagged), 'prompt')} left out for a bad reference")
        changed = [f"after a review: {', '.join(said)}"] if said else []
        return changed if before.reason == decision.reason else [*changed, one_line(decision.reason)]

    def _metrics(self, event: events.TrainMetrics) -> list[str]:
        if event.loss is not None:
            self._loss = f" loss {event.loss:.3g}"
        if event.dev_loss is not None:
            return [f"epoch {event.epoch:.3g}: dev loss {event.dev_loss:.3g}"]
        return self._progress(event, event.step, event.steps, "steps", None)

    def _progress(self, event: Event, done: int, total: int, unit: str, left: float | None) -> list[str]:
        if not done:
            return []
        share = done / total if total else 0.0
        place = (event.round, event.stage)
        shown_at, shown_share = self._shown.get(place, (float("-inf"), 0.0))
        if abs(event.time - shown_at) < EVERY_S and 0 <= share - shown_share < EVERY_SHARE:  # clocks are set back, too
            return []
        self._shown[place] = (event.time, share)
        return [f"{done:,}/{total:,} {one_line(unit, 20)}{self._loss}{phrases.left(done, total, left)}"]


def summary(view: RunView, folder: Path) -> list[str]:
    """The end of a run: scores by round, the reason, the cost and where the report is."""
    lines = [f"  {phrases.part(decision.round):<12} {scored(decision)}" for decision in view.scored]
    if lines:
        lines.insert(0, "scores on dev prompts, mean (bounds, 1 % risk each):")
    lines += _sealed(view.outcome)
    if view.usage is not None:
        lines.append(f"service: {phrases.usage(view.usage)}")
    if view.outcome is not None:
        best = view.outcome.best_round
        lines.append(f"{one_line(view.outcome.state, 20)}: {one_line(view.outcome.reason)}")
        lines += [f"best: {phrases.part(best)}"] if best is not None else []
        lines += [f"report: {one_line(str(folder / view.outcome.report))}"] if view.outcome.report else []
    return lines


def scored(score: Decision) -> str:
    """The scores of a round on one line."""
    standing = "passed the gate" if score.passed_gate else "short of the gate"
    standing += ", judge shifted" if score.judge_shifted else ""
    return f"{_means(score.precision, score.similarity)}   {standing}"


def _means(precision: Interval, similarity: Interval) -> str:
    return "   ".join(
        f"{name} {value.mean:5.1f} ({value.low:.0f} to {value.high:.0f})"
        for name, value in (("precision", precision), ("similarity", similarity))
    )


def _sealed(outcome: events.RunFinished | None) -> list[str]:
    """The best round's scores on the sealed prompts."""
    sealed = outcome.sealed if outcome else None
    return [f"  {'sealed test':<12} {_means(sealed.precision, sealed.similarity)}"] if sealed else []


def _where(event: Event) -> str:
    sealed = phase_of(event.round, event.stage) is Phase.SEALED
    part: Part | None = Phase.SEALED if sealed else event.round
    stage = one_line(event.stage, 40) if event.stage is not None else ""
    return " ".join(filter(None, [phrases.part(part) if part is not None else "", stage]))


def _started(event: events.RunStarted) -> list[str]:
    again = "resumed" if event.resumed else "started"
    made = f" (llamaduo-tui {one_line(event.version, 20)})" if event.version else ""
    service, model = one_line(event.service, 100), one_line(event.model, 100)
    line = f"{one_line(event.name, 100)} {again}: from {service} to {model}{made}"
    return [line, phrases.SANDBOX] if event.sandbox else [line]


def _counts(event: events.StageFinished) -> str:
    """The counts of a stage that are not zero."""
    plain = {k: v for k, v in event.counts.items() if isinstance(v, int | float) and v}
    shown = [f"{one_line(k, 30).replace('_', ' ')} {_figure(v)}" for k, v in list(plain.items())[:8]]
    return f" ({', '.join(shown)})" if shown else ""


def _figure(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def last_line(run: Run) -> str:
    """The last line of worker.log that may tell why the worker ended, safe to show; notices of libraries do not."""
    try:
        with plain_file.open_file(run.log_file) as file:
            file.seek(max(0, file.seek(0, 2) - 8192))
            return one_line(last_message(file.read().decode(errors="replace").splitlines()), 300)
    except FileNotFoundError:
        return ""
