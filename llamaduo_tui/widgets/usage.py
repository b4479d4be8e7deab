"""The usage of a run: the service's calls, tokens and money against the budget, and this machine's load."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content

from engine.protocol.events import ServiceUsage
from engine.protocol.machine import Gpu, Machine
from engine.protocol.outlook import Outlook
from llamaduo_tui.views import phrases
from llamaduo_tui.widgets import state_styles
from llamaduo_tui.widgets.diffed_static import DiffedStatic

_BAR = 10
_GB = 1024**3

LISTED = 4
"""GPUs of a run up to which each has its line in the table."""


class Usage(DiffedStatic, can_focus=True):
    """Two lines on a narrow terminal, a small table next to the rounds on a wide one."""

    HELP = """
## Usage

Calls to the service LLM: **cached** responses come from the run's ledger and cost nothing. Money is the amount paid so
far, against the run's budget if it has one. **Up to ... more** is what interrupted calls may have cost: they were sent,
and their responses are lost. It counts against the budget. **left** is the work until the
end of the run, as expected, and from its least to its most: rounds to come depend on the scores. Below is the load of
this machine: the GPUs that this run uses, each with its memory, and all others on one line.
"""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._usage: ServiceUsage | None = None
        self._budget: float | None = None
        self._machine: Machine | None = None
        self._own: Sequence[str] = ()
        self.wanted = 0
        self._outlook: Outlook | None = None
        self._works, self._priced = False, True

    def show(
        self,
        usage: ServiceUsage | None,
        budget: float | None,
        outlook: Outlook | None = None,
        running: bool = False,
        priced: bool = True,
    ) -> None:
        """The calls and their price, if that is known; what is left, and while the run works when that ends."""
        self._usage, self._budget, self._outlook, self._works = usage, budget, outlook, running
        self._priced = priced
        self._draw()

    def show_machine(self, machine: Machine, own: Sequence[str] = ()) -> None:
        """The machine's load now, and the GPUs that the run uses by their index; none where that is not known."""
        self._machine, self._own = machine, own
        self._draw()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)  # at once, Textual would keep the height of the lines before

    def _draw(self) -> None:
        width = self.content_size.width
        if width >= 60 or self.screen.has_class("-narrow") or self.screen.has_class("-small"):
            lines = [
                *ahead(self._outlook, whole=True, running=self._works),
                *brief(self._usage, self._budget, self._machine, self._own, self._priced),
            ]
        else:
            lines = [
                *ahead(self._outlook, running=self._works),
                *table(self._usage, self._budget, self._machine, self._own, self._priced),
            ]
        self.wanted = len(lines)
        if width:
            self.put(Content("\n").join(line.truncate(width, ellipsis=True) for line in lines))


def ahead(outlook: Outlook | None, whole: bool = False, running: bool = False) -> list[Content]:
    """What is left of the run: the work and the money of the whole run, in a line where there is room.

    A run that is `running` has an end by the clock, too.
    """
    if outlook is None:
        return []
    ends = f"ends about {phrases.weekday(outlook.at + outlook.left_s.expected)}"
    ends = ends if running and not outlook.unknown else ""
    if whole:
        return [_row("left", Content(f"{outlook.time}{f', {ends}' if ends else ''}; {outlook.money}"), 13)]
    money = "price unknown" if outlook.usd is None else f"about {phrases.money(outlook.usd.expected)} in all"
    span = f"{phrases.brief(outlook.left_s.least)} to {phrases.brief(outlook.left_s.most)}"
    least = "at least " if outlook.unknown else "about "
    return [
        _row("left", Content(f"{least}{phrases.brief(outlook.left_s.expected)}")),
        *([] if outlook.unknown else [_row("", Content.styled(span, "$foreground-muted"))]),
        *([_row("", Content(ends))] if ends else []),
        *([] if outlook.usd is not None and not outlook.usd.most else [_row("", Content(money))]),
    ]


def table(
    usage: ServiceUsage | None,
    budget: float | None,
    machine: Machine | None,
    own: Sequence[str] = (),
    priced: bool = True,
) -> list[Content]:
    """A line for each figure, and for each GPU that the run uses; two GPUs a line where there are many."""
    lines = []
    if usage is not None:
        failed = f", {usage.failed_calls:,} failed" if usage.failed_calls else ""
        tokens = f"{usage.prompt_tokens:,} in, {usage.completion_tokens:,} out"
        cached = Content.styled(f"{usage.cached_calls:,} cached, free", "$foreground-muted")
        lost = Content.styled(f"up to {phrases.money(usage.interrupted_usd)} more", "$text-warning")
        lines += [
            _row("service", Content(f"{phrases.count(usage.calls, 'call')}{failed}")),
            *([] if usage.interrupted_usd else [_row("", cached)]),  # the room is for as many lines
            _row("tokens", Content(tokens)),
            _row("money", _money(usage, budget, priced)),
            *([_row("", lost)] if usage.interrupted_usd else []),
        ]
    if machine is not None:
        lines.append(_row("CPU", _load(machine.busy)))
        lines.append(_row("memory", _memory(machine.used, machine.total)))
        ours, others = told_apart(machine.gpus, own)
        if len(ours) > LISTED:
            pairs = [ours[at : at + 2] for at in range(0, len(ours), 2)]
            lines += [_row("" if at else "GPUs", Content(" · ".join(map(_gpu, two)))) for at, two in enumerate(pairs)]
        else:
            lines += [_row(f"GPU {gpu.index}".rstrip(), _load_and_memory(gpu)) for gpu in ours]
        lines += [_row("others", Content(_summary(others)))] if others else []
    return lines


