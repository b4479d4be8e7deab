"""The list of runs while it is empty: an explanation of a run, and the two ways to start one."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Button, Static

_LOOP = Content("\n").join(
    [
        Content("pairs ─▶ fine-tune ─▶ answer ─▶ judge ─▶ decision"),
        Content("             ▲                               │"),
        Content("             ╰────────── new pairs ◀─────────╯"),
    ]
)


class Welcome(Vertical):
    """An invitation to the demo, of lines that a terminal of 60 columns holds; its buttons do what the keys do."""

    def compose(self) -> ComposeResult:
        self.border_title = "No runs yet"
        yield Static("Move a task from a cloud LLM to your own small model", classes="claim", markup=False)
        yield Static(_LOOP, classes="loop")
        yield Static(
            "A run trains the small model on prompts with responses that you approve of. The cloud LLM judges its "
            "responses, and the run asks you before it pays for more examples.",
            classes="said",
            markup=False,
        )
        with Horizontal():
            yield Button("d Watch the demo", variant="primary", compact=True, action="screen.demo")
            yield Static("10 minutes: no key or GPU, free", markup=False)
        with Horizontal():
            yield Button("n Set up your own", compact=True, action="screen.new")
            yield Static("a form, every setting explained", markup=False)
