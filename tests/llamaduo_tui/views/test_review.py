"""Rounds as they are reviewed: scores, changes, orders and filters, read from files of any state."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import review_run
from review_run import draw, response, verdicts, write

from engine.evaluation.drawn import Progress
from engine.evaluation.prompt_scores import by_prompt
from engine.protocol import commands
from engine.protocol.commands import Label
from engine.protocol.errors import LlamaDuoError
from engine.protocol.rows import CONTRACT, Response, Verdict
from engine.protocol.run_dir import Run
from llamaduo_tui.views.review import (
    Review,
    ReviewFilter,
    ReviewSort,
    arrange,
    drawn_progress,
    queue_words,
    reviewed,
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
    return [item.id for item in arrange(review.load(1), review.labels(), sort, wanted)]


def test_scores_are_means_over_samples_and_repeats(review: Review) -> None:
    item = review.load(1).entries["c3"]
    assert item.score is not None
    assert (item.score.precision, item.score.similarity, item.mean) == (50, 70, 60)
    assert item.samples == (0, 1)
    assert item.spread == 40
    assert item.change == 10


def test_scores_are_those_of_the_verdicts_that_could_be_read(make_run: Callable[..., Run]) -> None:
    """A panel of which one judge was asked more often, beside an answer that broke the contract."""
    run = make_run()
    judged = [
        *verdicts("a", 0, (90, 80), (80, 90)),
        *verdicts("a", 0, (20, 10), None, (40, 30), (60, 50), judge="claude"),
        *verdicts("a", 1, (1, 1), judge="contract"),
    ]
    write(run.round(0), [response("a"), response("a", 1)], judged)
    item = Review(run).load(0).entries["a"]
    assert [item.score] == by_prompt([verdict for verdict in judged if verdict.precision is not None])


def test_errors_count_and_leave_the_mean_alone(review: Review) -> None:
    item = review.load(1).entries["d4"]
    assert (item.errors, item.mean) == (2, 70)


@pytest.mark.parametrize(
    "sort, expected",
    [
        ("worst", ["a1", "c3", "d4", "b2"]),
        ("best", ["b2", "d4", "c3", "a1"]),
        ("change", ["b2", "a1", "c3", "d4"]),
        ("spread", ["c3", "a1", "b2", "d4"]),
        ("id", ["a1", "b2", "c3", "d4"]),
    ],
)
def test_sort_orders(review: Review, sort: ReviewSort, expected: list[str]) -> None:
    assert ids(review, sort) == expected


def test_drawn_answers_come_as_they_were_drawn_and_no_others(run: Run) -> None:
    draw(run, ("d4", 1), ("a1", 0), ("gone", 0))
    review = Review(run)
    assert ids(review, "drawn") == ["d4", "a1"]
    commands.send(run.commands_file, Label(round=1, prompt="d4", sample=1, agrees=True))
    assert ids(review, "drawn", "unreviewed") == ["a1"]
    assert [item.id for item in arrange(review.load(0), {}, "drawn")] == []


def test_drawn_answers_are_reviewed_by_scores_and_not_by_flags_or_another_sample(run: Run) -> None:
    draw(run, ("d4", 1), ("a1", 0), ("c3", 0))
    loaded = Review(run).load(1)
    said = [
        Label(round=1, prompt="d4", sample=0, agrees=True),
        Label(round=1, prompt="d4", sample=1, flagged=True, note="hm"),
        Label(round=1, prompt="a1", sample=0, agrees=False),
        Label(round=1, prompt="c3", sample=0, agrees=False, precision=50, similarity=60),
    ]
    labels = {(label.round, label.prompt, label.sample): label for label in said}
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
    ],
)
def test_filters(review: Review, run: Run, wanted: ReviewFilter, expected: list[str]) -> None:
    commands.send(run.commands_file, Label(round=1, prompt="a1", sample=1, agrees=True))
    commands.send(run.commands_file, Label(round=1, prompt="b2", sample=0, flagged=True))
    commands.send(run.commands_file, Label(round=0, prompt="d4", sample=0, flagged=True))
    assert ids(review, wanted=wanted) == expected


def test_a_review_taken_back_is_none(review: Review, run: Run) -> None:
    commands.send(run.commands_file, Label(round=1, prompt="a1", sample=0, agrees=True))
    commands.send(run.commands_file, Label(round=1, prompt="a1", sample=0))
    assert not reviewed(review.labels()[1, "a1", 0])
    assert ids(review, wanted="unreviewed") == ["a1", "b2", "c3", "d4"]


def test_prompts_that_begin_alike_are_told_apart(review: Review) -> None:
    assert review.load(1).entries["a1"].start == "DeskPilot crashes as soon as Kofi opens the queue."


def test_an_answer_has_its_own_verdicts(review: Review) -> None:
    answer = review.response(1, "c3", 1)
    assert answer.response.sample == 1
    assert [(v.sample, v.repeat, v.precision) for v in answer.verdicts] == [(1, 0, 30), (1, 1, 70)]
    assert answer.scores == (50, 70)


def test_a_rewritten_file_is_told(review: Review, run: Run) -> None:
    review.load(1)
    file = run.round(1) / "infer" / "responses.jsonl"
    file.write_text("".join(reversed(file.read_text().splitlines(keepends=True))))
    with pytest.raises(LlamaDuoError, match="rewritten"):
        review.response(1, "a1", 0)


def test_the_sealed_test_stands_last_and_has_no_round_before(review: Review, run: Run) -> None:
    write(run.final, [response("z9")], verdicts("z9", 0, (80, 90)))
    assert review.rounds() == [0, 1, None]
    assert review.previous(None) is None
    item = review.load(None).entries["z9"]
    assert (item.mean, item.change) == (85, None)


def test_no_answers_yet(make_run: Callable[..., Run]) -> None:
    assert Review(make_run()).rounds() == []


def test_a_round_at_work_is_read_as_far_as_it_is_whole(make_run: Callable[..., Run]) -> None:
    run = make_run()
    write(run.round(0), [response("a"), response("b")])
    with (run.round(0) / "infer" / "responses.jsonl").open("a") as file:
        file.write('{"id":"c","samp')
    review = Review(run)
    before = review.stamp()
    read = review.load(0)
    assert (list(read.entries), read.unreadable, read.judged) == (["a", "b"], 0, False)
    assert read.entries["a"].mean is None
    write(run.round(0), [response("c")])
    assert review.stamp() != before
    assert list(Review(run).load(0).entries) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe\n",
        b"[1, 2]\n",
        b"[" * 100_000 + b"\n",
        b"{}\n",
        b'{"id":5,"sample":0,"prompt":[],"target":"","response":"","finish_reason":"","prompt_tokens":0,"completion_tokens":0,"model":"","adapter":""}\n',
    ],
)
def test_lines_that_are_no_rows_are_counted(run: Run, line: bytes) -> None:
    for file in ("infer/responses.jsonl", "judge/verdicts.jsonl"):
        with (run.round(1) / file).open("ab") as appended:
            appended.write(line)
    read = Review(run).load(1)
    assert (len(read.entries), read.unreadable) == (4, 2)


@pytest.mark.parametrize("score", ["1e999", "true", '"90"', "0", "101", "NaN"])
def test_scores_that_are_none_are_no_verdict(run: Run, score: str) -> None:
    file = run.round(1) / "judge" / "verdicts.jsonl"
    file.write_text(file.read_text().replace('"precision":95', f'"precision":{score}'))
    read = Review(run).load(1)
    assert (read.entries["b2"].mean, read.unreadable) == (None, 4)


def test_fields_of_a_newer_version_are_passed_over(run: Run) -> None:
    for file in ("infer/responses.jsonl", "judge/verdicts.jsonl"):
        path = run.round(1) / file
        path.write_text(path.read_text().replace('{"id"', '{"new":1,"id"'))
    answer = Review(run).response(1, "a1", 0)
    assert isinstance(answer.response, Response)
    assert len(answer.verdicts) == 2


def test_a_lone_surrogate_is_read(make_run: Callable[..., Run]) -> None:
    run = make_run()
    write(run.round(0), [response("a", answer="\ud800")])
    assert Review(run).response(0, "a", 0).response.response == "\ud800"


def test_search_finds_in_prompt_reference_and_answer(review: Review) -> None:
    def found(text: str) -> set[str]:
        return review.search(1, text, lambda: False)

    assert found("KOFI") == {"a1"}
    assert found("is late") == {"c3", "d4"}
    assert found("TimeForge") == {"a1"}
    assert found("nowhere") == set()
    assert review.search(1, "kofi", lambda: True) == set()


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
    assert [item.id for item in arrange(Review(run).load(1), {}, wanted="broken")] == ["b"]