def brief(
    usage: ServiceUsage | None,
    budget: float | None,
    machine: Machine | None,
    own: Sequence[str] = (),
    priced: bool = True,
) -> list[Content]:
    """One line for the service, its money first, one for the machine; several GPUs of the run are added up."""
    lines = []
    if usage is not None:
        calls = phrases.calls(usage)
        lines.append(_row("service", Content.assemble(_money(usage, budget, priced, bar=False), f", {calls}"), 13))
    if machine is not None:
        ours, others = told_apart(machine.gpus, own)
        if len(ours) == 1:
            gpus = f", GPU {f'{ours[0].index} ' if others else ''}{_gpu(ours[0], named=False)}"
        else:
            gpus = f", {_summary(ours)}" if ours else ""
        gpus += f"; others: {_summary(others)}" if others else ""
        load = f"CPU {machine.busy:.0f}%, memory {machine.used / _GB:.1f} of {machine.total / _GB:.0f} GB{gpus}"
        lines.append(_row("machine", Content(load), 13))
    return lines


def told_apart(gpus: Sequence[Gpu], own: Sequence[str]) -> tuple[list[Gpu], list[Gpu]]:
    """The GPUs that a run uses, and the others; all are the run's where it is not known which are."""
    ours = [gpu for gpu in gpus if gpu.index in own]
    return (ours, [gpu for gpu in gpus if gpu.index not in own]) if ours else (list(gpus), [])


def _gpu(gpu: Gpu, named: bool = True) -> str:
    """A GPU where room is short: "2 97% 31 GB"."""
    busy = "" if gpu.busy is None else f"{gpu.busy:.0f}% "
    return f"{f'{gpu.index} ' if named else ''}{busy}{gpu.used / _GB:.0f} GB"


def _load_and_memory(gpu: Gpu) -> Content:
    """A GPU on a line of the table: its load as a bar, and its memory."""
    memory = f" {gpu.used / _GB:.0f} of {gpu.total / _GB:.0f} GB"
    return Content(memory[1:]) if gpu.busy is None else Content.assemble(_load(gpu.busy), memory)


def _summary(gpus: Sequence[Gpu]) -> str:
    """Several GPUs as one: "5 GPUs, 93%, 245 of 400 GB"."""
    known = [gpu.busy for gpu in gpus if gpu.busy is not None]
    busy = f", {sum(known) / len(known):.0f}%" if known else ""
    used, total = sum(gpu.used for gpu in gpus), sum(gpu.total for gpu in gpus)
    return f"{phrases.count(len(gpus), 'GPU')}{busy}, {used / _GB:.0f} of {total / _GB:.0f} GB"


def _row(name: str, value: Content, width: int = 9) -> Content:
    return Content.assemble((f"{name:<{width}}", "bold"), value)


def _money(usage: ServiceUsage, budget: float | None, priced: bool, bar: bool = True) -> Content:
    spent = phrases.money(usage.cost_usd if priced or usage.cost_usd else None)
    if usage.interrupted_usd and not bar:
        spent = f"{spent} + up to {phrases.money(usage.interrupted_usd)}"
    if budget is None:
        return Content(spent)
    share = (usage.cost_usd + usage.interrupted_usd) / budget if budget else 1.0
    style = "bold $text-warning" if share > 0.8 else ""
    amounts = Content.styled(f"{spent} of {phrases.money(budget)}{' !' if share > 0.8 else ''}", style)
    return Content.assemble(state_styles.bar(share, _BAR), " ", amounts) if bar else amounts


def _load(busy: float | None) -> Content:
    """A load in percent; instances of MIG tell none."""
    return Content("-") if busy is None else Content.assemble(state_styles.bar(busy / 100, _BAR), _percent(busy))


def _percent(busy: float | None) -> str:
    return "" if busy is None else f" {busy:.0f}%"


def _memory(used: int, total: int) -> Content:
    share = used / total if total else 0.0
    return Content.assemble(state_styles.bar(share, _BAR), f" {used / _GB:.1f} of {total / _GB:.0f} GB")
