"""Dialogs to choose a file, from a tree or by a typed path; that for coverage data has a preview."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, Vertical
from textual.content import Content
from textual.events import Click
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Button, DirectoryTree, Input, Static, Tree
from textual.widgets.directory_tree import DirEntry

from engine.settings.schema import COMPRESSED, COVERAGE_FILES, Coverage
from llamaduo_tui.paths import is_folder, typed_path
from llamaduo_tui.screens.configure_dialogs import CANCEL
from llamaduo_tui.views.text import clean, one_line
from llamaduo_tui.widgets.coverage_preview import CoveragePreview
from llamaduo_tui.widgets.line_input import LineInput

SETTLED_S = 0.15
"""Seconds that the cursor rests on a file before it is read."""


class FileTree(DirectoryTree):
    """Folders, and files with some endings; a first click on a file previews it, a second one chooses it."""

    ICON_NODE = "▸ "
    ICON_NODE_EXPANDED = "▾ "
    ICON_FILE = "  "
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("backspace", "parent_folder", "Folder above", id="file.parent", tooltip="To the folder above")
    ]

    def __init__(self, folder: Path, suffixes: tuple[str, ...]) -> None:
        super().__init__(folder)
        self._suffixes = suffixes

    def action_parent_folder(self) -> None:
        """Show the folder above."""
        self.path = Path(self.path).absolute().parent

    def filter_paths(self, paths: Iterable[Path]) -> Iterable[Path]:
        return [
            path
            for path in paths
            if not path.name.startswith(".") and (path.is_dir() or path.suffix.casefold() in self._suffixes)
        ]

    def render_label(self, node: Any, base_style: Any, style: Any) -> Any:
        label = super().render_label(node, base_style, style)
        label.plain = clean(label.plain)
        return label

    def on_click(self, event: Click) -> None:
        line: int = event.style.meta.get("line", -1)
        node = self.get_node_at_line(line)
        if node is not None and not node.allow_expand and line != self.cursor_line:
            self.cursor_line = line
            event.prevent_default()


class PickFile(ModalScreen[str | None]):
    """Choose a file with one of some endings; the result is its absolute path."""

    CSS_PATH = "configure.tcss"
    AUTO_FOCUS = "FileTree"
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 - an instance variable of Screen
    BINDINGS: ClassVar[list[BindingType]] = [CANCEL]

    def __init__(
        self, title: str, folder: Path, suffixes: tuple[str, ...], typed: str = "a path", chosen: str = ""
    ) -> None:
        """What is typed is relative to `folder`; the tree begins where `chosen`, the value so far, is."""
        super().__init__()
        self._title = title
        self._folder = folder
        near = typed_path(chosen, folder).parent if chosen else folder
        self._first = near if is_folder(near) else folder
        self._suffixes = suffixes
        self._typed = typed

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -tall") as box:
            box.border_title = self._title
            box.border_subtitle = "Enter chooses · Backspace goes up · Shift+Tab types"
            yield LineInput(placeholder=self._typed, compact=True)
            with Horizontal(classes="folder"):
                above = Button("▲", id="above", compact=True, tooltip="Folder above")
                above.can_focus = False  # by keyboard it is Backspace
                yield above
                yield Static(id="folder")
            with Container(classes="files"):
                yield FileTree(self._first, self._suffixes)
                yield from self.preview()
            with Horizontal(classes="answers"):
                yield Button("Choose", id="choose", variant="primary", compact=True, disabled=True)
                yield Button("Cancel", id="cancel", compact=True)

    def preview(self) -> ComposeResult:
        """A preview next to the tree."""
        yield from ()

    def show_preview(self, file: Path | None) -> None:
        """Preview the file under the cursor, or none."""

    def on_mount(self) -> None:
        self.watch(self.query_one(FileTree), "path", self._show_folder)

    def _show_folder(self, folder: Path | str) -> None:
        self.query_one("#folder", Static).update(Content(one_line(str(Path(folder).absolute()), 200)))

    @property
    def _file(self) -> Path | None:
        """The file under the cursor."""
        node = self.query_one(FileTree).cursor_node
        return node.data.path.absolute() if node is not None and node.data and not node.allow_expand else None

    @on(Tree.NodeHighlighted)
    def _highlighted(self, event: Tree.NodeHighlighted[DirEntry]) -> None:
        self.query_one("#choose", Button).disabled = self._file is None
        self.show_preview(self._file)

    @on(DirectoryTree.FileSelected)
    def _selected(self, event: DirectoryTree.FileSelected) -> None:
        self.dismiss(str(event.path.absolute()))

    @on(Input.Submitted)
    def _entered(self, event: Input.Submitted) -> None:
        typed = event.value.strip()
        folder, tree = typed_path(typed, self._folder), self.query_one(FileTree)
        if is_folder(folder):
            tree.path = folder
            tree.focus()
        else:
            self.dismiss(typed)

    @on(Button.Pressed)
    def _pressed(self, event: Button.Pressed) -> None:
        match event.button.id:
            case "above":
                self.query_one(FileTree).action_parent_folder()
            case "choose" if self._file is not None:
                self.dismiss(str(self._file))
            case "cancel":
                self.dismiss(None)


class PickCoverage(PickFile):
    """Choose the coverage data with a preview: a file from the tree, or any path or Hub id that is typed."""

    def __init__(self, folder: Path, like: Coverage | None, chosen: str = "") -> None:
        endings = (*COVERAGE_FILES, *COMPRESSED)
        super().__init__("Coverage data", folder, endings, "a path, or a Hub dataset such as org/name", chosen)
        self._like = like
        self._settling: Timer | None = None

    def preview(self) -> ComposeResult:
        yield CoveragePreview("The file under the cursor is previewed here: its rows, and those that would be dropped.")

    def show_preview(self, file: Path | None) -> None:
        if self._settling is not None:
            self._settling.stop()
        self._settling = self.set_timer(SETTLED_S, lambda: self._preview(file))

    def _preview(self, file: Path | None) -> None:
        if file is None:
            self.query_one(CoveragePreview).request(None)
            return
        like = self._like or Coverage(source=str(file))
        self.query_one(CoveragePreview).request(like.model_copy(update={"source": str(file)}))
