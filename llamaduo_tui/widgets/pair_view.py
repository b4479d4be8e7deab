"""One pair and why it is there or not; where it repeats another one, the two side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from engine.protocol.commands import PairChoices
from llamaduo_tui.views.diff import Piece, Row, fields, json_rows, text_rows
from llamaduo_tui.views.pairs import LoadedFile, PairDetail, PairEntry, PairReader, PairStatus, status_of, twin_of
from llamaduo_tui.views.text import clean, one_line
from llamaduo_tui.widgets.comparison import Comparison
from llamaduo_tui.widgets.page_view import VIEW_NAMES, Page, PageView, View, choose_view
from llamaduo_tui.widgets.pair_list import MARKS, place

EXPLAINED: dict[PairStatus, str] = {
    "train": "every round trains on it",
    "dev": "it steers the loop and is never trained on",
    "dropped": "this row of your data cannot be used",
    "new": "the rounds after it train on it",
    "refused": "the filters exclude it from training",
    "leak": "it repeats a dev or test prompt, so it is never trained on",
    "kept": "the filters excluded it; training that starts from now on includes it",
    "out": "training that starts from now on excludes it",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairPage(Page[PairEntry]):
    """A pair, next to its twin where it has one that may be seen; `texts` are the two responses."""

    pair: PairDetail
    twin: PairDetail | None
    prompts: list[Row]
    responses: list[Row]
    texts: tuple[str, str]


class PairView(PageView[PairEntry, PairPage]):
    """A pair with its facts and texts."""

    DEFAULT_CSS = """
    PairView {
        & > #facts { height: auto; padding: 0 2; }
        &.-no-prompt > #pair-prompts, &.-no-response > #pair-responses { display: none; }
    }
    """

    def __init__(self, reader: PairReader, id: str | None = None) -> None:  # noqa: A002 - Textual's name
        super().__init__(id)
        self._reader = reader
        self._files: Sequence[LoadedFile] = ()
        self._choices: PairChoices = {}

    def compose(self) -> ComposeResult:
        yield Static(id="facts", markup=False)
        yield Comparison(id="pair-prompts")
        yield Comparison(id="pair-responses")

    def show_pair(self, entry: PairEntry, files: Sequence[LoadedFile]) -> None:
        """Show another pair; its twin is searched in `files`."""
        self._files = files
        self.show(entry)

    def load(self, key: PairEntry, view: View, limit: int | None) -> PairPage:
        pair = self._reader.detail(key)
        other = twin_of(self._files, pair) if pair.twin else None
        return _page(pair, self._reader.detail(other) if other else None, view, limit)

    async def fill(self, page: PairPage, before: PairPage | None) -> None:
        self.show_choices(self._choices)
        pair, twin = page.pair, page.twin
        self.set_class(not pair.text, "-no-prompt")
        self.set_class(pair.response is None, "-no-response")
        twin_title = f"Twin · {place(twin.entry)}" if twin else None
        await self.query_one("#pair-prompts", Comparison).show_rows(page.prompts, (twin_title, _title(pair)))
        responses = self.query_one("#pair-responses", Comparison)
        titles = "Twin's response" if twin else None, f"Response · {VIEW_NAMES[page.view]}"
        if page.view == "markdown":
            await responses.show_markdown(page.texts, titles)
        else:
            await responses.show_rows(page.responses, titles)
        if before is None or before.key is not page.key:
            self.scroll_home(animate=False)

    def show_choices(self, choices: PairChoices) -> None:
        """What becomes of the pair by people's choices, above its texts."""
        self._choices = choices
        if self.page is not None:
            facts = _facts(self.page, choices)
            if (note := self.cut_note()) is not None:
                facts.append(note)
            self.query_one("#facts", Static).update(Content("\n").join(facts))


def _facts(page: PairPage, choices: PairChoices) -> list[Content]:
    pair = page.pair
    now = status_of(pair.entry, choices)
    mark = MARKS[now]
    lines = [Content.assemble((f"{mark.sign} {mark.word}", mark.style), f": {EXPLAINED[now]}")]
    if pair.reason:
        sealed = ", which is in the sealed test" if now == "leak" and page.twin is None else ""
        lines.append(Content.assemble(("reason  ", "$foreground-muted"), one_line(pair.reason, 300), sealed))
    about = " · ".join(filter(None, [one_line(pair.entry.category, 60), one_line(pair.origin, 200)]))
    if about:
        lines.append(Content.styled(about, "$foreground-muted"))
    return lines


def _title(pair: PairDetail) -> str:
    return "The row as it came" if pair.entry.file.kind == "dropped" else "Prompt"


def _page(pair: PairDetail, twin: PairDetail | None, wanted: View, limit: int | None) -> PairPage:
    """Single texts are rows that are the same on both sides, of which the right one is shown."""
    prompt, response = clean(pair.prompt[:limit]), clean((pair.response or "")[:limit])
    theirs = (clean(twin.prompt[:limit]), clean((twin.response or "")[:limit])) if twin else (prompt, response)
    texts = theirs[1], response
    by_field = json_rows(*texts) if twin else _single_fields(response)
    view, views = choose_view(wanted, texts, bool(by_field))
    compare = text_rows if twin else _single
    return PairPage(
        key=pair.entry,
        view=view,
        views=views,
        longest=max(len(pair.prompt), len(pair.response or "")),
        pair=pair,
        twin=twin,
        prompts=compare(theirs[0], prompt),
        responses=(by_field or []) if view == "fields" else compare(*texts) if view == "text" else [],
        texts=texts,
    )


def _single(_: str, text: str) -> list[Row]:
    return [Row((piece,), (piece,)) for piece in map(Piece, text.split("\n"))]


def _single_fields(text: str) -> list[Row] | None:
    values = fields(text)
    if values is None:
        return None
    width = min(24, max(map(len, values), default=0))
    return _single("", "\n".join(f"{name:<{width}}  {value}" for name, value in values.items()))
