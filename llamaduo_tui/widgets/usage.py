"""The usage of a run: the service's calls, tokens and money against the budget, and this machine's load."""

from __future__ import annotations

from textual.content import Content

from engine.protocol.events import ServiceUsage
from engine.protocol.machine import Machine
from engine.protocol.outlook import Outlook
from llamaduo_tui.views import phrases
from llamaduo_tui.widgets import state_styles
from llamaduo_tui.widgets.diffed_static import DiffedStatic

_BAR = 10
_GB = 1024**3


class Usage(DiffedStatic, can_focus=True):
    """Two lines on a narrow terminal, a small table next to the rounds on a wide one."""

    HELP = """
## Usage

Calls to the service LLM: **cached** responses come from the run's ledger and cost nothing. Money is the amount paid so
far, against the run's budget if it has one. **Up to ... more** is what interrupted calls may have cost: they were sent,
and their responses are lost. It counts against the budget. **left** is the work until the
end of the run, as expected, and from its least to its most: rounds to come depend on the scores. Below is the load of
this machine.
"""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self._usage: ServiceUsage | None = None
        self._budget: float | None = None
        self._machine: Machine | None = None
        self._outlook: Outlook | None = None

    def show(self, usage: ServiceUsage | None, budget: float | None, outlook: Outlook | None = None) -> None:
        self._usage, self._budget, self._outlook = usage, budget, outlook
        self._draw()

    def show_machine(self, machine: Machine) -> None:
        self._machine = machine
        self._draw()

    def on_resize(self) -> None:
        self.call_after_refresh(self._draw)  # at once, Textual would keep the height of the lines before

    def _draw(self) -> None:
        width = self.content_size.width
        lines = [*ahead(self._outlook), *table(self._usage, self._budget, self._machine)]
        if width >= 60 or self.screen.has_class("-narrow") or self.screen.has_class("-small"):
            lines = [*ahead(self._outlook, whole=True), *brief(self._usage, self._budget, self._machine)]
        if width:
            self.put(Content("\n").join(line.truncate(width, ellipsis=True) for line in lines))


def ahead(outlook: Outlook | None, whole: bool = False) -> list[Content]:
    """What is left of the run: the work and the money of the whole run, in a line where there is room."""
    if outlook is None:
        return []
    if whole:
        return [_row("left", Content(f"{outlook.time}; {outlook.money}"), 13)]
    money = "price unknown" if outlook.usd is None else f"about {phrases.money(outlook.usd.expected)} in all"
    span = f"{phrases.brief(outlook.left_s.least)} to {phrases.brief(outlook.left_s.most)}"
    least = "at least " if outlook.unknown else "about "
    return [
        _row("left", Content(f"{least}{phrases.brief(outlook.left_s.expected)}")),
        *([] if outlook.unknown else [_row("", Content.styled(span, "$foreground-muted"))]),
        *([] if outlook.usd is not None and not outlook.usd.most else [_row("", Content(money))]),
    ]


def table(usage: ServiceUsage | None, budget: float | None, machine: Machine | None) -> list[Content]:
    """A line for each figure."""
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
            _row("money", _money(usage, budget)),
            *([_row("", lost)] if usage.interrupted_usd else []),
        ]
    if machine is not None:
        lines.append(_row("CPU", _load(machine.busy)))
        lines.append(_row("memory", _memory(machine.used, machine.total)))
        for number, gpu in enumerate(machine.gpus):
            name = "GPU" if len(machine.gpus) == 1 else f"GPU {number}"
            lines.append(_row(name, _load(gpu.busy)))
            lines.append(_row("", _memory(gpu.used, gpu.total)))
    return lines


def brief(usage: ServiceUsage | None, budget: float | None, machine: Machine | None) -> list[Content]:
    """One line for the service, one for the machine."""
    lines = []
    if usage is not None:
        calls = phrases.calls(usage)
        lines.append(_row("service", Content.assemble(f"{calls}, ", _money(usage, budget, bar=False)), 13))
    if machine is not None:
        gpus = "".join(f", GPU{_percent(gpu.busy)} {gpu.used / _GB:.1f} GB" for gpu in machine.gpus)
        load = f"CPU {machine.busy:.0f}%, memory {machine.used / _GB:.1f} of {machine.total / _GB:.0f} GB{gpus}"
        lines.append(_row("machine", Content(load), 13))
    return lines


def _row(name: str, value: Content, width: int = 9) -> Content:
    return Content.assemble((f"{name:<{width}}", "bold"), value)


def _money(usage: ServiceUsage, budget: float | None, bar: bool = True) -> Content:
    spent = phrases.money(usage.cost_usd)
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
