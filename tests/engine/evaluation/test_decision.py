import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from engine.evaluation.decision import GATE_RISK, decide, fewest_units, finished
from engine.evaluation.scores import SplitScores, best, score, scores_doubt
from engine.protocol import records
from engine.protocol.decision import Decision, Interval, NextRound, PromptScore, Reviews, Shares
from engine.protocol.rows import Verdict
from engine.settings.schema import Loop, Target


def scored(precision: float, similarity: float | None = None, half: float = 0.0) -> SplitScores:
    similarity = precision if similarity is None else similarity
    share = Shares(precision=1.0, similarity=1.0)
    return SplitScores(
        precision=Interval(mean=precision, low=precision - half, high=precision + half),
        similarity=Interval(mean=similarity, low=similarity - half, high=similarity + half),
        coverage_50=share,
        coverage_70=share,
        prompts=40,
        verdicts=80,
        errors=0,
    )


TARGET = Target(precision=85, similarity=75)


@pytest.mark.parametrize(
    ("rounds", "hours", "outcome"),
    [
        ([scored(10)], 0, "continue"),
        ([scored(90)], 0, "gate"),
        ([scored(10), scored(85, 75)], 0, "gate"),
        ([scored(10), scored(84.9, 99)], 0, "continue"),
        ([scored(10), scored(99, 74.9)], 0, "continue"),
        ([scored(10), scored(86, 99, half=2)], 0, "continue"),
        ([scored(10), scored(99, 76, half=2)], 0, "continue"),
        ([scored(10), scored(88, 78, half=2)], 0, "gate"),
        # The first tuned round starts the count; two more without a gain of a point end it.
        ([scored(10), scored(50), scored(50)], 0, "continue"),
        ([scored(10), scored(50), scored(50), scored(50.9)], 0, "plateau"),
        ([scored(10), scored(50), scored(50), scored(51)], 0, "continue"),
        ([scored(10), scored(50), scored(51), scored(40)], 0, "continue"),
        ([scored(10), scored(50), scored(51), scored(51.5), scored(51.9)], 0, "plateau"),
        ([scored(60), scored(40), scored(50)], 0, "continue"),
        ([scored(60), scored(40), scored(50), scored(55)], 0, "plateau"),
        ([scored(n) for n in (10, 20, 30, 40, 50, 60)], 0, "rounds"),
        ([scored(10), scored(20), scored(20), scored(20), scored(20), scored(20)], 0, "rounds"),
        ([scored(n) for n in (10, 20, 30, 40, 50, 90)], 99, "gate"),
        ([scored(10), scored(20)], 2, "time"),
        ([scored(10), scored(20)], 1.9, "continue"),
    ],
)
def test_outcomes(rounds: list[SplitScores], hours: float, outcome: str) -> None:
    another = NextRound(pairs=100, cost_usd=1.5, seconds=60)
    decision = decide(rounds, TARGET, Loop(max_rounds=5, max_hours=2), hours=hours, another=another)

    assert decision.outcome == outcome
    assert decision.passed_gate == (outcome == "gate")
    assert decision.round == len(rounds) - 1
    assert decision.next == (another if outcome == "continue" else None)


@given(st.lists(st.builds(scored, st.floats(1, 100), st.floats(1, 100), st.floats(0, 20)), min_size=1, max_size=8))
def test_the_gate_opens_only_where_both_low_bounds_pass(rounds: list[SplitScores]) -> None:
    decision = decide(rounds, TARGET, Loop(max_rounds=20), hours=0)
    passes = rounds[-1].precision.low >= 85 and rounds[-1].similarity.low >= 75

    assert decision.passed_gate == passes
    assert decision.best_round == (len(rounds) - 1 if passes else best(rounds))
    assert all(rounds[best(rounds)].mean >= scores.mean for scores in rounds)


