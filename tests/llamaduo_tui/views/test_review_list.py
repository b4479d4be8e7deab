"""The list of a review: its orders, filters and narrowings, and what a mark on all of it is for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import review_run
from review_run import draw, response, verdicts, write

from engine.evaluation.drawn import Progress
from engine.protocol import commands
from engine.protocol.commands import Label
from engine.protocol.rows import CONTRACT, Verdict
from engine.protocol.run_dir import Run
from llamaduo_tui.views.review import Review, reviewed
from llamaduo_tui.views.review_list import (
    Known,
    Narrowing,
    ReviewFilter,
    ReviewSort,
    arrange,
    drawn_progress,
    queue_words,
    unflagged,
    unread,
)


@pytest.fixture
def run(make_run: Callable[..., Run]) -> Run:
    return review_run.rounds(make_run())


@pytest.fixture
def review(run: Run) -> Review:
    review = Review(run)
    review.load(0)
    return review


def ids(review: Review, sort: ReviewSort = "id", wanted: ReviewFilter = "all") -> list[str]:
    return [item.id for item in arrange(review.load(1), Known(review.labels().labels), sort, wanted)]


@pytest.mark.parametrize(
    "sort, expected",
    [
        ("worst", ["a1", "c3", "d4", "b2"]),
        ("best", ["b2", "d4", "c3", "a1"]),
        ("change", ["b2", "a1", "c3", "d4"]),
        ("spread", ["c3", "a1", "b2", "d4"]),
        ("longest", ["a1", "b2", "c3", "d4"]),
        ("id", ["a1", "b2", "c3", "d4"]),
    ],
)
def test_sort_orders(review: Review, sort: ReviewSort, expected: list[str]) -> None:
    assert ids(review, sort) == expected


def test_drawn_answers_come_as_they_were_drawn_and_no_others(run: Run) -> None:
    draw(run, ("d4", 1), ("a1", 0), ("gone", 0))
    review = Review(run)
    assert ids(review, "drawn") == ["d4", "a1"]
    commands.send(run.commands_file, Label(round=1, responses=[("d4", 1)], agrees=True))
    assert ids(review, "drawn", "unreviewed") == ["a1"]
    assert [item.id for item in arrange(review.load(0), Known(), "drawn")] == []


def test_drawn_answers_are_reviewed_by_scores_and_not_by_flags_or_another_sample(run: Run) -> None:
    draw(run, ("d4", 1), ("a1", 0), ("c3", 0))
    loaded = Review(run).load(1)
    said = [
        Label(round=1, responses=[("d4", 0)], agrees=True),
        Label(round=1, responses=[("d4", 1)], flagged=True, note="hm"),
        Label(round=1, responses=[("a1", 0)], agrees=False),
        Label(round=1, responses=[("c3", 0)], agrees=False, precision=50, similarity=60),
    ]
    labels = {key: label for label in said for key in label.keys}
    assert drawn_progress(loaded, labels) == Progress(3, 1, 2)


@pytest.mark.parametrize(
    "done, words",
    [
        (Progress(30, 12, 0), "30 drawn, 12 reviewed; 18 more until scores are corrected"),
        (Progress(30, 12, 2), "30 drawn, 12 reviewed, 2 skipped; 18 more until scores are corrected"),
        (Progress(30, 30, 0), "30 drawn, all reviewed: the report gives their mean"),
    ],
)
def test_the_queue_in_words(done: Progress, words: str) -> None:
    assert queue_words(done) == words


@pytest.mark.parametrize(
    "wanted, expected",
    [
        ("changed", ["a1", "b2", "c3"]),
        ("regressed", ["a1"]),
        ("spread", ["c3"]),
        ("improved", ["b2", "c3"]),
        ("errors", ["d4"]),
        ("flagged", ["b2"]),
        ("unreviewed", ["c3", "d4"]),
        ("reviewed", ["a1", "b2"]),
        ("opposed", []),
    ],
)
def test_filters(review: Review, run: Run, wanted: ReviewFilter, expected: list[str]) -> None:
    commands.send(run.commands_file, Label(round=1, responses=[("a1", 1)], agrees=True))
    commands.send(run.commands_file, Label(round=1, responses=[("b2", 0)], flagged=True))
    commands.send(run.commands_file, Label(round=0, responses=[("d4", 0)], flagged=True))
    assert ids(review, wanted=wanted) == expected


def test_a_review_taken_back_is_none(review: Review, run: Run) -> None:
    commands.send(run.commands_file, Label(round=1, responses=[("a1", 0)], agrees=True))
    commands.send(run.commands_file, Label(round=1, responses=[("a1", 0)]))
    assert not reviewed(review.labels().labels[1, "a1", 0])
    assert ids(review, wanted="unreviewed") == ["a1", "b2", "c3", "d4"]


def test_broken_contracts_can_be_picked_out(run: Run) -> None:
    broken = Verdict(
        id="b",
        sample=1,
        repeat=0,
        judge=CONTRACT,
        similarity=1,
        precision=1,
        similarity_reason="",
        precision_reason="no JSON",
        error="",
    )
    write(run.round(1), [response("a"), response("b"), response("b", 1)], [*verdicts("a", 0, (9, 9)), broken])
    assert [item.id for item in arrange(Review(run).load(1), Known(), wanted="broken")] == ["b"]


KINDS = {"a1": "bug", "b2": "how-to", "c3": "bug"}


@pytest.mark.parametrize(
    "narrowing, expected",
    [
        (Narrowing(lowest=45, highest=60), ["a1", "c3"]),
        (Narrowing(highest=59.9), ["a1"]),
        (Narrowing(kind="bug"), ["a1", "c3"]),
        (Narrowing(kind="bug", lowest=50), ["c3"]),
        (Narrowing(contract="kept"), ["a1", "b2", "c3", "d4"]),
        (Narrowing(contract="broken"), []),
        (Narrowing(agreement="apart"), ["c3"]),
        (Narrowing(agreement="together"), ["a1", "b2", "d4"]),
        (Narrowing(agreement="agreed"), ["b2"]),
        (Narrowing(agreement="opposed"), ["a1"]),
        (Narrowing(longest=58), ["c3", "d4"]),
        (Narrowing(shortest=59), ["a1", "b2"]),
    ],
)
def test_a_list_is_narrowed(review: Review, narrowing: Narrowing, expected: list[str]) -> None:
    labels = {
        (1, "a1", 1): Label(round=1, responses=[("a1", 1)], agrees=False),
        (1, "b2", 0): Label(round=1, responses=[("b2", 0)], agrees=True),
        (0, "c3", 0): Label(round=0, responses=[("c3", 0)], agrees=True),
    }
    listed = arrange(review.load(1), Known(labels, kinds=KINDS), "id", "all", narrowing)
    assert [item.id for item in listed] == expected


def test_filter_narrowing_and_search_all_apply(review: Review) -> None:
    known = Known(bookmarks={"a1", "c3", "d4"}, matches={"a1", "b2", "c3"})
    assert [item.id for item in arrange(review.load(1), known, "id", "bookmarked")] == ["a1", "c3"]
    assert [item.id for item in arrange(review.load(1), known, "id", "bookmarked", Narrowing(lowest=50))] == ["c3"]


def test_a_narrowing_in_words() -> None:
    said = Narrowing(lowest=40, highest=62.5, kind="bug", contract="broken", agreement="apart", longest=20_000).words
    assert said == ["score 40–62.5", "kind bug", "contract broken", "its verdicts disagree", "length up to 20,000"]
    assert Narrowing().words == []


def test_agreeing_on_all_leaves_out_what_is_reviewed_drawn_or_not_judged(run: Run) -> None:
    draw(run, ("a1", 1))
    loaded = Review(run).load(1)
    labels = {
        (1, "b2", 0): Label(round=1, responses=[("b2", 0)], note="hm"),
        (1, "b2", 1): Label(round=1, responses=[("b2", 1)]),  # withdrawn
    }
    keys = unread(loaded, loaded.entries.values(), labels)
    assert keys == [(1, "a1", 0), (1, "b2", 1), (1, "c3", 0), (1, "c3", 1)]


def test_flagging_all_takes_each_prompt_once(review: Review) -> None:
    loaded = review.load(1)
    labels = {(1, "a1", 1): Label(round=1, responses=[("a1", 1)], flagged=True)}
    assert unflagged(loaded, loaded.entries.values(), labels) == [(1, "b2", 0), (1, "c3", 0), (1, "d4", 0)]
