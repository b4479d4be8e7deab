"""One answer and all there is to judge it by: its history, the prompt, both responses and the verdicts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from textual import work
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Static
from textual.worker import Worker, WorkerState, get_current_worker

from engine.protocol import jsonl
from engine.protocol.commands import Label
from engine.protocol.rows import prompt_text
from engine.protocol.stages import Phase
from llamaduo_tui.views import phrases
from llamaduo_tui.views.diff import Row, json_rows, text_rows
from llamaduo_tui.views.review import Answer, Part, Review
from llamaduo_tui.views.text import clean
from llamaduo_tui.widgets.comparison import Comparison
from llamaduo_tui.widgets.lines import WrappedText
from llamaduo_tui.widgets.verdicts import Verdicts

SHOWN_CHARS = 20_000
"""Characters of a text that are shown until all of it is asked for."""

Key = tuple[Part, str, int]
"""Round, prompt id and sample."""

MARKDOWN_LINES = 400
"""Lines of a text up to which it is rendered as Markdown: each block is a widget."""

View = Literal["fields", "text", "markdown"]
VIEWS: dict[View, str] = {"fields": "JSON fields", "text": "text", "markdown": "Markdown"}


@dataclass(frozen=True, slots=True)
class Page:
    """An answer made ready to show: texts cleaned and cut, `rows` compared; `longest` counts characters before."""

    answer: Answer
    prompt: str
    texts: tuple[str, str]
    rows: list[Row]
    view: View
    views: list[View]
    longest: int

    @property
    def key(self) -> Key:
        """What a label is kept under."""
        return self.answer.part, self.answer.response.id, self.answer.response.sample


class AnswerView(VerticalScroll):
    """Reads an answer in a thread and shows it; all of it scrolls as one."""

    HELP = """
## Answer

The prompt, the service's response and the local model's side by side, and every verdict of the judge with its reasons.
**≠** marks what differs. Above is the prompt's mean score by round: `[` and `]` show its earlier and later answers,
`.` another sample. `v` changes between JSON fields, text and Markdown.

