"""The dialog that narrows the list of a review: by score, kind, contract, agreement and length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Select, Static

from llamaduo_tui.views.review_list import AGREEMENTS, CONTRACTS, Narrowing
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets.line_input import LineInput

ANY = ""
"""No condition, among the values of a menu; kinds stand behind a colon."""


class NarrowScreen(ModalScreen[Narrowing | None]):
    """Ends with what the list is narrowed to; None where that stays. Kinds are offered as soon as they are known."""

    CSS_PATH = "narrow.tcss"
    AUTO_FOCUS = "#lowest"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s,f2", "apply", "Apply", id="narrow.apply", tooltip="Show what matches"),
        Binding("ctrl+r,f8", "clear", "Clear", id="narrow.clear", tooltip="Remove all conditions"),
        Binding("escape", "cancel", "Cancel", id="narrow.cancel", tooltip="Leave the list as it is"),
        Binding("up", "app.focus_previous", "Previous", False, id="narrow.previous", tooltip="To the field above"),
        Binding("down", "app.focus_next", "Next", False, id="narrow.next", tooltip="To the field below"),
    ]

    def __init__(self, now: Narrowing, kinds: Mapping[str, str] | None) -> None:
        super().__init__()
        self._now, self._kinds = now, kinds

    def compose(self) -> ComposeResult:
        now = self._now
        with Vertical() as box:
            box.border_title = "Narrow the list"
            box.border_subtitle = "enter applies · esc cancels"
            yield from _limits("Mean score", "lowest", "highest", now.lowest, now.highest, "1", "100")
            with Horizontal():
                yield Label("Kind of prompt", markup=False)
                yield _menu("kind", _kinds(self._kinds, now), _value(now.kind))
            with Horizontal():
                yield Label("Contract", markup=False)
                yield _menu("contract", [("any", ANY), *CONTRACTS], now.contract or ANY)
            with Horizontal():
                yield Label("Agreement", markup=False)
                yield _menu("agreement", [("any", ANY), *AGREEMENTS], now.agreement or ANY)
            yield from _limits("Characters", "shortest", "longest", now.shortest, now.longest, "0", "no limit")
            with Horizontal(id="narrow-buttons"):
                yield Button("Apply", id="apply", variant="success", compact=True, tooltip="Apply (Ctrl+S)")
                yield Button("Clear", id="clear", compact=True, tooltip="Remove all conditions (Ctrl+R)")
                yield Button("Cancel", id="cancel", compact=True, tooltip="Cancel (Escape)")
                yield Static(id="narrow-problem", markup=False)

    def show_kinds(self, kinds: Mapping[str, str]) -> None:
        """Offer the kinds, which have just been found; the choice stays."""
        for menu in self.query("#kind").results(Select):
            chosen = str(menu.value) if menu.is_mounted else _value(self._now.kind)
            with self.prevent(Select.Changed):
                menu.set_options(_kinds(kinds, self._now))
                menu.value = chosen

    @on(Input.Submitted)
    def action_apply(self) -> None:
        limits = {name: self._limit(name) for name in ("lowest", "highest", "shortest", "longest")}
        wrong = next((name for name, value in limits.items() if isinstance(value, str)), None)
        if wrong is not None:
            self._problem(str(limits[wrong]), wrong)
            return
        lowest, highest, shortest, longest = (value for value in limits.values() if not isinstance(value, str))
        for low, high, name in ((lowest, highest, "lowest"), (shortest, longest, "shortest")):
            if low is not None and high is not None and low > high:
                self._problem("the first number is the smaller one", name)
                return
        kind, contract, agreement = (str(self.query_one(f"#{name}", Select).value) for name in _MENUS)
        self.dismiss(
            Narrowing(
                lowest=lowest,
                highest=highest,
                kind=kind[1:] if kind else None,
                contract=next((key for _, key in CONTRACTS if key == contract), None),
                agreement=next((key for _, key in AGREEMENTS if key == agreement), None),
                shortest=None if shortest is None else round(shortest),
                longest=None if longest is None else round(longest),
            )
        )

    def action_clear(self) -> None:
        self.dismiss(Narrowing())

    def action_cancel(self) -> None:
        self.dismiss(None)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        {"apply": self.action_apply, "clear": self.action_clear}.get(event.button.id or "", self.action_cancel)()

    def _limit(self, name: str) -> float | str | None:
        """The number in a field, None for an empty one, else what is wrong with it."""
        text = self.query_one(f"#{name}", Input).value.strip().replace(",", "")
        if not text:
            return None
        try:
            return float(text)
        except ValueError:
            return f"{one_line(text, 10)}: enter a number"

    def _problem(self, text: str, field: str) -> None:
        self.query_one("#narrow-problem", Static).update(Content(f"! {text}"))
        self.query_one(f"#{field}", Input).focus()


_MENUS = ("kind", "contract", "agreement")


def _limits(
    name: str, low_id: str, high_id: str, low: float | None, high: float | None, least: str, most: str
) -> ComposeResult:
    with Horizontal():
        yield Label(name, markup=False)
        for id_, value, hint in ((low_id, low, least), (high_id, high, most)):
            if id_ == high_id:
                yield Label("to", classes="to", markup=False)
            yield LineInput(
                "" if value is None else f"{value:.15g}",
                id=id_,
                placeholder=hint,
                restrict="[0-9.,]*",
                max_length=9,
                compact=True,
            )


def _menu(name: str, options: Sequence[tuple[Content | str, str]], value: str) -> Select[str]:
    return Select(options, value=value, id=name, allow_blank=False, compact=True)


def _kinds(kinds: Mapping[str, str] | None, now: Narrowing) -> list[tuple[Content, str]]:
    """The kinds with the number of their prompts, the most common first."""
    if kinds is None:
        known = [] if now.kind is None else [(Content(one_line(now.kind, 60)), _value(now.kind))]
        return [(Content("any (finding kinds…)"), ANY), *known]
    counts = Counter(kinds.values())
    if now.kind is not None:
        counts.setdefault(now.kind, 0)
    named = [(Content(f"{one_line(name, 60)} ({count:,})"), _value(name)) for name, count in counts.most_common()]
    return [(Content("any"), ANY), *named]


def _value(kind: str | None) -> str:
    return ANY if kind is None else f":{kind}"
