"""The cards that ask: on the run and in its review, answered once whoever presses, never by accident."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import frozen
import pytest
import review_run
import story
from frozen import app, make, until
from msgspec.structs import replace
from textual.pilot import Pilot
from textual.widgets import Button, Input, Log

from engine.protocol import commands, jsonl
from engine.protocol.decision import Drift, Interval, Teacher
from engine.protocol.events import BudgetChanged, QuestionAsked, RoundScored, to_row
from engine.protocol.questions import APPROVE, REJECT, Answer, Question
from engine.protocol.run_dir import Run
from engine.settings.load import settings_of
from engine.settings.schema import Target
from llamaduo_tui import paths
from llamaduo_tui.app import LlamaDuoApp
from llamaduo_tui.screens.question import QuestionScreen
from llamaduo_tui.screens.review import ReviewScreen
from llamaduo_tui.views.run_view import RunView, reduce
from llamaduo_tui.widgets.cards.batch_card import BatchCard
from llamaduo_tui.widgets.cards.budget_card import BudgetCard
from llamaduo_tui.widgets.cards.card import Card
from llamaduo_tui.widgets.cards.round_card import RoundCard, brief, facts, further
from llamaduo_tui.widgets.charts import Charts
from llamaduo_tui.widgets.facts import Facts
from llamaduo_tui.widgets.key_bar import KeyBar
from llamaduo_tui.widgets.prompt_list import PromptList

REASON = "the next call could pass budget_usd 2.00: 1.98 are spent"
USED_UP = replace(story.used_up(least=2.03, reason=REASON), round=1, stage="judge")
SHORT_OF_MONEY = [*frozen.WAITING[:-2], USED_UP]
Snap = Callable[..., bool]


@pytest.fixture(autouse=True)
def still(still_machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def screen(shown: LlamaDuoApp) -> QuestionScreen:
    found = shown.screen
    assert isinstance(found, QuestionScreen)
    return found


def asks(shown: LlamaDuoApp) -> bool:
    return isinstance(shown.screen, QuestionScreen) and shown.screen.asking is not None


def waiting(root: Path) -> Run:
    return review_run.rounds(make(root, "tickets", "waiting", frozen.WAITING))


def said(shown: LlamaDuoApp) -> str:
    return str(screen(shown).query_one("RoundCard Facts", Facts).content)


async def test_the_card_leads_with_three_facts_and_a_key_shows_all_that_the_decision_has(root: Path) -> None:
    shown = app(root, waiting(root))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "advice" in said(shown))
        assert said(shown).split("\n") == [
            "scores     precision 64.3 ✗ 20.7 short · similarity 51.2 ✗ 23.8 short · ▲ 14 better ▼ 2 worse (l)",
            "next round 120 new pairs, about $0.42, about 3 min 10 s",
            "advice     a, another round: The last round gained 52 points, and another costs $0.42.",
        ]
        card = screen(shown).query_one(RoundCard)
        assert str(card.border_subtitle) == "E precision, similarity, changes, weakest, kinds, result"
        await pilot.press("E")
        for wanted in (
            "64.3 (59–69)  target 85 ✗ short",
            "rounds 0–1: 12 → 64",
            "billing 44/41 (9 prompts)",
            "precision since round 0: ▲ billing +52 · ▲ outage +52",
        ):
            assert wanted in said(shown)
        await pilot.press("E")
        assert "billing" not in said(shown)


@pytest.mark.parametrize(
    ("mean", "low", "says"), [(80.0, 70.0, "✗ 5.0 short"), (90.0, 83.5, "✗ low end 1.5 short"), (99.0, 95.0, "✓")]
)
def test_the_lead_says_by_how_much_a_score_is_short(mean: float, low: float, says: str) -> None:
    decision = replace(story.decision(1, 82, 80), precision=Interval(mean=mean, low=low, high=99.5))
    view = reduce(RunView(), RoundScored(round=1, stage="decide", decision=decision))
    lead = facts(story.another_round().question, view, Target(), key=lambda _: "")[0]
    assert f"precision {mean:.1f} {says} ·" in lead.said.plain


def test_after_an_attempt_without_a_usable_pair_the_lead_advises_no_other_one() -> None:
    view = reduce(RunView(), RoundScored(round=1, stage="decide", decision=story.decision(1, 82, 80)))
    question = story.another_round().question
    first, second = (
        {fact.name: fact.said.plain for fact in facts(one, view, Target(), key=lambda _: "a")}
        for one in (question, replace(question, name="2"))
    )
    assert "advice" in first and "last time" not in first
    assert "advice" not in second and second["last time"].startswith("no usable pair came of it. Finish")


def test_a_target_relative_to_the_service_is_told_as_that() -> None:
    teacher = Teacher(
        precision=story.interval(83),
        similarity=story.interval(82),
        gap_precision=Interval(mean=-1, low=-2, high=0),
        gap_similarity=Interval(mean=-2, low=-5, high=1),
        prompts=24,
    )
    decision = replace(story.decision(1, 82, 80), teacher=teacher)
    view = reduce(RunView(), RoundScored(round=1, stage="decide", decision=decision))
    question = story.another_round("Not yet.", pairs=9, cost_usd=None).question
    target = Target(relative_to_teacher=3)
    every = [*facts(question, view, target, str), *further(question, view, target)]
    told = {fact.name: fact.said.plain for fact in every}

    assert "target" not in told["scores"] + told["precision"] + told["similarity"] + brief(question, view, target).plain
    gaps = "precision -1.0 (-2 to 0) ✓ passed, similarity -2.0 (-5 to 1) ✗ bound short"
    assert told["service"] == f"{gaps} against its own responses, target -3"


def drift(mean: float, shifted: bool, judge: str = "gpt-4o", missing: int = 0) -> Drift:
    both = Interval(mean=mean, low=mean - 1, high=mean + 1)
    return Drift(judge=judge, answers=20, missing=missing, precision=both, similarity=both, shifted=shifted)


def drift_facts(*drifts: Drift) -> tuple[list[tuple[str, str]], str]:
    """The facts of a round in which the judges were found to have drifted like that, and the brief line."""
    decision = replace(story.decision(1, 64, 51), drift=drifts)
    view = reduce(RunView(), RoundScored(round=1, stage="decide", decision=decision))
    question = story.another_round().question
    every = (*facts(question, view, None, str), *further(question, view, None))
    told = [(fact.name, fact.said.plain) for fact in every]
    return told, brief(question, view, None).plain


def test_a_judge_that_stays_the_same_is_one_of_the_findings() -> None:
    told, short = drift_facts(drift(0.3, False, missing=1))

    said_ = "20 answers of round 0 judged again: no shift beyond noise (precision +0.3 ± 1.0, similarity +0.3 ± 1.0)"
    assert ("judge", f"{said_}, 1 verdict missing") in told and "shifted" not in dict(told)["scores"]
    assert "judge" not in short and "judge" not in dict(drift_facts()[0])


def test_a_judge_that_shifted_is_told_with_the_scores_and_explained_first() -> None:
    told, short = drift_facts(drift(-3, True, "gpt-[b]4o\x1b[2J"), drift(0, False, "gemini"))

    names = [name for name, _ in told]
    assert names[:4] == ["scores", "next round", "advice", "judge"] and names.count("judge") == 2
    assert "! the judge shifted" in told[0][1]
    assert "[b]4o" in told[3][1] and "\x1b" not in told[3][1]
    assert told[3][1].endswith(
        ": 20 answers of round 0 judged again: a shift (precision -3.0 ± 1.0, similarity -3.0 ± 1.0)"
    )
    assert "judge shifted" in short


async def test_an_old_decision_has_a_card_too(root: Path) -> None:
    old = [*frozen.WAITING]
    scored = old[-2]
    assert isinstance(scored, RoundScored)
    old[-2] = replace(scored, decision=replace(scored.decision, changes=None, advice=None, groups=()))
    shown = app(root, make(root, "old", "waiting", old))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: "next round" in said(shown))
        await pilot.press("E")
        assert "result" in said(shown)
        assert "advice" not in said(shown)
        assert screen(shown).check_action("regressed", ()) is False


async def test_the_question_is_answered_in_the_review(root: Path) -> None:
    run = waiting(root)
    shown = app(root, run)
    async with shown.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: asks(shown))
        await pilot.press("v")
        await until(pilot, lambda: isinstance(shown.screen, ReviewScreen) and asks(shown))
        assert isinstance(shown.focused, PromptList)
        await pilot.press("enter", "space")
        assert asks(shown)
        await pilot.press("f", "f", "a")
        await until(pilot, lambda: bool(commands.read(run.commands_file)))
        await until(pilot, lambda: not any(w.group == "actions" and w.is_running for w in shown.workers))
        assert [c.choice for c in commands.read(run.commands_file)] == ["reject"]


async def test_the_review_learns_that_another_answered(root: Path) -> None:
    run = waiting(root)
    shown = app(root, run)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: asks(shown))
        await pilot.press("v")
        await until(pilot, lambda: isinstance(shown.screen, ReviewScreen) and asks(shown))
        jsonl.append(run.events_file, [{**to_row(story.to_end()[0]), "seq": 999, "time": frozen.NOW}])
        await until(pilot, lambda: not screen(shown).query_one(RoundCard).display)


async def test_two_apps_press_at_once_and_one_answer_counts(root: Path) -> None:
    run, both = waiting(root), asyncio.Barrier(2)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(16))  # on two cores one app's readers fill half

    async def press(*keys: str) -> list[str]:
        shown = app(root, run)
        async with shown.run_test() as pilot:
            await until(pilot, lambda: asks(shown))
            await both.wait()
            await pilot.press(*keys)
            await until(pilot, lambda: any("round 1" in note.message for note in shown._notifications))
            await both.wait()
            return [note.message for note in shown._notifications]

    paid, finished = await asyncio.gather(press("a", "a"), press("f", "f"))
    answer = commands.answer(run.commands_file, story.another_round().question)
    assert answer is not None
    won, lost = (paid, finished) if answer.choice == APPROVE else (finished, paid)
    assert len(won) == 1
    assert any("already" in message or "round 1: " in message for message in lost)


async def test_a_key_leads_to_what_got_worse(root: Path) -> None:
    shown = app(root, waiting(root))
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: asks(shown))
        await pilot.press("l")
        await until(pilot, lambda: isinstance(shown.screen, ReviewScreen) and bool(shown.screen.query(PromptList)))
        await until(pilot, lambda: [item.id for item in shown.screen.query_one(PromptList).items] == ["a1"])


async def test_a_higher_cap_is_written_and_the_card_goes(root: Path) -> None:
    run = make(root, "poor", "waiting", SHORT_OF_MONEY)
    shown = app(root, run)
    async with shown.run_test() as pilot:
        await until(pilot, lambda: asks(shown))
        card = screen(shown).query_one(BudgetCard)
        assert card.open
        assert isinstance(shown.focused, Log)
        cap = card.query_one("#cap", Input)
        assert cap.value == "2.97"
        cap.value = "many"
        await pilot.press("a")
        assert card.open
        cap.value = "1.00"
        screen(shown).query_one(Log).focus()
        await pilot.press("a", "a")
        await until(pilot, lambda: any("too little" in n.message for n in shown._notifications))
        await until(pilot, lambda: card.open)
        cap.value = "$5"
        await pilot.press("a", "a", "f")
        await until(pilot, lambda: settings_of(run).service.budget_usd == 5)
        await until(pilot, lambda: bool(commands.read(run.commands_file)))
        (raised,) = commands.read(run.commands_file)
        assert isinstance(raised, Answer) and (raised.question, raised.usd) == (USED_UP.question.key, 5)
        jsonl.append(run.events_file, [to_row(BudgetChanged(usd=5.0, calls=None, seq=999, time=frozen.NOW))])
        await until(pilot, lambda: not card.display)
        assert screen(shown).budget == 5


def another_kind(root: Path, *choices: str) -> Run:
    """A run that waits for the answer to a question of a kind without a card."""
    question = Question(kind="release", round=1, reason="Publish the [bold]adapter[/x]?", choices=choices)
    asked = QuestionAsked(round=1, question=question)
    return review_run.rounds(make(root, "new", "waiting", [*frozen.WAITING[:-1], asked]))


def answers(run: Run) -> list[tuple[str, str]]:
    sent = commands.read(run.commands_file)
    return [(one.question, one.choice) for one in sent if isinstance(one, Answer)]


def labels(shown: LlamaDuoApp) -> list[str]:
    """The buttons of the card that asks."""
    card = screen(shown).asking
    assert card is not None
    return [str(button.label) for button in card.query(Button) if button.display]


@pytest.mark.parametrize(("key", "choice"), [("a", APPROVE), ("f", REJECT)])
async def test_a_question_without_a_card_is_asked_and_answered(key: str, choice: str, root: Path) -> None:
    run = another_kind(root, APPROVE, REJECT)
    shown = app(root, run)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: asks(shown))
        card = screen(shown).asking
        assert type(card) is Card
        assert card.border_title == "the run waits for an answer"
        await until(pilot, lambda: "Publish the [bold]adapter[/x]?" in str(card.query_one(Facts).content))
        assert labels(shown) == ["a Approve", "f Reject", "x Stop"]
        assert isinstance(shown.focused, Log)
        offered = {active.binding.id for active in shown.screen.active_bindings.values() if active.enabled}
        assert {"run.approve", "run.reject"} <= offered and not {"run.finish", "run.lost"} & offered
        await pilot.press(key, key)
        await until(pilot, lambda: bool(commands.read(run.commands_file)))
        assert not card.open
        await until(pilot, lambda: bool(shown._notifications))
        assert answers(run) == [("release/1", choice)]


@pytest.mark.parametrize(("button", "choice"), [("#approve", APPROVE), ("#reject", REJECT)])
async def test_a_question_without_a_card_can_be_clicked(button: str, choice: str, root: Path) -> None:
    run = another_kind(root, APPROVE, REJECT)
    shown = app(root, run)
    async with shown.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: asks(shown))
        await pilot.pause()
        card = screen(shown).asking
        assert card is not None
        await pilot.click(card.query_one(button, Button))
        await until(pilot, lambda: answers(run) == [("release/1", choice)])


@pytest.mark.parametrize(
    ("choices", "buttons"), [([APPROVE], ["a Approve", "x Stop"]), ([REJECT, "hub"], ["f Reject", "x Stop"])]
)
async def test_a_question_offers_the_answers_that_it_takes(choices: list[str], buttons: list[str], root: Path) -> None:
    run = another_kind(root, *choices)
    shown = app(root, run)
    async with shown.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: asks(shown))
        assert labels(shown) == buttons
        await pilot.press("f" if APPROVE in choices else "a")
        assert asks(shown)
        assert not commands.read(run.commands_file)


async def test_the_review_asks_questions_without_a_card_too(root: Path) -> None:
    run = another_kind(root, APPROVE, REJECT)
    shown = app(root, run)
    async with shown.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: asks(shown))
        await pilot.press("v")
        await until(pilot, lambda: isinstance(shown.screen, ReviewScreen) and asks(shown))
        assert type(screen(shown).asking) is Card
        await pilot.press("f")
        await until(pilot, lambda: answers(run) == [("release/1", REJECT)])


@pytest.mark.parametrize(("key", "choice"), [("a", APPROVE), ("f", REJECT)])
async def test_the_full_price_of_a_batch_job_has_a_card(key: str, choice: str, root: Path) -> None:
    asked = story.full_price()
    run = review_run.rounds(make(root, "new", "waiting", [*frozen.WAITING[:-1], asked]))
    shown = app(root, run)
    async with shown.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: asks(shown))
        card = screen(shown).asking
        assert type(card) is BatchCard and card.border_title == "send calls at the full price?"
        assert labels(shown) == ["a Full price", "f New job", "x Stop"] and isinstance(shown.focused, Log)
        await until(pilot, lambda: "$0.34 directly, about half" in str(card.query_one(Facts).content))
        assert "Send 40 calls directly" in str(card.query_one(Facts).content)
        await pilot.press(key, key)
        await until(pilot, lambda: answers(run) == [("batch/1/6f1e2d3c4b5a", choice)])
        assert not card.open


async def test_the_footer_keeps_what_fits_and_the_help(root: Path) -> None:
    shown = app(root, waiting(root))
    async with shown.run_test(size=(60, 24)) as pilot:
        await until(pilot, lambda: asks(shown))
        bar = screen(shown).query_one(KeyBar)

        await until(pilot, lambda: bar.render().plain.startswith("a Approve "))
        narrow = bar.render().plain
        assert narrow.endswith(" ? Help")
        assert len(narrow) <= 60
        await pilot.resize_terminal(120, 24)
        await until(pilot, lambda: len(bar.render()) > len(narrow))


async def drawn(pilot: Pilot[None]) -> None:
    await until(pilot, lambda: asks(pilot.app))
    charts = [chart for chart in pilot.app.screen.query(Charts) if chart.display]  # drawn at their own pace
    await until(pilot, lambda: all(chart.has_class("-drawn") for chart in charts))
    await until(pilot, lambda: not any(w.is_running and w.group == "default" for w in pilot.app.workers))
    await pilot.pause()


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_a_used_up_budget(size: tuple[int, int], root: Path, snap_compare: Snap) -> None:
    run = make(root, "poor", "waiting", SHORT_OF_MONEY)
    assert snap_compare(app(root, run), terminal_size=size, run_before=drawn)


async def reviewed(pilot: Pilot[None]) -> None:
    await drawn(pilot)
    await pilot.press("v")
    shown = pilot.app
    await until(pilot, lambda: isinstance(shown.screen, ReviewScreen) and shown.screen.page_view.page is not None)
    await drawn(pilot)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_the_card_in_the_review(size: tuple[int, int], root: Path, snap_compare: Snap) -> None:
    assert snap_compare(app(root, waiting(root)), terminal_size=size, run_before=reviewed)


def test_the_card_in_the_review_without_colour(root: Path, snap_compare: Snap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert snap_compare(app(root, waiting(root)), terminal_size=(80, 24), run_before=reviewed)


async def test_buttons_and_facts_name_the_users_own_keys(root: Path) -> None:
    paths.config_dir().mkdir(parents=True)
    (paths.config_dir() / "keys.toml").write_text('"run.approve" = "f9"\n"run.lost" = "f12"\n')
    shown = app(root, waiting(root))
    async with shown.run_test() as pilot:
        await until(pilot, lambda: asks(shown))
        assert str(screen(shown).query_one("RoundCard #approve", Button).label) == "f9 Approve"
        assert "advice f9, another round: " in " ".join(said(shown).split()) and "▼ 2 worse (f12)" in said(shown)
        assert str(screen(shown).query_one("RoundCard #reject", Button).label) == "f Finish with round 1"
