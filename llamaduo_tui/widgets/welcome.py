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

    DEFAULT_CSS = """
    Welcome {
        width: 72;
        max-width: 100%;
        height: auto;
        padding: 1 3;
        border: round $primary;
        border-title-color: $text-primary;
        border-title-style: bold;

        .claim {
            text-style: bold;
            color: $text-accent;
        }

        .loop {
            margin: 1 0;
            color: $text-primary;
        }

        .said {
            margin-bottom: 1;
        }

        Horizontal {
            height: 1;
        }

        Horizontal Static {
            width: 1fr;
            margin-left: 2;
            color: $text-muted;
        }

        Button {
            width: 19;
            margin-bottom: 1;
        }
    }
    """

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
