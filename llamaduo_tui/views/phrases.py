"""Phrases for people: amounts, durations, rounds, and the purpose of each stage."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.protocol.counts import number_of
from engine.protocol.durations import duration
from engine.protocol.stages import BY_NAME, Phase
from engine.protocol.status import State
from llamaduo_tui.views.text import one_line

if TYPE_CHECKING:
    from pathlib import Path

    from engine.protocol.events import ServiceUsage
    from engine.protocol.status import Status
    from llamaduo_tui.views.run_view import Part, RunView

LEFT_FROM = 0.05
"""The share of a work from which on the time left is told: that of the first few is off by far."""

SILENT_S = 10.0
"""Seconds without an answer from which on a service is said not to answer: a single retry is no outage."""

count = number_of
"""A number of things: "1 run", "1,204 lines"."""

SANDBOX = "SANDBOX: an offline stand-in, not a real LLM"

_STATES = {
    State.WAITING: "waits for you",
    State.REACHED: "reached its target",
    State.MISSED: "missed its target",
    State.FAILED: "failed",
    State.CRASHED: "crashed",
}


def state(state: State) -> str:
    """What completes "the run ...", or "it ..."."""
    return _STATES.get(state, f"is {state}")


def explain(view: RunView) -> str:
    """One sentence for a newcomer: what happens now, and why."""
    if view.current is None:
        return "Getting ready." if not view.concluded else "The run has ended."
    section, stage = view.current
    known = BY_NAME.get(stage.name)
    purpose = known.purpose.get(section.phase) if known else None
    return purpose or f"Running: {one_line(stage.name, 40)}."


def part(part: Part) -> str:
    """A section's name: "round 1", "sealed test"."""
    if isinstance(part, int):
        return f"round {part}"
    return "data" if part is Phase.DATA else "sealed test"


def stopwatch(seconds: float) -> str:
    """Seconds where room is short: "0:45", "12:03", "2:05:00"."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes}:{rest:02d}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def brief(seconds: float) -> str:
    """Seconds where room is short, in one unit: "45 s", "12 min", "2.1 h"."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def left(done: int, total: int, seconds: float | None) -> str:
    """The time left of a work: ", 12 s left"; "" where nobody knows it yet, and at the end."""
    told = seconds is not None and LEFT_FROM * total <= done < total
    return f", {duration(seconds or 0.0)} left" if told else ""


def gone(status: Status) -> str:
    """Which worker is gone: "its worker on gpu-7 is gone"; the host is left out where it is this one."""
    process = status.process
    away = process is not None and not process.here and process.host
    return f"its worker on {one_line(process.host, 60)} is gone" if process and away else "its worker is gone"


def paths(found: Sequence[Path], folder: Path) -> str:
    """A few paths in a folder: "notes.txt, data", "a.txt, b.txt, c.txt and 9 more"."""
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    return ", ".join(one_line(str(path.relative_to(folder)), 80) for path in found[:3]) + more


def age(seconds: float) -> str:
    """How long ago, in one unit: "now", "5 min", "3 h", "12 d"."""
    minutes = int(max(0.0, seconds) // 60)
    if minutes < 60:
        return f"{minutes} min" if minutes else "now"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} d"


def money(usd: float | None) -> str:
    """US dollars, to the cent or to two significant digits."""
    if usd is None:
        return "price unknown"
    if usd == 0:
        return "free"
    return f"${usd:,.2f}" if usd >= 0.1 else f"${usd:.2g}" if usd >= 0.0001 else "under $0.0001"


def clock(seconds: float) -> str:
    """The time of day of an event, on this machine's clock."""
    return _told("%H:%M:%S", seconds)


def weekday(seconds: float) -> str:
    """The day and the time of something to come: "Fri 19:40"."""
    return _told("%a %H:%M", seconds)


def day(seconds: float) -> str:
    """The date of an event, on this machine's clock."""
    return _told("%Y-%m-%d", seconds)


def _told(form: str, seconds: float) -> str:
    try:
        return time.strftime(form, time.localtime(seconds))
    except (OverflowError, ValueError, OSError):  # a time that no clock shows
        return "?"


def nodes(names: Sequence[str]) -> str:
    """The nodes of a cluster, each once: "node gpu-7 (a02f09)", "3 nodes: gpu-7 (a02f09), gpu-8 (61bc) and 1 more"."""
    each = [one_line(name, 40) for name in dict.fromkeys(names)]
    if len(each) == 1:
        return f"node {each[0]}"
    more = f" and {len(each) - 2} more" if len(each) > 2 else ""
    return f"{len(each)} nodes: {', '.join(each[:2])}{more}"


def calls(usage: ServiceUsage) -> str:
    """The calls to the service LLM and their tokens."""
    failed = f", {usage.failed_calls:,} failed" if usage.failed_calls else ""
    tokens = usage.prompt_tokens + usage.completion_tokens
    return f"{number_of(usage.calls, 'call')}, {usage.cached_calls:,} cached{failed}, {tokens:,} tokens"


def unanswered(silent_since: float | None, now: float) -> str:
    """Since when a run that works has waited for a service that does not answer; "" where it has not for long."""
    if silent_since is None or now - silent_since < SILENT_S:
        return ""
    return f"the service has not answered since {clock(silent_since)}: the run waits for it, and its log has the reason"


def usage(usage: ServiceUsage) -> str:
    """The calls to the service LLM, their tokens and their cost."""
    return f"{calls(usage)}, {spent(usage.cost_usd, usage.interrupted_calls, usage.interrupted_usd)}"


def spent(usd: float | None, interrupted_calls: int, interrupted_usd: float) -> str:
    """What was paid, and what interrupted calls may have cost: "$0.01, and up to $0.36 of 8 interrupted calls"."""
    if not interrupted_usd:
        return money(usd)
    return f"{money(usd)}, and up to {money(interrupted_usd)} of {number_of(interrupted_calls, 'interrupted call')}"
