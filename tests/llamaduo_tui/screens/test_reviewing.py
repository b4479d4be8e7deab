"""What a person says in the review, and how it is recorded."""

from __future__ import annotations

from collections.abc import Callable

from frozen import text_of
from review_host import Host, drawn, labels, listed, press, settle, shown
from review_run import draw, response, verdicts, write
from textual.widgets import Input
from typing_fast import burst

from engine.protocol import commands
from engine.protocol.commands import Label
from engine.protocol.run_dir import Run
from engine.protocol.status import State
from llamaduo_tui.screens.review import ReviewScreen
from llamaduo_tui.views import bookmarks
from llamaduo_tui.views.run_view import RunView
from llamaduo_tui.views.watcher import RunUpdate
from llamaduo_tui.widgets.label_form import LabelForm
from llamaduo_tui.widgets.prompt_list import PromptList
from llamaduo_tui.widgets.verdicts import Verdicts


async def test_agree_and_take_back(run: Run) -> None:
    async with Host(run).run_test() as pilot:
        await settle(pilot)
        screen = await press(pilot, "y")
        assert labels(run)[1, "a1", 0].agrees is True
        assert screen.marks("a1") == "✓"
        assert "✓ you agree" in str(screen.query_one(Verdicts).border_title)
        screen = await press(pilot, "y")
        assert labels(run)[1, "a1", 0].agrees is None
        assert screen.marks("a1") == ""


async def test_disagree_with_own_scores_and_a_note(run: Run) -> None:
    async with Host(run).run_test() as pilot:
        await settle(pilot)
        screen = await press(pilot, "n")
        assert screen.query_one("#label-precision", Input).value == "40"
        await press(pilot, "backspace", "backspace", "1", "0", "1", "enter")
        assert "1 to 100" in text_of(screen, "#label-problem")
        assert not run.commands_file.exists()
        await press(pilot, "backspace", "tab", "tab", "b", "y", "enter")
        label = labels(run)[1, "a1", 0]
        assert (label.agrees, label.precision, label.similarity, label.note) == (False, 10, 50, "by")
        assert screen.marks("a1") == "✗✎"
        assert not screen.query_one(LabelForm).has_class("-open")
        assert screen.query_one(PromptList).has_focus


async def test_flag_and_note_keep_what_was_said_before(run: Run) -> None:
    async with Host(run).run_test() as pilot:
        await settle(pilot)
        await press(pilot, "y", "b", "e", "o", "k", "enter")
        label = labels(run)[1, "a1", 0]
        assert (label.agrees, label.flagged, label.note) == (True, True, "ok")


async def test_next_unreviewed_goes_round(run: Run) -> None:
    async with Host(run).run_test() as pilot:
        await settle(pilot)
        screen = await press(pilot, "y", "u", "y", "end", "u")
        assert shown(screen)[1] == "d4"


async def test_escape_leaves_the_form_and_then_the_screen(run: Run) -> None:
    async with Host(run).run_test() as pilot:
        await settle(pilot)
        screen = await press(pilot, "n", "escape")
        assert not screen.query_one(LabelForm).has_class("-open")
        await pilot.press("escape")
        await pilot.pause()
        assert not isinstance(pilot.app.screen, ReviewScreen)
        assert not run.commands_file.exists()


async def test_a_review_and_its_withdrawal_are_written_in_this_order(run: Run) -> None:
    async with Host(run).run_test(size=(120, 40)) as pilot:
        await drawn(pilot)
        await burst(pilot, *"yyyyyy")
        await settle(pilot)
        assert labels(run)[1, "a1", 0].agrees is None


async def test_a_bookmark_is_kept_in_the_review_folder(run: Run) -> None:
    async with Host(run).run_test(size=(120, 40)) as pilot:
        await drawn(pilot)
        screen = await press(pilot, "down", "asterisk", "g", "end", "enter")
        assert listed(screen) == ["c3"]
        assert bookmarks.read(run) == {"c3"}
        await press(pilot, "asterisk")
        assert bookmarks.read(run) == set()
        assert not run.commands_file.exists()


async def test_a_run_of_another_user_offers_no_reviews(run: Run) -> None:
    async with Host(run).run_test(size=(120, 40)) as pilot:
        await drawn(pilot)
        screen = await settle(pilot)
        screen.take(RunUpdate(RunView(), State.RUNNING, None, [], [], mine=False))
        await burst(pilot, "y", "b", "asterisk", "Y", "B", "n", "e")
        assert not run.commands_file.exists() and not bookmarks.read(run)
        assert screen.check_action("read_on", ()) is True


