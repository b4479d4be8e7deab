"""What a migration is worth: money both ways, the day on which it has paid for itself, and how fast both sides answer.

Pure arithmetic on assumptions, each of which says where it comes from. What an assumption leaves open is None, and
"unknown" in words; no number is made up. Money is in USD.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import NamedTuple

import msgspec

from engine.protocol.counts import number_of
from engine.protocol.volume import Seconds

UNKNOWN = "unknown"
HOURS = 24.0
LONGEST_DAYS = 36_525.0
"""A century: what takes longer than that never pays for itself."""


class Figure(msgspec.Struct, frozen=True):
    """A number and where it comes from; None where it is unknown, and `source` then says how to tell it."""

    value: float | None
    source: str


class Latency(msgspec.Struct, frozen=True):
    """How long a side takes for an answer, and by what; None where it is unknown."""

    seconds: Seconds | None
    source: str


class Assumptions(msgspec.Struct, frozen=True, kw_only=True):
    """All that the figures rest on; units as in `engine.protocol.worth.Given`.

    `paid_usd` is what the migration has paid to services, `worked_hours` how long it kept the box at work.
    """

    requests_per_day: Figure
    share: Figure
    input_tokens: Figure
    output_tokens: Figure
    input_price: Figure
    output_price: Figure
    box_usd_per_hour: Figure
    box_hours_per_day: Figure
    tokens_per_second: Figure
    paid_usd: Figure
    worked_hours: Figure
    service: Latency
    local: Latency


class Worth(msgspec.Struct, frozen=True, kw_only=True):
    """The figures; None where an assumption that they need is unknown.

    `service_per_1000` and `local_per_1000` are USD for 1,000 requests, `local_at_work_per_1000` counts only the time in
    which the box writes answers. `busy_hours` a day it does that, on `boxes` that cost `paid_hours` a day in all.
    `saved_per_day` is what the moved requests no longer cost, less the boxes. The migration has cost `cost_usd`;
    `break_even_days` later that is saved, on `break_even`: both None where nothing is saved, or it is unknown.
    """

    service_per_1000: float | None
    local_per_1000: float | None
    local_at_work_per_1000: float | None
    busy_hours: float | None
    boxes: int | None
    paid_hours: float | None
    saved_per_day: float | None
    cost_usd: float | None
    break_even_days: float | None
    break_even: date | None


def worth(given: Assumptions, today: date) -> Worth:
    """The figures that follow from assumptions. Requests are taken as spread evenly over the hours that are paid."""
    moved = _times(given.requests_per_day.value, given.share.value)
    service = _service_usd(given)
    request_s = _over(given.output_tokens.value, given.tokens_per_second.value)
    busy = _times(moved, request_s, 1 / 3600)
    hours = given.box_hours_per_day.value
    boxes = paid = None
    if busy is not None and hours is not None:
        boxes = max(1, math.ceil(busy / (hours or HOURS) - 1e-9))
        paid = boxes * hours or busy
    local = _times(paid, given.box_usd_per_hour.value)
    saved = None if moved is None or service is None or local is None else moved * service - local
    box_cost = _times(given.worked_hours.value, given.box_usd_per_hour.value)
    paid_so_far = given.paid_usd.value
    cost = None if paid_so_far is None or box_cost is None else paid_so_far + box_cost
    days = cost / saved if cost is not None and saved is not None and saved > 0 else None
    days = None if days is None or days > LONGEST_DAYS else days
    return Worth(
        service_per_1000=_times(service, 1000.0),
        local_per_1000=_over(_times(local, 1000.0), moved),
        local_at_work_per_1000=_times(request_s, 1000 / 3600, given.box_usd_per_hour.value),
        busy_hours=busy,
        boxes=boxes,
        paid_hours=paid,
        saved_per_day=saved,
        cost_usd=cost,
        break_even_days=days,
        break_even=None if days is None else today + timedelta(days=math.ceil(days)),
    )


def _service_usd(given: Assumptions) -> float | None:
    """What the service takes for a request."""
    asked = _times(given.input_tokens.value, given.input_price.value, 1e-6)
    answered = _times(given.output_tokens.value, given.output_price.value, 1e-6)
    return None if asked is None or answered is None else asked + answered


def _times(*factors: float | None) -> float | None:
    return None if any(factor is None for factor in factors) else math.prod(f for f in factors if f is not None)


def _over(value: float | None, divisor: float | None) -> float | None:
    return None if value is None or not divisor else value / divisor


class Line(NamedTuple):
    """A figure in words, with what it rests on."""

    name: str
    value: str
    basis: str


def figures(found: Worth, given: Assumptions) -> Iterator[Line]:
    """The figures in words, each with the assumptions that it was made from, or with those that are unknown."""
    tokens = f"{_plain(given.input_tokens, ' tokens')} in, {_plain(given.output_tokens, ' tokens')} out"
    prices = f"{_plain(given.input_price, '', usd)} and {_plain(given.output_price, '', usd)} a million"
    box, speed = _plain(given.box_usd_per_hour, " an hour", usd), _plain(given.tokens_per_second, " tokens a second")
    moved = _times(given.requests_per_day.value, given.share.value)
    volume = UNKNOWN if moved is None else f"{number(moved)} requests a day"
    machines = number_of(found.boxes or 0, "machine")
    needed = _Needed(given)
    asked = ("input_tokens", "output_tokens", "input_price", "output_price")
    answered = ("output_tokens", "tokens_per_second")
    work = ("requests_per_day", "share", *answered)
    local = ("box_usd_per_hour", *work)
    yield Line("service, 1,000 requests", money(found.service_per_1000), needed(f"{tokens}; {prices}", *asked))
    yield Line(
        "local, 1,000 requests",
        money(found.local_per_1000),
        needed(f"{machines} at {box}, {found.paid_hours or 0:,.3g} h a day in all; {volume}", *local),
    )
    yield Line(
        "local, only its work",
        money(found.local_at_work_per_1000),
        needed(
            f"{box}; {_plain(given.output_tokens, ' tokens')} out at {speed}; 1,000 requests",
            "box_usd_per_hour",
            *answered,
        ),
    )
    busy = UNKNOWN if found.busy_hours is None else f"{found.busy_hours:,.3g} h a day"
    yield Line("machine at work", busy, needed(f"{volume}, spread evenly; {speed}", *work))
    yield Line("saved", _saved(found), needed(f"{volume} moved, less the machine", *asked, *local))
    cost = f"{_plain(given.paid_usd, ' to services', usd)}; {_plain(given.worked_hours, ' h')} of the machine at {box}"
    spent = ("paid_usd", "worked_hours", "box_usd_per_hour")
    yield Line("migration so far", money(found.cost_usd), needed(cost, *spent))
    yield Line("paid back", _paid_back(found), needed("from today on, at these figures", *asked, *local, *spent))
    for name, side in (("service", given.service), ("local", given.local)):
        yield Line(f"{name}, an answer", seconds(side.seconds), side.source)


class _Needed:
    """Says what a figure rests on, or what is unknown of it."""

    def __init__(self, given: Assumptions) -> None:
        self._given = given

    def __call__(self, basis: str, *names: str) -> str:
        missing = [NAMES[name] for name in dict.fromkeys(names) if getattr(self._given, name).value is None]
        return f"unknown: {', '.join(missing)}" if missing else basis


NAMES = {
    "requests_per_day": "requests a day",
    "share": "share moved",
    "input_tokens": "input tokens",
    "output_tokens": "output tokens",
    "input_price": "input price",
    "output_price": "output price",
    "box_usd_per_hour": "price of the machine",
    "box_hours_per_day": "machine is paid",
    "tokens_per_second": "local speed",
    "paid_usd": "paid to services",
    "worked_hours": "machine at work so far",
}
"""The assumptions as they are called on screen."""


def assumptions(given: Assumptions) -> Iterator[Line]:
    """The assumptions in words, with their sources."""
    forms: dict[str, Callable[[float], str]] = {
        "share": lambda value: f"{100 * value:.3g} %",
        "input_price": lambda value: f"{usd(value)} a million",
        "output_price": lambda value: f"{usd(value)} a million",
        "box_usd_per_hour": lambda value: f"{usd(value)} an hour",
        "box_hours_per_day": _hours,
        "tokens_per_second": lambda value: f"{number(value)} tokens a second",
        "paid_usd": usd,
        "worked_hours": lambda value: f"{value:,.3g} h",
    }
    for field, name in NAMES.items():
        figure: Figure = getattr(given, field)
        yield Line(name, UNKNOWN if figure.value is None else forms.get(field, number)(figure.value), figure.source)


def _hours(value: float) -> str:
    return f"{value:.3g} h a day" if value else "only while it works"


def _saved(found: Worth) -> str:
    if found.saved_per_day is None:
        return UNKNOWN
    if found.saved_per_day <= 0:
        return f"nothing: {usd(-found.saved_per_day)} a day more than the service"
    return f"{usd(found.saved_per_day)} a day"


def _paid_back(found: Worth) -> str:
    if found.break_even is not None and found.break_even_days is not None:
        days = math.ceil(found.break_even_days)
        return f"{found.break_even.isoformat()}, in {number_of(days, 'day')}"
    if found.saved_per_day is None or found.cost_usd is None:
        return UNKNOWN
    return "never, at this volume" if found.saved_per_day <= 0 else "not within a century"


def money(value: float | None) -> str:
    """An amount, or "unknown"."""
    return UNKNOWN if value is None else usd(value)


def usd(value: float) -> str:
    """An amount with the digits that say something."""
    return f"${value:,.2f}" if value >= 1 or value == 0 else f"${value:.4f}" if value >= 0.0001 else f"${value:.1e}"


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"


def seconds(found: Seconds | None) -> str:
    """A latency in words, or "unknown"."""
    return UNKNOWN if found is None else f"p50 {found.p50:,.2f} s, p95 {found.p95:,.2f} s"


def _plain(figure: Figure, unit: str, form: Callable[[float], str] = number) -> str:
    return f"{UNKNOWN if figure.value is None else form(figure.value)}{unit}"
