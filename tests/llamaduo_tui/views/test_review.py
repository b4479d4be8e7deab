"""Rounds as they are reviewed: scores and changes, read from files of any state."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import review_run
from review_run import response, verdicts, write

from engine.evaluation.prompt_scores import by_prompt
from engine.protocol.errors import LlamaDuoError
from engine.protocol.rows import Response
from engine.protocol.run_dir import Run
from llamaduo_tui.views.review import Review


@pytest.fixture
def run(make_run: Callable[..., Run]) -> Run:
    return review_run.rounds(make_run())


@pytest.fixture
def review(run: Run) -> Review:
    review = Review(run)
    review.load(0)
    return review


def test_scores_are_means_over_samples_and_repeats(review: Review) -> None:
    item = review.load(1).entries["c3"]
    assert item.score is not None
    assert (item.score.precision, item.score.similarity, item.mean) == (50, 70, 60)
    assert item.samples == (0, 1)
    assert item.spread == 40
    assert item.change == 10
    assert item.length == len("The report is early.\nPlease send it on Monday.\nThank you.")


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
