"""A dialog to choose a service or judge model: litellm's list with prices, and the variable for the key."""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, Input, OptionList, Static
from textual.widgets.option_list import Option

from engine.service import catalog
from engine.service.catalog import Listed
from engine.settings.schema import SANDBOX_MODEL
from llamaduo_tui.screens.configure_dialogs import CANCEL
from llamaduo_tui.views import phrases
from llamaduo_tui.views.service_keys import service_key
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets.key_states import key_line
from llamaduo_tui.widgets.line_input import LineInput

SHOWN = 200
"""Models that are listed at once: the others are found by a part of their names."""

FIRST = (
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4.1",
    "claude-sonnet-4-5",
    "gemini/gemini-2.5-pro",
    "gemini/gemini-2.5-flash",
    "mistral/mistral-large-latest",
)
"""Models that come first, where litellm knows them; then come those of the same providers."""

NAME, SHORTEST = 40, 12
"""Columns of a name, less in a narrow terminal; a longer one is cut."""

OTHERS = 38
"""Columns of all but the name: frame, mark, price and context."""


class PickModel(ModalScreen[str | None]):
    """Choose a model by name, from the list or any other name that is typed."""

    CSS_PATH = "configure.tcss"
    AUTO_FOCUS = "Input"
    BINDINGS: ClassVar[list[BindingType]] = [
        CANCEL,
        Binding("down", "move(1)", "Down", show=False, id="models.down", tooltip="To the model below"),
        Binding("up", "move(-1)", "Up", show=False, id="models.up", tooltip="To the model above"),
    ]

    def __init__(self, title: str, chosen: list[str]) -> None:
        super().__init__()
        self._title = title
        self._chosen = chosen

    def compose(self) -> ComposeResult:
        self._models = _ordered(catalog.listed())
        with Vertical(classes="dialog -tall") as box:
            box.border_title = self._title
            box.border_subtitle = "Enter chooses · price per million tokens, in / out"
            yield LineInput(placeholder="part of a model's name, or any litellm name", compact=True)
            yield OptionList(markup=False)
            yield Static(id="key")
            with Horizontal(classes="answers"):
                yield Button("Choose", id="choose", variant="primary", compact=True)
                yield Button("Cancel", id="cancel", compact=True)

    def on_mount(self) -> None:
        self._list("")

    @on(Input.Changed)
    def _typed(self, event: Input.Changed) -> None:
        self._list(event.value.strip())

    def _list(self, typed: str) -> None:
        """List the models with all typed words in their names; the typed name comes first, as no list is complete."""
        words = typed.casefold().split()
        matches = [model for model in self._models if all(word in model.name.casefold() for word in words)]
        other = bool(typed) and all(model.name != typed for model in matches)
        options = [Option(Content(f"  {one_line(typed, 60)}  (as typed)"), typed)] if other else []
        options += [Option(self._line(model), model.name) for model in matches[:SHOWN]]
        if len(matches) > SHOWN:
            more = f"  {len(matches) - SHOWN:,} more: type a part of the name"
            options.append(Option(Content.styled(more, "dim"), disabled=True))
        listed = self.query_one(OptionList)
        listed.clear_options()
        listed.add_options(options)
        here = next((place for place, option in enumerate(options) if option.id in self._chosen), None)
        first = int(other and bool(matches))
        listed.highlighted = here if here is not None and not typed else first if options else None

    def _line(self, model: Listed) -> Content:
        mark = "● " if model.name in self._chosen else "  "
        prices = phrases.money(model.input_price), phrases.money(model.output_price)
        price = " / ".join(prices) if model.input_price or model.output_price else "free"
        context = "" if model.context is None else f"{model.context / 1000:,.0f}k"
        width = max(SHORTEST, min(NAME, self.app.size.width - OTHERS))
        name = Content(one_line(model.name, 100)).truncate(width, ellipsis=True, pad=True)
        return Content.assemble(mark, name, " ", (f"{price:>17} {context:>7}", "$foreground-muted"))

    @on(OptionList.OptionHighlighted)
    def _highlighted(self, event: OptionList.OptionHighlighted) -> None:
        self.query_one("#key", Static).update(key_line(service_key(event.option_id or "", None)))

    @on(OptionList.OptionSelected)
    def _selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)

    @on(Input.Submitted)
    def _entered(self) -> None:
        self._choose()

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        if event.button.id == "cancel":
            self.dismiss(None)
        else:
            self._choose()

    def _choose(self) -> None:
        option = self.query_one(OptionList).highlighted_option
        if option is not None:
            self.dismiss(option.id)

    def action_move(self, by: int) -> None:
        listed = self.query_one(OptionList)
        listed.action_cursor_down() if by > 0 else listed.action_cursor_up()


def _ordered(models: list[Listed]) -> list[Listed]:
    """The sandbox and the well-known ones first."""
    providers = {model.provider for model in models if model.name in FIRST}

    def place(model: Listed) -> tuple[int, bool]:
        return FIRST.index(model.name) if model.name in FIRST else len(FIRST), model.provider not in providers

    return [Listed(SANDBOX_MODEL, "", 0.0, 0.0, None), *sorted(models, key=place)]