Is the judge right? `y` agrees, `n` takes your own scores, `b` flags a bad response of the service, `e` takes a note.
Your reviews tell how far the judge can be trusted, and from 30 on they correct the scores.
"""
    DEFAULT_CSS = """
    AnswerView {
        scrollbar-gutter: stable; scrollbar-size-vertical: 1; scrollbar-background: $surface;
        &:focus { background-tint: $foreground 4%; }
        & > #history { height: auto; padding: 0 2; color: $text-muted; }
        & > #prompt {
            height: auto; padding: 0 1; background: $surface;
            border: round $border-blurred; border-title-color: $text;
        }
        &.-nothing > * { display: none; }
    }
    """

    @dataclass
    class Shown(Message):
        """Another answer is shown, or none."""

        page: Page | None

    @dataclass
    class Failed(Message):
        """A file could not be read or written."""

        error: BaseException

    @dataclass
    class _Read(Message):
        page: Page

    def __init__(self, review: Review, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id=id, classes="-nothing")
        self.review = review
        self.parts: list[Part] = []
        self._page: Page | None = None
        self._wanted: Key | None = None
        self.view: View = "fields"
        self.whole = False

    def compose(self) -> ComposeResult:
        yield Static(id="history", markup=False)
        yield WrappedText(id="prompt")
        yield Comparison(id="comparison")
        yield Verdicts(id="verdicts", markup=False)

    @property
    def page(self) -> Page | None:
        """What is shown; None while another answer is on its way, for a key pressed then means that one."""
        return self._page if self._page and self._page.key == self._wanted else None

    def show(self, part: Part, id_: str, sample: int) -> None:
        """Another prompt's answer, cut where it is long."""
        self.whole = False
        self._want(part, id_, sample)

    def clear(self) -> None:
        """Show nothing."""
        self.workers.cancel_group(self, "review-answer")
        self._page = self._wanted = None
        self.add_class("-nothing")
        self.post_message(self.Shown(None))

    def show_label(self, label: Label | None) -> None:
        """What a person said of the answer, above what the judge said."""
        if self.page is not None:
            self.query_one(Verdicts).show(self.page.answer.verdicts, label)

    def next_view(self) -> None:
        """JSON fields, text, Markdown, in turn."""
        if self.page is not None:
            views = self.page.views
            self.view = views[(views.index(self.page.view) + 1) % len(views)]
            self._want(*self.page.key)

    def toggle_whole(self) -> None:
        """All of a long text, or its beginning."""
        if self.page is not None:
            self.whole = not self.whole
            self._want(*self.page.key)

    def step_sample(self, by: int) -> None:
        """Another of the model's answers to the prompt."""
        if self.page is not None:
            part, id_, sample = self.page.key
            samples = self.page.answer.item.samples
            self._want(part, id_, samples[(samples.index(sample) + by) % len(samples)])

    def step_round(self, by: int) -> None:
        """The prompt's answer of the round before or after."""
        part = self.neighbour(by)
        if part is not None and self.page is not None:
            _, id_, sample = self.page.key
            samples = self.review.rounds[part].items[id_].samples
            self._want(part, id_, sample if sample in samples else samples[0])

    def neighbour(self, by: int) -> Part:
        """The round before or after the one shown, as far as it is read and has this prompt."""
        if self.page is None or self.page.answer.part is None:
            return None
        part = self.page.answer.part + by
        known = self.review.rounds.get(part)
        return part if known and self.page.answer.item.id in known.items else None

    def show_history(self, parts: list[Part]) -> None:
        """The prompt's mean score by round, and what is left out of a long text."""
        self.parts = parts
        if self.page is None:
            return
        means = [(part, self._mean(part)) for part in parts]
        known = [(part, f"{_name(part)}: {mean:.0f}") for part, mean in means if mean is not None]
        lines = []
        if len(known) > 1:
            here = self.page.answer.part
            steps = [
                Content.styled(f"[{said}]", "bold $text") if part == here else Content(said) for part, said in known
            ]
            lines.append(Content(" → ").join(steps))
        if self.page.longest > SHOWN_CHARS:
            state = "all of it is shown" if self.whole else f"the first {SHOWN_CHARS:,} are shown, m shows all"
            lines.append(Content.styled(f"! {self.page.longest:,} characters: {state}", "$text-warning"))
        history = self.query_one("#history", Static)
        history.display = bool(lines)
        history.update(Content("\n").join(lines))

    @work(thread=True, group="review-save", exit_on_error=False)
    def save(self) -> None:
        """Write the prompt and both answers, as they came, into the run's folder."""
        if self.page is None:
            return
        response = self.page.answer.response
        name = re.sub(r"[^A-Za-z0-9]+", "-", f"{_name(self.page.answer.part)} {response.id[:40]} {response.sample}")
        path = self.review.run.folder / "review" / f"{name}.md"
        parts = (
            ("Prompt", prompt_text(response.prompt, response.tools)),
            ("Reference", response.expected),
            ("Response", response.response),
        )
        jsonl.replace(path, "\n\n".join(f"# {title}\n\n{text}" for title, text in parts) + "\n")
        self.app.call_from_thread(self.notify, clean(str(path)), title="Saved", markup=False)

    def _want(self, *key: *Key) -> None:
        self._wanted = key
        self._read(*key)

    @work(thread=True, group="review-answer", exclusive=True, exit_on_error=False)
    def _read(self, part: Part, id_: str, sample: int) -> None:
        cut = not self.whole or self.view == "markdown"
        page = _page(self.review.answer(part, id_, sample), self.view, SHOWN_CHARS if cut else None)
        if not get_current_worker().is_cancelled:
            self.post_message(self._Read(page))

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            self.post_message(self.Failed(event.worker.error))

    async def on_answer_view__read(self, message: _Read) -> None:
        """Fill the parts with a page."""
        before, page = self._page, message.page
        if page.key != self._wanted:
            return
        self._page = page
        self.remove_class("-nothing")
        prompt = self.query_one("#prompt", WrappedText)
        prompt.border_title = Content("Prompt")
        prompt.show(Content(page.prompt))
        comparison = self.query_one(Comparison)
        if page.view == "markdown":
            await comparison.show_markdown(page.texts, _titles(page))
        else:
            await comparison.show_rows(page.rows, _titles(page))
        self.show_history(self.parts)
        if before is None or before.key[1] != page.key[1]:
            self.scroll_home(animate=False)
        self.post_message(self.Shown(page))

    def _mean(self, part: Part) -> float | None:
        known = self.review.rounds.get(part)
        item = known.items.get(self.page.answer.item.id) if known and self.page else None
        return item.mean if item else None


def _page(answer: Answer, wanted: View, limit: int | None) -> Page:
    response = answer.response
    prompt = prompt_text(response.prompt, response.tools)
    texts = clean(response.expected[:limit]), clean(response.response[:limit])
    fields = json_rows(*texts)
    views: list[View] = ["fields"] if fields else []
    views += ["text", "markdown"] if max(text.count("\n") for text in texts) < MARKDOWN_LINES else ["text"]
    view = wanted if wanted in views else "text"
    rows = fields if view == "fields" and fields else text_rows(*texts) if view == "text" else []
    longest = max(map(len, (prompt, response.expected, response.response)))
    return Page(answer, clean(prompt[:limit]), texts, rows, view, views, longest)


def _titles(page: Page) -> tuple[str, str]:
    response, samples = page.answer.response, page.answer.item.samples
    which = f" · answer {samples.index(response.sample) + 1} of {len(samples)}" if len(samples) > 1 else ""
    cut = " · cut at its token limit" if response.finish_reason == "length" else ""
    return f"Service · {VIEWS[page.view]}", f"Local · {_name(page.answer.part)}{which}{cut}"


def _name(part: Part) -> str:
    return phrases.part(Phase.SEALED if part is None else part)
