"""The words for questions: every kind has them, and so has a kind that nobody has written words for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import story
from msgspec.structs import replace

from engine.protocol.events import QuestionAnswered, QuestionAsked
from engine.protocol.questions import APPROVE, REJECT, WITHDRAWN, Question
from engine.protocol.run_dir import Run
from engine.protocol.status import State
from llamaduo_tui.views import guide, log_lines, questions
from llamaduo_tui.views.questions import wording
from llamaduo_tui.views.run_view import RunView, reduce

EVIL = "\x1b]52;c;aGk=\x07[bold red]Publish[/nope] it\u202e?\n\n"
OTHER = Question(kind="release", round=2, reason="Publish the adapter?", choices=(APPROVE, REJECT))
EVERY = [
    story.another_round().question,
    story.review_pairs().question,
    story.used_up().question,
    story.full_price().question,
    story.done_again().question,
    story.lost_ledger().question,
    OTHER,
]


def lines(event: QuestionAsked | QuestionAnswered) -> list[str]:
    """The log lines of an event, without their time."""
    return [line.partition("  ")[2] for line in log_lines.Lines().of(event)]


@pytest.mark.parametrize("question", EVERY, ids=lambda question: question.kind)
def test_every_question_has_its_words(question: Question, make_run: Callable[..., Run]) -> None:
    words = wording(question.kind)
    asked = QuestionAsked(round=question.round, question=question)
    assert lines(asked) == [words.asked(question)]
    assert words.asked(question).startswith("waits for ")
    assert lines(story.answered(asked)) == [words.answered(story.answered(asked))]
    assert "llamaduo-tui approve demo" in words.command(make_run(), question)
    step = guide.step(reduce(RunView(), asked), State.WAITING)
    assert (step.said, step.press) == words.guide(question)
    assert words.explain.endswith(".")


def test_a_question_of_another_kind_is_told_by_its_reason(make_run: Callable[..., Run]) -> None:
    asked = QuestionAsked(round=2, question=OTHER)
    assert lines(asked) == ["waits for an answer: Publish the adapter?"]
    assert lines(story.answered(asked)) == ["answered: approve"]
    assert lines(story.answered(asked, "hub")) == ["answered: hub"]
    run = make_run()
    assert wording("release").command(run, OTHER) == "llamaduo-tui approve demo   (or: reject, stop)"
    once = replace(OTHER, choices=(APPROVE,))
    assert wording("release").command(run, once) == "llamaduo-tui approve demo   (or: stop)"


def test_the_full_price_of_a_batch_job_is_told_with_its_figures(make_run: Callable[..., Run]) -> None:
    asked = story.full_price()
    (line,) = lines(asked)
    assert line.startswith("waits for approval of the full price: Send 40 calls directly (about $0.34)?")
    told = [lines(story.answered(asked, choice)) for choice in (APPROVE, REJECT, WITHDRAWN, "?")]
    assert told == [
        ["approved: sent directly, at the full price"],
        ["rejected: stays in batch jobs"],
        ["no longer asked: a batch job has these calls"],
        ["answered: ?"],
    ]
    assert "reject for another batch job" in wording("batch").command(make_run(), asked.question)
    view = reduce(reduce(RunView(), asked), story.answered(asked, WITHDRAWN))
    assert view.question is None


@pytest.mark.parametrize("question", EVERY, ids=lambda question: question.kind)
def test_hostile_reasons_are_nothing_but_text(question: Question) -> None:
    asked = QuestionAsked(question=replace(question, reason=EVIL))
    answered = QuestionAnswered(question=asked.question, choice=EVIL, answer="c1")
    told = [*lines(asked), *lines(answered), *wording(question.kind).guide(asked.question)]
    assert not any(code in line for line in told for code in "\x1b\x07\u202e\n")


def test_commands_call_a_run_elsewhere_by_its_folder(tmp_path: Path) -> None:
    run = Run(tmp_path / "else where" / "demo")
    assert wording("round").command(run, EVERY[0]).startswith(f"llamaduo-tui approve '{run.folder}'")


def test_the_budget_is_raised_by_the_cap_that_is_short(make_run: Callable[..., Run]) -> None:
    run = make_run()
    money, calls = story.used_up(least=2.001).question, story.used_up("calls", 1_000, 1_001).question
    assert questions.budget_command(run, money).endswith("--budget USD   (USD at least 2.01)")
    assert questions.budget_command(run, calls).endswith("--budget-calls N   (N at least 1,001)")


@pytest.mark.parametrize(
    ("cost", "seconds", "takes"),
    [
        (None, None, "price unknown"),
        (0.0, 40.0, "free, about 40 s"),
        (0.42, 190.0, "about $0.42, about 3 min 10 s"),
        (1e-6, None, "under $0.0001"),
    ],
)
def test_the_next_round_has_a_price(cost: float | None, seconds: float | None, takes: str) -> None:
    question = replace(story.another_round().question, pairs=1, cost_usd=cost, seconds=seconds)
    assert questions.price(question) == f"1 new pair, {takes}"
