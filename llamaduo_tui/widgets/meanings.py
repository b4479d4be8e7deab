"""What the settings mean for this data and machine, line by line, as they are typed."""

from __future__ import annotations

from collections.abc import Iterator

from textual.content import Content
from textual.widgets import Static

from llamaduo_tui.views.outlook import Outlook
from llamaduo_tui.views.text import one_line
from llamaduo_tui.widgets.lines import hung

LABEL = 15
CHARS = 400
"""Characters of a sample that are shown."""

NONE = "What the settings mean for your data appears here once there is some: F4 chooses a file."


class Meanings(Static):
    """A line for each thing that the settings decide, and a pair of the data; `▸` marks what the field decides."""

    def __init__(self) -> None:
        super().__init__(markup=False)
        self.border_title = "what this means for your data and machine"

    def show(self, outlook: Outlook, key: str) -> None:
        """The settings as they are now, and the field that is edited, "" for none."""
        width = self.content_size.width
        if width > LABEL:
            self.update(Content("\n").join(_lines(outlook, key, width)) or Content.styled(NONE, "$foreground-muted"))


def _lines(outlook: Outlook, key: str, width: int) -> Iterator[Content]:
    for name, text, decided in outlook.meanings(key):
        style = "$text-accent" if decided else ""
        marked = ("▸ " if decided else "  ") + name
        yield from hung(marked, Content.styled(text, style), width, LABEL, f"bold {style}")
    samples = outlook.profile.samples if outlook.profile is not None else ()
    for sample in samples[:1]:
        yield Content("")
        for name, text in (("  prompt", sample.prompt), ("  response", sample.response)):
            yield from hung(name, Content(one_line(text, CHARS)), width, LABEL, "bold $foreground-muted")
