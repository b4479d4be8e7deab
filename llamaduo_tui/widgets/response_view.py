"""One response and what it is judged against: its history, the prompt and the service's response."""

from __future__ import annotations

import re
from dataclasses import dataclass

from textual import work
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from engine.protocol import jsonl
from engine.protocol.commands import ResponseKey
from engine.protocol.rows import prompt_text
from llamaduo_tui.views.diff import Row, json_rows, text_rows
from llamaduo_tui.views.review import JudgedResponse, Review, RoundNumber
from llamaduo_tui.views.review_words import round_name
from llamaduo_tui.views.text import clean
from llamaduo_tui.widgets.comparison import Comparison
from llamaduo_tui.widgets.lines import FoldedText
from llamaduo_tui.widgets.page_view import VIEW_NAMES, Page, PageView, View, choose_view

PROMPT_LINES = 2
"""Lines of a prompt that even a small terminal shows."""

PLACE = 16
"""Characters by which the line is found where a prompt differs from others."""

FRAME = 3
"""Lines above and below a prompt's text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsePage(Page[ResponseKey]):
    """A response next to the service's; `texts` are the reference and the response, `rows` compare them."""

    judged: JudgedResponse
    prompt: str
    texts: tuple[str, str]
    rows: list[Row]


class ResponseView(PageView[ResponseKey, ResponsePage]):
    """A response with its prompt and its reference.

    `as_one` shows both responses in one column, or not; None does so where the terminal is narrow: of short responses
    both are in sight.
    """

    HELP = """
## Response

The prompt, then the service's response and the local model's side by side; the judge's verdicts stay below them. **≠**
marks what differs. `D` shows both in one column, as narrow terminals do, with **−** before the service's lines and
**+** before the local model's; or no longer.
Of a long prompt the lines from where it differs are shown: `m` shows all.
`enter` hides the list, for long texts, and `esc` shows it again. At the top is the prompt's mean score by round: `[`
and `]` show the responses of earlier and later rounds, `.` shows another sample. `v` switches between JSON fields, text
and Markdown.

Is the judge right? `y` agrees, `n` takes your own scores, `b` flags a bad response of the service, `e` adds a note.
Your reviews measure how reliable the judge is. Those of the answers **drawn for you** (`o`) also correct the scores.
"""
    DEFAULT_CSS = """
    ResponseView {
        scrollbar-background: $surface;
        & > #history { height: auto; padding: 0 2; color: $text-muted; }
        & > #prompt {
            height: auto; padding: 0 1; background: $surface;
            border: round $border-blurred; border-title-color: $text;
        }
    }
    """

    def __init__(self, review: Review, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id)
        self.review = review
        self.as_one: bool | None = None
        self._rounds: list[RoundNumber] = []

    def compose(self) -> ComposeResult:
        yield Static(id="history", markup=False)
        yield FoldedText(id="prompt")
        yield Comparison(id="comparison")

    def load(self, key: ResponseKey, view: View, limit: int | None) -> ResponsePage:
        return _page(key, self.review.response(*key), view, limit)

    async def fill(self, page: ResponsePage, before: ResponsePage | None) -> None:
        prompt = self.query_one("#prompt", FoldedText)
        prompt.border_title = Content("Prompt")
        prompt.show(Content(page.prompt))
        self._fold()
        comparison = self.query_one(Comparison)
        if page.view == "markdown":
            await comparison.show_markdown(page.texts, _titles(page))
        else:
            await comparison.show_rows(page.rows, _titles(page), self.as_one)
        self.show_history(self._rounds)
        if before is None or before.key[1] != page.key[1]:
            self.scroll_home(animate=False)

    @property
    def folded(self) -> bool:
        return self.query_one("#prompt", FoldedText).folded

    def on_resize(self) -> None:
        self._fold()

    def _fold(self) -> None:
        """Leave at least half of the room to the responses, unless the reader wants all of the prompt."""
        most = max(PROMPT_LINES, self.size.height // 2 - FRAME)
        start = self.page.judged.entry.start if self.page is not None else ""
        place = start.removeprefix("…").partition("\n")[0][:PLACE]
        self.query_one("#prompt", FoldedText).fold(0 if self.whole else most, place)

    def toggle_as_one(self) -> None:
        """Show both responses side by side, or in one column; as Markdown they are side by side."""
        if self.page is not None:
            self.as_one = not self.query_one(Comparison).one_column
            if self.page.view == "markdown":
                self.view = "text"
            self.turn_to(self.page.key)

    def step_sample(self, by: int) -> None:
        """Another of the model's responses to the prompt."""
        if self.page is not None:
            number, id_, sample = self.page.key
            samples = self.page.judged.entry.samples
            self.turn_to((number, id_, samples[(samples.index(sample) + by) % len(samples)]))

    def step_round(self, by: int) -> None:
        """The response of the round before or after."""
        number = self.neighbour(by)
        if number is not None and self.page is not None:
            _, id_, sample = self.page.key
            samples = self.review.loaded[number].entries[id_].samples
            self.turn_to((number, id_, sample if sample in samples else samples[0]))

    def neighbour(self, by: int) -> RoundNumber:
        """The round before or after the one shown, as far as it is read and has this prompt."""
        if self.page is None or self.page.judged.round is None:
            return None
        number = self.page.judged.round + by
        known = self.review.loaded.get(number)
        return number if known and self.page.judged.entry.id in known.entries else None

    def show_history(self, rounds: list[RoundNumber]) -> None:
        """The prompt's mean score by round, and how much of a long text is shown."""
        self._rounds = rounds
        if self.page is None:
            return
        lines = []
        means = [(number, self._mean(number)) for number in rounds]
        steps = [(number, f"{round_name(number)}: {mean:.0f}") for number, mean in means if mean is not None]
        if len(steps) > 1:
            here = self.page.judged.round
            marked = [Content.styled(f"[{s}]", "bold $text") if number == here else Content(s) for number, s in steps]
            lines.append(Content(" → ").join(marked))
        if (note := self.cut_note()) is not None:
            lines.append(note)
        history = self.query_one("#history", Static)
        history.display = bool(lines)
        history.update(Content("\n").join(lines))

    @work(thread=True, group="review-save", exit_on_error=False)
    def save(self) -> None:
        """Write the prompt and both responses, as they came, into the run's folder."""
        if self.page is None:
            return
        response = self.page.judged.response
        name = re.sub(
            r"[^A-Za-z0-9]+", "-", f"{round_name(self.page.judged.round)} {response.id[:40]} {response.sample}"
        )
        path = self.review.run.folder / "review" / f"{name}.md"
        texts = (
            ("Prompt", prompt_text(response.prompt, response.tools)),
            ("Reference", response.expected),
            ("Response", response.response),
        )
        jsonl.replace(path, "\n\n".join(f"# {title}\n\n{text}" for title, text in texts) + "\n")
        self.app.call_from_thread(self.notify, clean(str(path)), title="Saved", markup=False)

    def _mean(self, number: RoundNumber) -> float | None:
        known = self.review.loaded.get(number)
        entry = known.entries.get(self.page.judged.entry.id) if known and self.page else None
        return entry.mean if entry else None


def _page(key: ResponseKey, judged: JudgedResponse, wanted: View, limit: int | None) -> ResponsePage:
    response = judged.response
    prompt = prompt_text(response.prompt, response.tools)
    texts = clean(response.expected[:limit]), clean(response.response[:limit])
    by_field = json_rows(*texts)
    view, views = choose_view(wanted, texts, bool(by_field))
    return ResponsePage(
        key=key,
        view=view,
        views=views,
        longest=max(map(len, (prompt, response.expected, response.response))),
        judged=judged,
        prompt=clean(prompt[:limit]),
        texts=texts,
        rows=(by_field or []) if view == "fields" else text_rows(*texts) if view == "text" else [],
    )


def _titles(page: ResponsePage) -> tuple[str, str]:
    response, samples = page.judged.response, page.judged.entry.samples
    which = f" · sample {samples.index(response.sample) + 1} of {len(samples)}" if len(samples) > 1 else ""
    cut = " · cut at its token limit" if response.finish_reason == "length" else ""
    return f"Service · {VIEW_NAMES[page.view]}", f"Local · {round_name(page.judged.round)}{which}{cut}"
