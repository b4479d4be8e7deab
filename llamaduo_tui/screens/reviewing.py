"""The part of the review that records what a person says: single reviews, many at once, undone; and bookmarks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from textual import on, work
from textual.screen import Screen
from textual.worker import Worker, WorkerState

from engine.protocol.commands import Label, ResponseKey
from engine.protocol.person import person
from engine.protocol.run_dir import Run
from llamaduo_tui.key_turns import ASKS
from llamaduo_tui.screens.browsing import BrowsingScreen
from llamaduo_tui.screens.review_loader import SAVE_GROUP, LabelsSaved, ReviewLoader
from llamaduo_tui.views import phrases
from llamaduo_tui.views.annotation import Annotations, Said
from llamaduo_tui.views.bookmarks import Bookmark
from llamaduo_tui.views.review import LoadedRound, PromptEntry, RoundNumber
from llamaduo_tui.views.review_list import ReviewSort, unflagged, unread
from llamaduo_tui.widgets.label_form import LabelForm
from llamaduo_tui.widgets.prompt_list import PromptList
from llamaduo_tui.widgets.response_view import ResponseView

RECORDING = frozenset({"agree", "disagree", "flag", "note", "bookmark", "undo", "agree_all", "flag_all"})
"""The actions that write into the run's folder: a run of another user is read only."""