async def test_all_that_is_listed_is_marked_at_once_and_undone_at_once(run: Run) -> None:
    async with Host(run).run_test(size=(120, 40)) as pilot:
        await drawn(pilot)
        await burst(pilot, "e", *"hm", "enter", "Y", "n")
        assert len(labels(run)) == 1, "the dialog is answered with no"
        await burst(pilot, "Y", "y")
        screen = await settle(pilot)
        assert len(run.commands_file.read_bytes().splitlines()) == 2, "one line for all"
        assert {key for key, label in labels(run).items() if label.agrees} == {
            (1, "a1", 1),
            *((1, id_, sample) for id_ in ("b2", "c3") for sample in (0, 1)),
        }
        assert [screen.marks(id_) for id_ in ("a1", "b2", "c3", "d4")] == ["✓✎", "✓", "✓", ""]
        assert "3 reviewed" in text_of(screen, "#review-title")
        await burst(pilot, "B", "y", "U", "U")
        screen = await settle(pilot)
        assert [screen.marks(id_) for id_ in ("a1", "b2", "c3", "d4")] == ["✎", "", "", ""]
        assert not any(label.agrees or label.flagged for label in labels(run).values())
        assert screen.check_action("undo", ()) is True, "the note"


async def test_the_drawn_answers_are_reviewed_in_their_order(run: Run) -> None:
    draw(run, ("c3", 1), ("d4", 0), ("b2", 1))
    async with Host(run).run_test(size=(120, 40)) as pilot:
        screen = await settle(pilot)
        assert "4 prompts · 0 reviewed · 0 of 3 drawn" in text_of(screen, "#review-title")
        await press(pilot, "o", "down", "enter")
        assert listed(screen) == ["c3", "d4", "b2"]
        assert shown(screen) == (1, "c3", 1)
        await press(pilot, "b", "y", "down", "down", "y")
        assert shown(screen) == (1, "b2", 1)
        assert "3 drawn, 2 reviewed, 1 skipped; 1 more until scores" in text_of(screen, "#review-title")
        await press(pilot, "u")
        assert shown(screen) == (1, "d4", 0)
        await press(pilot, "b", "home", "u")
        assert shown(screen) == (1, "d4", 0)
        await press(pilot, "y")
        assert "3 drawn, all reviewed: the report gives their mean" in text_of(screen, "#review-title")


async def test_the_drawn_sample_of_the_prompt_that_is_shown_takes_its_place(run: Run) -> None:
    draw(run, ("c3", 0), ("a1", 1))
    commands.send(run.commands_file, Label(round=1, responses=[("c3", 0)], agrees=True))
    async with Host(run).run_test(size=(120, 40)) as pilot:
        assert shown(await press(pilot, "down", "up")) == (1, "a1", 0)
        assert shown(await press(pilot, "o", "down", "enter")) == (1, "a1", 1)


async def test_a_round_without_drawn_answers_says_when_there_are_some(run: Run) -> None:
    async with Host(run).run_test(size=(120, 40)) as pilot:
        screen = await press(pilot, "o", "down", "enter")
        assert listed(screen) == []
        assert "No answers are drawn for this round" in text_of(screen, "#review-empty")


async def test_nobody_agrees_with_a_judge_that_said_nothing(make_run: Callable[..., Run]) -> None:
    run = make_run()
    write(run.round(0), [response("a")], verdicts("a", 0, None))
    async with Host(run).run_test(size=(120, 40)) as pilot:
        screen = await settle(pilot)
        assert screen.check_action("agree", ()) is False
        assert screen.check_action("disagree", ()) is True


async def test_a_label_that_cannot_be_written_is_taken_back(run: Run) -> None:
    async with Host(run).run_test() as pilot:
        await settle(pilot)
        run.commands_file.mkdir()
        await pilot.press("y")
        screen = await settle(pilot)
        assert screen.marks("a1") == ""


async def test_what_others_say_later_counts(run: Run) -> None:
    async with Host(run).run_test() as pilot:
        await settle(pilot)
        screen = await press(pilot, "y")
        later = Label(
            round=1, responses=[("a1", 0)], agrees=False, time=screen.annotations.labels[1, "a1", 0].time - 60
        )
        commands.send(run.commands_file, later)
        screen.action_reload()
        screen = await settle(pilot)
        assert screen.marks("a1") == "✗"
