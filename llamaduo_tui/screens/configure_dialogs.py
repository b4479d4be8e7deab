"""What the Configuration screen asks for: a coverage file, a preset, a place to save to, a decision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Button, DirectoryTree, Input, OptionList, Static
from textual.widgets.option_list import Option

from engine import template
from llamaduo_tui.text import clean

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")

_CANCEL: list[BindingType] = [
    Binding("escape", "dismiss(None)", "Cancel", id="dialog.cancel", tooltip="Close this, changing nothing")
]


class CoverageTree(DirectoryTree):
    """Folders, and the files that coverage data comes in."""

    ICON_NODE = "▸ "
    ICON_NODE_EXPANDED = "▾ "
    ICON_FILE = "  "
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("backspace", "parent_folder", "Folder above", id="coverage.parent", tooltip="To the folder above")
    ]

    def action_parent_folder(self) -> None:
        """Show the folder above."""
        self.path = Path(self.path).absolute().parent

    def filter_paths(self, paths: Iterable[Path]) -> Iterable[Path]:
        return [
            path
            for path in paths
            if not path.name.startswith(".") and (path.is_dir() or path.suffix.casefold() in SUFFIXES)
        ]

    def render_label(self, node: Any, base_style: Any, style: Any) -> Any:
        label = super().render_label(node, base_style, style)
        label.plain = clean(label.plain)
        return label


class PickCoverage(ModalScreen[str | None]):
    """Choose the coverage data: a file from the tree, or any path or Hub id typed."""

    CSS_PATH = "configure.tcss"
    BINDINGS: ClassVar[list[BindingType]] = _CANCEL
    AUTO_FOCUS = "CoverageTree"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog -tall") as box:
            box.border_title = "Coverage data"
            box.border_subtitle = "Enter chooses · Backspace: folder above · Tab: type a path · Esc"
            yield Input(placeholder="a path, or a dataset id of the Hub such as org/name")
            yield CoverageTree(self._folder)

    @on(DirectoryTree.FileSelected)
    def _chosen(self, event: DirectoryTree.FileSelected) -> None:
        self.dismiss(str(event.path))

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        source = event.value.strip()
        folder = (self._folder / source).expanduser()
        if folder.is_dir():
            tree = self.query_one(CoverageTree)
            tree.path = folder
            tree.focus()
        else:
            self.dismiss(source or None)


class PickPreset(ModalScreen[str | None]):
    """Choose a preset for the local model; each says what it sets."""

    CSS_PATH = "configure.tcss"
    BINDINGS: ClassVar[list[BindingType]] = _CANCEL

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "Presets for local models"
            box.border_subtitle = "Enter applies · Esc cancels"
            yield OptionList(*[Option(_preset(name), id=name) for name in template.presets()], markup=False)

    @on(OptionList.OptionSelected)
    def _chosen(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option_id)


class AskPath(ModalScreen[Path | None]):
    """Ask where to save new settings."""

    CSS_PATH = "configure.tcss"
    BINDINGS: ClassVar[list[BindingType]] = _CANCEL

    def __init__(self, proposed: Path) -> None:
        super().__init__()
        self._proposed = proposed

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = "Save as"
            box.border_subtitle = "Enter saves · Esc cancels"
            yield Input(str(self._proposed))

    @on(Input.Submitted)
    def _typed(self, event: Input.Submitted) -> None:
        name = event.value.strip()
        self.dismiss(Path(name).expanduser().absolute() if name else None)


class Ask(ModalScreen[str | None]):
    """A question with a button for each answer; focus starts on the first, which is the safe one."""

    CSS_PATH = "configure.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        *_CANCEL,
        Binding("left", "app.focus_previous", "Previous", show=False, id="ask.left", tooltip="To the previous answer"),
        Binding("right", "app.focus_next", "Next", show=False, id="ask.right", tooltip="To the next answer"),
    ]

    def __init__(self, title: str, question: str, answers: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        self._title = title
        self._question = question
        self._answers = answers

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog") as box:
            box.border_title = self._title
            yield Static(Content(clean(self._question)))
            with Horizontal(classes="answers"):
                for answer, label in self._answers:
                    yield Button(Content(label), id=answer)

    @on(Button.Pressed)
    def _answered(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id)


def _preset(name: str) -> Content:
    values = template.preset(name)
    local, finetune = values.get("local", {}), values.get("finetune", {})
    parts = [
        local.get("quantization"),
        f"r {local['adapter']['r']}" if "adapter" in local else None,
        f"{finetune['epochs']} epochs" if "epochs" in finetune else None,
        f"{finetune['max_length']} tokens" if "max_length" in finetune else None,
    ]
    said = " · ".join(part for part in parts if part)
    return Content.assemble((f"{name:<20}", "bold"), f" {local.get('model', '')}\n", (f"{'':<20} {said}", "dim"))