class ReviewingScreen(BrowsingScreen):
    """Records reviews and bookmarks; `round` is the round of its list."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.loader = ReviewLoader(self, run)
        self.annotations = Annotations()
        self.bookmarks: set[str] = set()
        self.round: LoadedRound | None = None
        self.sort: ReviewSort = "worst"
        self._marked: dict[str, bool] = {}
        self._labelled: ResponseKey | None = None

    @property
    def number(self) -> RoundNumber:
        """The round of the list."""
        return self.round.number if self.round else None

    @property
    def response(self) -> ResponseView:
        return self.query_one(ResponseView)

    @property
    def prompts(self) -> PromptList:
        return self.query_one(PromptList)

    @property
    def label(self) -> Label | None:
        """The newest label of the response that is shown."""
        page = self.response.page
        return self.annotations.labels.get(page.key) if page else None

    def marks(self, id_: str) -> str:
        """The reviews of a prompt's responses, as signs; in the drawn order, those of the drawn response."""
        if self.round is None:
            return ""
        return self.annotations.marks(self.number, id_, self.samples(self.round.entries[id_]))

    def samples(self, entry: PromptEntry) -> tuple[int, ...]:
        """The samples of a prompt that the list is about."""
        drawn = self.round.drawn if self.round is not None and self.sort == "drawn" else ()
        return tuple(answer.sample for answer in drawn if answer.id == entry.id) or entry.samples

    def done(self, entry: PromptEntry) -> bool:
        """Whether a prompt is reviewed; a drawn response is once it has a person's scores."""
        if self.sort != "drawn":
            return bool(self.marks(entry.id))
        labels = (self.annotations.labels.get((self.number, entry.id, one)) for one in self.samples(entry))
        return any(label is not None and label.scored for label in labels)

    @abstractmethod
    def show_reviews(self) -> None:
        """Draw again what depends on reviews and bookmarks."""

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Read again what is recorded where something cannot be written: it must not look saved."""
        if event.state is WorkerState.ERROR and event.worker.group == SAVE_GROUP:
            self.annotations.forget()
            self._marked.clear()
            self.loader.open(self.number)

    def on_labels_saved(self, message: LabelsSaved) -> None:
        self.annotations.written(message.said, message.end)

    def take_bookmarks(self, recorded: set[str]) -> None:
        """Take over the bookmarks of the run's folder, under those that were set or removed here since."""
        removed = {id_ for id_, on in self._marked.items() if not on}
        self.bookmarks = (recorded | self._marked.keys()) - removed

    # -- one response -------------------------------------------------------------------------------------------

    def _annotate(self, words: str, key: ResponseKey | None = None, **values: object) -> None:
        """Give a response, by default the one that is shown, a new label; fields that are not named stay."""
        page = self.response.page
        key = key or (page.key if page is not None else None)
        if key is not None:
            self._record(self.annotations.change([key], words, **values))

    def _record(self, said: Said) -> None:
        if said:
            self.loader.save(said)
        self.show_reviews()

    def action_agree(self) -> None:
        took = bool(self.label and self.label.agrees)
        agrees = None if took else True
        words = "Agreement withdrawn" if took else "Agreed with the judge"
        self._annotate(words, agrees=agrees, precision=None, similarity=None)

    def action_flag(self) -> None:
        flagged = not (self.label and self.label.flagged)
        self._annotate("Reference flagged" if flagged else "Flag removed", flagged=flagged)

    def action_disagree(self) -> None:
        page, label = self.response.page, self.label
        if page is not None:
            own = label is not None and label.precision is not None
            scores = (label.precision, label.similarity) if label and own else page.judged.scores
            self._open_form(page.key, scores)

    def action_note(self) -> None:
        if (page := self.response.page) is not None:
            self._open_form(page.key, None)

    def _open_form(self, key: ResponseKey, scores: tuple[float | None, float | None] | None) -> None:
        label = self.annotations.labels.get(key)
        self._labelled = key
        self.add_class("-labels")
        self.query_one(LabelForm).open(scores, label.note if label else "")

    @on(LabelForm.Saved)
    def _form_saved(self, message: LabelForm.Saved) -> None:
        """The review is for the response that the form was opened on."""
        self.remove_class("-labels")
        self.focus_reading()
        if message.precision is None:
            self._annotate("Note written", self._labelled, note=message.note)
        else:
            scores = {"precision": message.precision, "similarity": message.similarity}
            self._annotate("Own scores given", self._labelled, agrees=False, note=message.note, **scores)

    @on(LabelForm.Cancelled)
    def _form_cancelled(self) -> None:
        self.remove_class("-labels")
        self.focus_reading()

    def focus_reading(self) -> None:
        """Back to the list, or to the response while that has the whole width."""
        (self.prompts if self.query_one("#review-list").display else self.response).focus()

    def action_bookmark(self) -> None:
        """Set a bookmark on the prompt, or remove it."""
        if (entry := self.prompts.chosen) is not None:
            on = entry.id not in self.bookmarks
            self._marked[entry.id] = on
            self.take_bookmarks(self.bookmarks)
            self.loader.save_bookmark(Bookmark(prompt=entry.id, on=on, by=person()))
            self.show_reviews()

    # -- many responses -----------------------------------------------------------------------------------------

    @work(group=ASKS, exclusive=True)
    async def action_agree_all(self) -> None:
        """Agree with the judge on all that is listed, once its number is confirmed."""
        if self.round is None:
            return
        keys = unread(self.round, self._listed, self.annotations.labels)
        if not keys:
            self.notify("You have reviewed all that is listed, or it is drawn for you or not judged.")
            return
        details = (
            "They count as reviewed by you. Left out are responses with a review, answers that are drawn for you, for "
            "these correct the scores because you read each, and prompts with judge errors. U undoes it."
        )
        question = f"Agree with the judge on {phrases.count(len(keys), 'response')}?"
        if await self._confirmed(question, details, "Agree"):
            self._record(
                self.annotations.change(keys, "Agreed with the judge", agrees=True, precision=None, similarity=None)
            )
            self.notify(f"Agreed with the judge on {phrases.count(len(keys), 'response')}; U undoes it.")

    @work(group=ASKS, exclusive=True)
    async def action_flag_all(self) -> None:
        """Flag the references of all prompts that are listed, once their number is confirmed."""
        if self.round is None:
            return
        keys = unflagged(self.round, self._listed, self.annotations.labels)
        if not keys:
            self.notify("All references in the list are flagged.")
            return
        details = "Flagged prompts leave the dev scores of every round. The sealed scores count them. U undoes it."
        if await self._confirmed(f"Flag {phrases.count(len(keys), 'reference')} as bad?", details, "Flag them"):
            self._record(self.annotations.change(keys, "References flagged", flagged=True))
            self.notify(f"{phrases.count(len(keys), 'reference')} flagged; U undoes it.")

    @property
    def _listed(self) -> Sequence[PromptEntry]:
        return self.prompts.items

    async def _confirmed(self, question: str, details: str, yes: str) -> bool:
        from llamaduo_tui.screens.confirm import ConfirmScreen

        dialog: Screen[bool] = ConfirmScreen(question, details, yes)
        return await self.app.push_screen_wait(dialog)

    def action_undo(self) -> None:
        """Undo the last thing that was said here, of however many responses."""
        undone = self.annotations.undo()
        if undone is not None:
            self._record(undone.said)
            count = phrases.count(undone.responses, "response")
            self.notify(f"Undone: {undone.words[0].lower()}{undone.words[1:]} ({count})")