def test_the_round_that_passed_the_gate_is_the_one_to_test() -> None:
    """An earlier round may have the higher mean of both and still miss one of the targets."""
    rounds = [scored(10), scored(100, 74), scored(86, 76)]

    decision = decide(rounds, TARGET, Loop(), hours=0)
    assert decision.passed_gate and best(rounds) == 1 and decision.best_round == 2


def test_of_equal_rounds_the_earlier_is_best() -> None:
    assert best([scored(10), scored(50), scored(50)]) == 1


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (scored(80), "Precision 80.0 is short of the target of 85."),
        (scored(90, 70), "Similarity 70.0 is short of the target of 75."),
        (scored(88, 90, half=5), "but with 40 prompts it may be as low as 83.0; another round may do it."),
        (scored(90), "pass their targets of 85 and 75 on dev prompts, lower bounds at 1% included."),
    ],
)
def test_the_reason_is_a_sentence_for_a_person(scores: SplitScores, said: str) -> None:
    assert decide([scored(1), scores], TARGET, Loop(), hours=0).reason.endswith(said)


def judged(*precision: float, similarity: float = 100.0) -> SplitScores:
    """The scores of prompts "0", "1", ... at the risk of the gate."""
    rows = [
        Verdict(
            id=str(n),
            sample=0,
            repeat=0,
            judge="j",
            similarity=similarity,
            precision=found,
            similarity_reason="",
            precision_reason="",
            error="",
        )
        for n, found in enumerate(precision)
    ]
    return score(rows, GATE_RISK)


LOOP = Loop(max_rounds=4)


def test_above_the_target_with_a_bound_below_another_round_may_do_it() -> None:
    unsure = judged(*[100.0] * 36, *[20.0] * 4)
    decision = decide(
        [judged(*[50.0] * 40), unsure], TARGET, LOOP, hours=0, another=NextRound(pairs=9, cost_usd=None, seconds=None)
    )

    assert decision.outcome == "continue"
    assert decision.reason.endswith("; another round may do it.")


def test_the_last_round_leaves_it_to_the_sealed_prompts() -> None:
    unsure = judged(*[100.0] * 36, *[20.0] * 4)
    decision = decide([judged(*[50.0] * 40)] * 4 + [unsure], TARGET, LOOP, hours=0)

    assert decision.outcome == "rounds" and decision.best_round == 4


def test_so_few_dev_prompts_that_none_could_pass_open_nothing_by_themselves() -> None:
    """With 20 prompts and a risk of 1 % the best possible lower bound is 79.6."""
    decision = decide([judged(*[100.0] * 20)], TARGET, LOOP, hours=0)

    assert decision.outcome == "continue" and decision.reason.endswith("finishing opens the sealed prompts.")
    assert decision.advice is not None and decision.advice.action == "finish"
    assert "20 prompts are too few to show it in any round" in decision.advice.reason


def test_short_of_the_target_the_rounds_go_on_however_few_the_prompts() -> None:
    decision = decide([judged(*[60.0] * 20)], TARGET, LOOP, hours=0)

    assert decision.outcome == "continue" and decision.reason == "Precision 60.0 is short of the target of 85."
    assert decision.advice is not None and decision.advice.action == "approve", "the model itself may get better"


def test_a_round_is_compared_with_the_best() -> None:
    rounds = [judged(*[40.0] * 40), judged(*[70.0] * 40), judged(*[50.0] * 40), judged(*[72.0] * 39, 30.0)]
    decision = decide(rounds, TARGET, LOOP, hours=0)

    assert decision.changes is not None and decision.changes.against == 1
    assert [change.id for change in decision.changes.regressed] == ["39"] and not decision.changes.improved


def test_regressions_can_veto() -> None:
    before = judged(*[70.0] * 40, *[99.0] * 20)
    after = judged(*[99.0] * 55, *[70.0] * 5)
    assert decide([before, after], TARGET, LOOP, hours=0).passed_gate
    vetoed = decide([before, after], TARGET.model_copy(update={"max_regressed": 0.05}), LOOP, hours=0)

    assert not vetoed.passed_gate and vetoed.outcome == "continue"
    assert "5 of 60 dev prompts got worse than in round 0, and 5% are allowed" in vetoed.reason
    assert decide([before, after], TARGET.model_copy(update={"max_regressed": 0.1}), LOOP, hours=0).passed_gate


