"""The review on real run files: its list, its responses, its search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from frozen import text_of, until
from review_host import Host, drawn, labels, listed, press, settle, shown
from review_run import response, verdicts, write
from textual.pilot import Pilot
from textual.widgets import Input, Markdown, Select
from typing_fast import burst

from engine.protocol import jsonl
from engine.protocol.run_dir import Run
from llamaduo_tui.screens.narrow import NarrowScreen
from llamaduo_tui.views import kinds
from llamaduo_tui.widgets.comparison import Comparison, Side
from llamaduo_tui.widgets.prompt_list import PromptList
from llamaduo_tui.widgets.response_view import ResponseView
from llamaduo_tui.widgets.verdicts import Verdicts

SIZES = [(80, 24), (120, 40)]


async def test_opens_at_the_worst_of_the_newest_round(run: Run) -> None:
    async with Host(run).run_test(size=(120, 40)) as pilot:
        screen = await settle(pilot)
        assert listed(screen) == ["a1", "c3", "d4", "b2"]
        assert shown(screen) == (1, "a1", 0)
        assert '≠ product   "DeskPilot"' in text_of(screen, "#reference")
        assert '≠ product   "TimeForge"' in text_of(screen, "#response")
        assert "Wrong product." in text_of(screen, "#verdicts")
        assert text_of(screen, "#history") == "round 0: 85 → [round 1: 45]"


async def test_keys_wait_for_the_page_that_they_are_about(run: Run) -> None:
    """A label typed at once after a move is for the prompt moved to, and what follows a form goes to the list."""
    async with Host(run).run_test(size=(120, 40)) as pilot:
        await drawn(pilot)
        await burst(pilot, "down", "y", "u", "n", *["backspace"] * 3, "7", "enter", "enter", *"by", "enter")
        await burst(pilot, "u", "b", "y")
        screen = await settle(pilot)
        said = labels(run)
        assert said[1, "c3", 0].agrees is True
        own = said[1, "d4", 0]
        assert (own.agrees, own.precision, own.similarity, own.note) == (False, 7, 70, "by")
        assert (said[1, "b2", 0].flagged, said[1, "b2", 0].agrees) == (True, True)
        assert set(said) == {(1, "c3", 0), (1, "d4", 0), (1, "b2", 0)}
        assert screen.query_one(PromptList).has_focus


async def test_the_verdict_stays_in_sight_of_a_long_response(make_run: Callable[..., Run]) -> None:
    run = make_run()
    write(run.round(0), [response("m", answer="word " * 4_000)], verdicts("m", 0, (12, 34)))
    async with Host(run).run_test(size=(60, 20)) as pilot:
        await drawn(pilot)
        screen = await press(pilot, "enter", "pagedown", "pagedown")
        judge = screen.query_one(Verdicts)
        assert screen.query_one(ResponseView).scroll_offset.y > 0
        assert judge.region.height >= 3 and judge.region.bottom <= 19
        assert "Judge · precision 12, similarity 34" in str(judge.border_title)
        assert not screen.query_one(PromptList).region
        screen = await press(pilot, "escape")
        assert screen.query_one(PromptList).has_focus


async def test_both_responses_in_one_column(run: Run) -> None:
    async with Host(run).run_test(size=(120, 40)) as pilot:
        await drawn(pilot)
        screen = await press(pilot, "D")
        shown = text_of(screen, "#response").splitlines()
        assert [line[:9] for line in shown[:2]] == ["− product", "+ product"]
        assert not screen.query_one("#reference").display
        screen = await press(pilot, "v", "v", "D")
        assert screen.query_one("#reference").display


async def test_in_a_small_terminal_both_responses_are_in_sight_also_while_own_scores_are_typed(run: Run) -> None:
    async with Host(run).run_test(size=(80, 24)) as pilot:
        await drawn(pilot)
        screen = await press(pilot, "n")
        side, room = screen.query_one("#response"), screen.query_one(ResponseView)
        assert text_of(screen, "#response").splitlines()[:3] == [
            '− product   "DeskPilot"', '+ product   "TimeForge"', '  kind      "bug"'
        ]  # fmt: skip
        assert room.region.contains_region(side.region) and room.max_scroll_y == 0
        screen = await press(pilot, "escape")
        assert screen.query_one(PromptList).has_focus and screen.query_one(PromptList).region.height >= 4
        await press(pilot, "D")
        assert screen.query_one("#reference").display
        await pilot.resize_terminal(120, 40)
        await press(pilot, "D", "D")
        assert screen.query_one("#reference").region.bottom == room.region.bottom, "the sides fill the room"


async def test_the_list_is_narrowed_by_a_dialog(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "command", lambda _: ["printf", '{"a1":"bug","c3":"bug","b2":"how-to"}'])
    async with Host(run).run_test(size=(120, 40)) as pilot:
        await drawn(pilot)
        await pilot.press("i")
        dialog = pilot.app.screen
        assert isinstance(dialog, NarrowScreen)
        await until(pilot, lambda: len(dialog.query_one("#kind", Select)._options) == 3)
        dialog.query_one("#kind", Select).value = ":bug"
        await burst(pilot, *"80", "tab", *"60", "enter")
        assert "smaller" in text_of(dialog, "#narrow-problem")
        await burst(pilot, *["backspace"] * 2, *"50", "enter")
        screen = await settle(pilot)
        assert listed(screen) == ["c3"]
        assert "round 1 · score 50–60 · kind bug · 1 of 4 prompts" in text_of(screen, "#review-title")
        await burst(pilot, "i", "ctrl+r")
        assert listed(await settle(pilot)) == ["a1", "c3", "d4", "b2"]


async def test_samples_and_rounds_of_one_prompt(run: Run) -> None:
    async with Host(run).run_test() as pilot:
        await settle(pilot)
        assert shown(await press(pilot, "full_stop")) == (1, "a1", 1)
        assert shown(await press(pilot, "left_square_bracket")) == (0, "a1", 1)
        screen = await press(pilot, "y")
        assert labels(run)[0, "a1", 1].agrees is True
        assert screen.marks("a1") == ""
        assert shown(await press(pilot, "right_square_bracket", "comma")) == (1, "a1", 0)
        assert screen.check_action("peek", (1,)) is False


async def test_views(run: Run) -> None:
    async with Host(run).run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        screen = await press(pilot, "v")
        assert '{"product": "TimeForge"' in text_of(screen, "#response")
        screen = await press(pilot, "v")
        assert len(screen.query_one(Comparison).query(Markdown)) == 2
        screen = await press(pilot, "v")
        assert not screen.query_one(Comparison).query(Markdown)


async def test_markdown_decodes_nothing_dangerous(run: Run) -> None:
    write(run.round(2), [response("x", answer="a &#x202e;b &amp; &#27;c [l](http://x)")], [])
    async with Host(run).run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        screen = await press(pilot, "v")
        drawn = "\n".join("".join(s.text for s in strip) for strip in screen._compositor.render_strips())
        assert "a <U+202E>b & �c l" in drawn


async def test_sides_stay_level_and_stack_when_narrow(run: Run) -> None:
    async with Host(run).run_test(size=(120, 40)) as pilot:
        screen = await press(pilot, "down")
        reference, answer = screen.query_one("#reference", Side), screen.query_one("#response", Side)
        assert reference.region.y == answer.region.y
        assert text_of(screen, "#reference").count("\n") == text_of(screen, "#response").count("\n")
        await pilot.resize_terminal(80, 24)
        await settle(pilot)
        assert reference.region.bottom <= answer.region.y


async def test_escape_ends_the_search_and_enter_keeps_what_it_found(run: Run) -> None:
    async with Host(run).run_test(size=(120, 40)) as pilot:
        screen = await press(pilot, "slash", *"kofi", "enter")
        assert len(screen.query_one(PromptList).items) == 1
        screen = await press(pilot, "slash", "escape")
        assert len(screen.query_one(PromptList).items) == 4
        assert screen.query_one(PromptList).has_focus


async def test_space_reads_down_the_answer_and_then_goes_to_the_next(run: Run) -> None:
    async with Host(run).run_test(size=(80, 18)) as pilot:
        screen = await press(pilot, "space")
        assert screen.query_one(PromptList).highlighted == 0
        assert screen.query_one(ResponseView).scroll_offset.y > 0
        while screen.query_one(ResponseView).scroll_offset.y < screen.query_one(ResponseView).max_scroll_y:
            screen = await press(pilot, "space")
        screen = await press(pilot, "space")
        assert screen.query_one(PromptList).highlighted == 1


async def test_order_filter_and_search(run: Run) -> None:
    async with Host(run).run_test(size=(120, 40)) as pilot:
        screen = await settle(pilot)
        screen.query_one("#sort", Select).value = "best"
        await settle(pilot)
        assert listed(screen) == ["b2", "d4", "c3", "a1"]
        assert shown(screen)[1] == "a1"
        await press(pilot, "g", "down", "down", "enter")
        assert listed(screen) == ["a1"]
        await press(pilot, "slash", "k", "o", "f", "i")
        assert listed(screen) == ["a1"]
        await press(pilot, "x")
        assert listed(screen) == []
        assert screen.query_one(ResponseView).page is None
        assert screen.check_action("agree", ()) is False


async def test_the_mouse_chooses_a_prompt(run: Run) -> None:
    async with Host(run).run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        await pilot.click(PromptList, offset=(8, 2))
        assert shown(await settle(pilot))[1] == "d4"


async def test_hostile_text_is_shown_not_obeyed(run: Run) -> None:
    async with Host(run).run_test(size=(120, 40)) as pilot:
        screen = await press(pilot, "down", "down")
        assert "␛]52;c;aGk=␇[/x] <U+202E>evil" in text_of(screen, "#response")
        assert "Nothing works ␛[31mtoday" in text_of(screen, "#prompt")
        drawn = "".join(s.text for strip in screen._compositor.render_strips() for s in strip)
        assert not set(drawn) & set("\x1b\x07\u202e")


async def test_a_megabyte_is_cut_until_asked_for(make_run: Callable[..., Run]) -> None:
    run = make_run()
    write(run.round(0), [response("m", answer="x" * 1_000_000)], verdicts("m", 0, (1, 1)))
    async with Host(run).run_test(size=(120, 40)) as pilot:
        screen = await settle(pilot)
        assert "1,000,000 characters" in text_of(screen, "#history")
        assert text_of(screen, "#response").count("x") == 20_000
        screen = await press(pilot, "m")
        assert text_of(screen, "#response").count("x") == 1_000_000


async def test_saves_a_file_of_the_answer_as_it_came(run: Run) -> None:
    async with Host(run).run_test() as pilot:
        await press(pilot, "down", "down", "w", "c")
        [saved] = (run.folder / "review").iterdir()
        assert saved.read_text().endswith("# Response\n\n\x1b]52;c;aGk=\x07[/x] \u202eevil\n")
        assert pilot.app.clipboard == "␛]52;c;aGk=␇[/x] <U+202E>evil"


async def test_a_file_name_stays_in_its_folder(make_run: Callable[..., Run]) -> None:
    run = make_run()
    write(run.round(0), [response("../../x")])
    async with Host(run).run_test() as pilot:
        await settle(pilot)
        await press(pilot, "w")
        assert [path.name for path in (run.folder / "review").iterdir()] == ["round-0-x-0.md"]


async def test_an_empty_run_fills_up(make_run: Callable[..., Run]) -> None:
    run = make_run()
    async with Host(run).run_test(size=(120, 40)) as pilot:
        screen = await settle(pilot)
        assert "No responses yet" in text_of(screen, "#review-empty")
        write(run.round(0), [response("a")])
        screen.poll()
        await settle(pilot)
        assert listed(screen) == ["a"]
        assert screen.check_action("agree", ()) is False
        write(run.round(0), [response("b")], verdicts("a", 0, (5, 5)))
        screen.poll()
        await settle(pilot)
        assert screen.check_action("reload", ()) is True
        await press(pilot, "r")
        assert listed(screen) == ["a", "b"]
        assert screen.check_action("agree", ()) is True


async def test_the_sealed_test_is_one_of_the_rounds(run: Run) -> None:
    write(run.final, [response("z9")], verdicts("z9", 0, (80, 90)))
    async with Host(run).run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        screen = await press(pilot, "t", "end", "enter")
        assert shown(screen) == (None, "z9", 0)
        await press(pilot, "y")
        assert labels(run)[None, "z9", 0].agrees is True


async def test_a_rewritten_file_says_so(run: Run) -> None:
    async with Host(run).run_test() as pilot:
        await settle(pilot)
        file = run.round(1) / "infer" / "responses.jsonl"
        jsonl.write(file, reversed(list(jsonl.read(file))))
        await press(pilot, "down")
        assert any("rewritten" in str(note.title) for note in pilot.app._notifications)


@pytest.mark.parametrize("size", SIZES)
class TestLooks:
    """Snapshots of the screen."""

    def test_fields(self, run: Run, size: tuple[int, int], snap_compare: Callable[..., bool]) -> None:
        assert snap_compare(Host(run), terminal_size=size, run_before=drawn)

    def test_text_without_colour(
        self, run: Run, size: tuple[int, int], snap_compare: Callable[..., bool], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("NO_COLOR", "1")

        async def second(pilot: Pilot[Any]) -> None:
            await drawn(pilot)
            await press(pilot, "y", "down", "b")

        assert snap_compare(Host(run), terminal_size=size, run_before=second)

    def test_form(self, run: Run, size: tuple[int, int], snap_compare: Callable[..., bool]) -> None:
        async def disagree(pilot: Pilot[Any]) -> None:
            await drawn(pilot)
            await press(pilot, "n")
            screen = pilot.app.screen
            for field in screen.query(Input):
                field.cursor_blink = False
            await settle(pilot)

        assert snap_compare(Host(run), terminal_size=size, run_before=disagree)


def test_the_style_sheet_lies_beside_the_screen() -> None:
    from llamaduo_tui.screens import review

    assert Path(review.__file__).with_suffix(".tcss").exists()
