"""A dialog to edit a long value in several lines; each change counts at once, so that there is nothing to lose."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import App, ComposeResult, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static, TextArea

from engine.protocol.errors import InputError
from engine.protocol.terminal import in_place
from llamaduo_tui.views import fields
from llamaduo_tui.views.fields import Field
from llamaduo_tui.views.text import clean, one_line
from llamaduo_tui.widgets.key_bar import KeyBar

LOOK_S = 0.5
"""Seconds between two looks at what an editor has written."""

_FORMS = {
    "table": "A line for each key: name = value, as in TOML.",
    "names": "A line for each one.",
    "sources": "A line for each one.",
}


class LinesInput(TextArea):
    """A field of several lines that shows nothing that a terminal would obey."""

    def get_line(self, line_index: int) -> Text:
        shown = "\t".join(map(in_place, self.document.get_line(line_index).split("\t")))
        return Text(shown, end="", no_wrap=True)


class EditValue(ModalScreen[None]):
    """Edits the value of a field; `changed` takes each new value, and returns what is wrong with it.

    `keep` keeps what has changed on disk at once.
    """

    CSS_PATH = "configure.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,ctrl+s,f2", "dismiss", "Done", id="value.done", tooltip="Back to the form; changes are kept"),
        Binding("ctrl+o", "outside", "$EDITOR", id="value.outside", tooltip="Edit the text in $EDITOR"),
    ]

    def __init__(self, field: Field, text: str, changed: Callable[[Any], str], keep: Callable[[], None]) -> None:
        super().__init__()
        self._keep = keep
        self.field = field
        self._text = text
        self._changed = changed

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -tall") as box:
            box.border_title = self.field.label
            box.border_subtitle = "Esc: done, changes are kept"
            form = _FORMS.get(self.field.kind, "")
            yield Static(Content(f"{self.field.description} {form}".strip()), classes="about")
            yield LinesInput(self._text, soft_wrap=True, tab_behavior="focus", id="value")
            yield Static(id="wrong")
        yield KeyBar()

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.focus()
        area.move_cursor(area.document.end)
        self._take()

    @property
    def value(self) -> Any:
        """The value that the text stands for, of which `changed` may still have to hear."""
        return fields.parse_lines(self.field, self.query_one(TextArea).text)

    @on(TextArea.Changed)
    def _take(self) -> None:
        problem = self._changed(self.value)
        said = Content.styled(f"✗ {one_line(problem, 200)}", "$text-error") if problem else Content("")
        self.query_one("#wrong", Static).update(said)

    def action_outside(self) -> None:
        """Edit the text in the user's own editor."""
        area = self.query_one(TextArea)
        text = edit_outside(self.app, area.text, self.field, self._saved)
        if text is not None:
            area.text = text

    def _saved(self, text: str) -> None:
        self.query_one(TextArea).text = text
        self._changed(self.value)
        self._keep()


def edit_outside(app: App[Any], text: str, field: Field, saved: Callable[[str], None]) -> str | None:
    """The text as the user's editor left it; None where there is no editor, or it failed, which is reported.

    While the editor is open `saved` gets the text that it has written last: the terminal may be lost before it ends.
    An editor that fails changes nothing, so `saved` then gets `text` again.
    """
    command = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    try:
        if not command:
            raise InputError("no editor is set", "export EDITOR=nano, for example, before you start the app")
        return _edited(app, shlex.split(command), text, ".toml" if field.kind == "table" else ".txt", saved)
    except InputError as error:
        said = f"{error.message}\n{error.hint}".strip()
    except SuspendNotSupported:
        said = "This terminal cannot be given to another program."
    except (OSError, ValueError) as error:
        said = f"{command}: {error}"
    app.notify(clean(said), severity="error", markup=False)
    return None


def _edited(app: App[Any], command: list[str], text: str, ending: str, saved: Callable[[str], None]) -> str:
    with tempfile.TemporaryDirectory(prefix="llamaduo-") as folder:
        file = Path(folder) / f"value{ending}"
        file.write_text(text + "\n", encoding="utf-8")
        with app.suspend():
            status = _wait(subprocess.Popen([*command, str(file)]), file, text, saved)
        if status:
            saved(text)
            raise InputError(f"{command[0]} ended with status {status}", "the value is not changed")
        return _read(file)


def _wait(editor: subprocess.Popen[bytes], file: Path, text: str, saved: Callable[[str], None]) -> int:
    """Wait for an editor, handing on what it writes; its exit status.

    Ctrl+C is the editor's own meanwhile, though it reaches all programs of the terminal.
    """
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        while True:
            try:
                return editor.wait(LOOK_S)
            except subprocess.TimeoutExpired:
                with suppress(OSError, ValueError):  # it is being written
                    if (now := _read(file)) != text:
                        saved(text := now)
    finally:
        signal.signal(signal.SIGINT, before)


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8").rstrip("\n")