RELATIVE = Target(relative_to_teacher=3)


@pytest.mark.parametrize(
    ("local", "outcome", "said"),
    [
        ([80.0] * 300, "gate", "Precision is 1.0 points below the service's and similarity 19.0 points above"),
        (
            [70.0] * 300,
            "continue",
            "below the service's 81.0, and the target is at most 3 points below",
        ),
        ([80.0] * 40, "continue", "at most 3 points below; another round may do it"),
    ],
)
def test_a_target_relative_to_the_service(local: list[float], outcome: str, said: str) -> None:
    teacher = [PromptScore(id=str(n), precision=81.0, similarity=81.0) for n in range(len(local))]
    decision = decide([judged(*local)], RELATIVE, LOOP, hours=0, by_service=teacher)

    assert decision.outcome == outcome
    assert said in decision.reason
    assert decision.teacher is not None and decision.teacher.prompts == len(local)


def test_a_service_that_answers_only_some_prompts_is_no_measure() -> None:
    teacher = [PromptScore(id=str(n), precision=81.0, similarity=81.0) for n in range(260)]
    decision = decide([judged(*[80.0] * 300)], RELATIVE, LOOP, hours=0, by_service=teacher)

    assert not decision.passed_gate
    assert "; the service has a readable verdict on only 260 of 300 prompts" in decision.reason
    assert decide([judged(*[83.0] * 280)], RELATIVE, LOOP, hours=0, by_service=teacher).passed_gate


def test_what_no_judge_could_read_may_be_the_worst() -> None:
    """6 of 100 prompts without a verdict are few enough to go on, but may take 6 points from the mean."""
    scores = [95.0 if n < 94 else None for n in range(100)]
    rows = [
        Verdict(
            id=str(n),
            sample=0,
            repeat=0,
            judge="j",
            similarity=found,
            precision=found,
            similarity_reason="",
            precision_reason="",
            error="",
        )
        for n, found in enumerate(scores)
    ]
    unread = score(rows, GATE_RISK)

    assert unread.unjudged == 6 and not scores_doubt(unread)
    decision = decide([unread], TARGET, LOOP, hours=0)
    assert not decision.passed_gate
    assert "but with 100 prompts it may be as low as" in decision.reason
    assert decide([judged(*[95.0] * 94)], TARGET, LOOP, hours=0).passed_gate


def test_a_relative_target_needs_the_service() -> None:
    with pytest.raises(ValueError, match="service's own scores"):
        decide([judged(90.0)], RELATIVE, LOOP, hours=0)


def rising(*means: float) -> list[SplitScores]:
    return [judged(*[mean - 2, mean + 2] * 30, similarity=mean) for mean in means]


@pytest.mark.parametrize(
    ("rounds", "left", "action", "said"),
    [
        (rising(10, 60), None, "approve", "no trend yet"),
        (rising(10, 60, 75), None, "approve", "gained 15.0 points"),
        (rising(10, 60, 62), None, "finish", "and 2 are left"),
        (rising(10, 60, 60.5), None, "finish", "the next may gain less"),
        (rising(10, 60, 55), None, "finish", "gained nothing"),
        (rising(10, 60, 75), 1.0, "finish", "budget"),
        (rising(10, 60, 75), 2.0, "approve", "gained 15.0 points"),
    ],
)
def test_advice_weighs_the_trend_and_the_purse(
    rounds: list[SplitScores], left: float | None, action: str, said: str
) -> None:
    another = NextRound(pairs=100, cost_usd=1.5, seconds=60)
    decision = decide(rounds, TARGET, LOOP, hours=0, another=another, budget_left=left)

    assert decision.outcome == "continue" and decision.advice is not None
    assert decision.advice.action == action
    assert said in decision.advice.reason


def test_a_judge_that_people_disagree_with_is_mended_first() -> None:
    doubted = Reviews(
        n=20,
        agreed=3,
        scored=20,
        kappa_precision=0.2,
        kappa_similarity=0.3,
        warning="judge and reviewers agree too little (kappa 0.20 over 20 reviews)",
        precision=None,
        similarity=None,
    )
    decision = decide(rising(10, 60, 75), TARGET, LOOP, hours=0, reviews=doubted)

    assert decision.advice is not None and decision.advice.action == "stop"
    assert decision.advice.reason.startswith("Judge and reviewers agree too little")


def test_who_ends_a_run_for_want_of_money_ended_it_by_the_budget() -> None:
    decision = decide(rising(10, 60), TARGET, LOOP, hours=0, another=NextRound(pairs=100, cost_usd=1.5, seconds=60))
    ended = finished(decision, 0.25)

    assert ended.outcome == "budget" and ended.next is None and ended.advice is None
    assert ended.reason.endswith("another round costs about $1.50, and $0.25 of the budget are left.")
    assert finished(decision, None) == finished(decision, 1.5) == decision


def test_a_decision_comes_back_from_its_file() -> None:
    teacher = [PromptScore(id=str(n), precision=90.0, similarity=90.0) for n in range(40)]
    reviewed = Reviews(
        n=31,
        agreed=30,
        scored=31,
        kappa_precision=0.9,
        kappa_similarity=None,
        warning="",
        precision=Interval(mean=80, low=70, high=90),
        similarity=Interval(mean=80, low=70, high=90),
    )
    before, after = judged(*[40.0] * 40), judged(*[72.0] * 20, *[30.0] * 20)
    for another in (None, NextRound(pairs=10, cost_usd=None, seconds=3.5)):
        decision = decide(
            [before, before, after],
            TARGET,
            LOOP,
            hours=0,
            another=another,
            by_service=teacher,
            reviews=reviewed,
            flagged=["x"],
        )
        row = json.loads(json.dumps(records.to_row(decision)))

        assert records.build(Decision, row) == decision
        assert row.keys() >= {"round", "outcome", "reason", "precision", "similarity", "teacher", "best_round", "next"}
        assert row["precision"]["mean"] == 51 and "by_prompt" not in row
        assert row["changes"].keys() >= {"against", "precision", "similarity", "improved", "regressed"}
        assert row["changes"]["improved"][0] == {"id": "0", "before": 70, "after": 86}
        assert row["teacher"].keys() == {"precision", "similarity", "gap_precision", "gap_similarity", "prompts"}


def test_a_decision_of_an_earlier_version_still_loads() -> None:
    row = records.to_row(decide([judged(*[50.0] * 40)], TARGET, LOOP, hours=0))
    for key in ("changes", "advice", "reviews", "flagged"):
        del row[key]
    known = records.build(Decision, {**row, "teacher": None})

    assert known.round == 0 and known.changes is None and known.flagged == ()


@pytest.mark.parametrize(("prompts", "verdicts", "errors"), [(9, 18, 0), (20, 40, 5)])
def test_too_few_or_unreadable_verdicts_reach_nothing(prompts: int, verdicts: int, errors: int) -> None:
    doubtful = replace(scored(99.0), prompts=prompts, verdicts=verdicts, errors=errors)

    decision = decide([doubtful], TARGET, Loop(), hours=0)

    assert not decision.passed_gate
    assert scores_doubt(doubtful) in decision.reason


@pytest.mark.parametrize(
    ("target", "fewest"),
    [
        (Target(precision=85, similarity=75), 29),
        (Target(precision=50, similarity=95), 89),
        (Target(precision=20, similarity=10), 10),
        (Target(precision=100), None),
        (Target(precision=100, relative_to_teacher=3), 150),
        (Target(relative_to_teacher=0), None),
    ],
)
def test_the_fewest_prompts_that_can_show_a_target(target: Target, fewest: int | None) -> None:
    assert fewest_units(target, GATE_RISK) == fewest
