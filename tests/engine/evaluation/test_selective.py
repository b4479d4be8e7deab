"""A rule is chosen on dev and tested once on the sealed answers, for its share and its scores together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy.special import betaincinv

from engine.evaluation.contract import breach
from engine.evaluation.gaffke import lower_bound
from engine.evaluation.selective import SHARE_OF_RISK, Answer, answers, certify, choose, what_may_move
from engine.protocol import records
from engine.protocol.decision import Confidence, Part, Rule
from engine.protocol.rows import Response, Verdict
from engine.settings.schema import Target

TARGET, RISK = Target(precision=85, similarity=75), 0.05
SURE = Rule(signal="mean_logprob", threshold=-0.5)


def answer(n: int, precision: float, logprob: float | None = -0.1, **changes: Any) -> Answer:
    known = {"mean_logprob": logprob, "least_logprob": None, "agreement": None, "keeps_contract": True}
    confidence = Confidence(**{**known, **{key: changes.pop(key) for key in [*changes] if key in known}})
    row = {"id": str(n), "family": str(n), "precision": precision, "similarity": precision, **changes}
    return Answer(confidence=confidence, **row)


def split(good: int, bad: int, first: int = 0) -> list[Answer]:
    """Sure answers that are right, a few of which are less so, and unsure ones that are wrong."""
    right = [answer(n, 100.0 if n % 10 else 80.0, -0.1 - n % 40 / 1000) for n in range(first, first + good)]
    return right + [answer(n, 20.0, -1.0 - n % 10 / 1000) for n in range(first + good, first + good + bad)]


def test_what_the_model_is_sure_of_may_move_and_the_rest_is_for_the_service() -> None:
    part = what_may_move(split(45, 15), split(75, 25), TARGET, RISK)

    assert part.certified
    assert part.rule is not None
    assert part.rule.signal == "mean_logprob"
    assert (part.share, part.moved, part.answers, part.families) == (0.75, 75, 100, 100)
    assert part.share_low == pytest.approx(betaincinv(75, 26, 0.01), abs=1e-4)  # Clopper and Pearson
    assert part.precision is not None
    assert part.precision.low > 85
    assert part.reason == (
        "Of prompts like these at least 63 % can be answered locally, with precision and similarity at least at the "
        "target (risk 5 %, both claims together); the rest is for the service."
    )
    assert records.build(Part, records.to_row(part)) == part


def test_the_scores_bound_is_that_of_the_moved_answers_alone() -> None:
    dice = np.random.default_rng(3)
    moved = dice.choice([60.0, 80, 90, 95, 100], size=60).tolist()
    sealed = [answer(n, score) for n, score in enumerate(moved)] + [answer(n, 1.0, -9.0) for n in range(60, 100)]

    part = certify(SURE, sealed, TARGET, RISK)

    assert part.precision is not None
    assert part.precision.low == pytest.approx(lower_bound(moved, RISK * (1 - SHARE_OF_RISK), 1, 100), abs=0.01)
    assert part.precision.mean == pytest.approx(np.mean(moved), abs=0.01)
    assert part.precision.mean < part.precision.high <= 100


def test_a_family_counts_once() -> None:
    alone = certify(SURE, [answer(n, 95.0) for n in range(40)], TARGET, RISK)
    together = certify(SURE, [answer(n, 95.0, family=str(n % 8)) for n in range(40)], TARGET, RISK)
    several = certify(SURE, [answer(n % 8, 95.0) for n in range(40)], TARGET, RISK)

    assert (alone.certified, together.certified, several.certified) == (True, False, False)
    assert (together.prompts, together.families, several.prompts) == (40, 8, 8)
    assert together.precision == several.precision


def test_both_scores_must_pass() -> None:
    sealed = [answer(n, 99.0, similarity=74.0) for n in range(200)]
    part = certify(SURE, sealed, TARGET, RISK)
    assert not part.certified
    assert part.reason.startswith(
        "No part may move today: the 100 % of the sealed answers that the rule would move have a similarity of 74.0, "
        "which may be as low as 7"
    )


def test_a_broken_contract_never_moves_and_alone_may_be_the_rule() -> None:
    def some(count: int) -> list[Answer]:
        return [answer(n, 1.0 if n % 4 == 0 else 97.0, None, keeps_contract=n % 4 != 0) for n in range(count)]

    part = what_may_move(some(80), some(120), TARGET, RISK)

    assert part.rule == Rule(signal="contract", threshold=1.0, samples=1)
    assert (part.certified, part.share) == (True, 0.75)


@pytest.mark.parametrize(
    ("dev", "why"),
    [
        ([answer(n, 60.0, -n / 10) for n in range(40)], "are not good enough either"),
        ([answer(n, 99.0, keeps_contract=False) for n in range(40)], "no dev answer keeps the contract"),
        ([answer(n, 99.0, None) for n in range(40)], "are not good enough either"),  # all that there is, is the whole
    ],
)
def test_without_a_rule_nothing_is_tested(dev: Sequence[Answer], why: str) -> None:
    choice = choose(dev, TARGET, RISK, sealed_families=100)
    part = what_may_move(dev, split(75, 25), TARGET, RISK)
    assert choice.rule is None
    assert (part.rule, part.certified, part.share_low, part.precision) == (None, False, 0.0, None)
    assert why in part.reason


def test_a_rule_that_moves_nothing_sealed_is_not_certified() -> None:
    part = certify(SURE, [answer(n, 99.0, -3.0) for n in range(50)], TARGET, RISK)
    assert (part.certified, part.moved, part.precision) == (False, 0, None)
    assert part.reason == "No part may move today: the rule found on the dev prompts moves no sealed answer."


def test_a_target_relative_to_the_service_takes_its_unknown_score_for_the_best() -> None:
    target = Target(relative_to_teacher=5.0)
    known = [answer(n, 90.0, service=(90.0, 91.0)) for n in range(150)]

    part = certify(SURE, known, target, RISK)
    unknown = certify(SURE, [answer(n, 90.0) for n in range(150)], target, RISK)

    assert part.relative
    assert part.certified
    assert part.precision is not None
    assert (part.precision.mean, part.similarity and part.similarity.mean) == (0.0, -1.0)
    assert "at most 5 points below the service's" in part.reason
    assert not unknown.certified
    assert "precision of -10.0 points from the service's" in unknown.reason


def test_answers_come_from_rows_and_one_without_a_verdict_is_the_worst() -> None:
    rows = [
        Response(
            id=id_,
            sample=sample,
            prompt=[],
            target="t",
            response="text",
            finish_reason="stop",
            prompt_tokens=1,
            completion_tokens=1,
            model="m",
            adapter="",
            mean_logprob=-0.2,
            least_logprob=-0.9,
        )
        for id_, sample in (("p", 0), ("p", 1), ("q", 0))
    ]
    read = {"judge": "j", "similarity_reason": "", "precision_reason": "", "error": "", "repeat": 0}
    verdicts = [Verdict(id="p", sample=0, precision=90.0, similarity=80.0, **read), breach(rows[2], "too long")]

    found = answers(rows, verdicts, {"p": "family"}, {"q": (70.0, 60.0)})

    assert [(one.id, one.family, one.precision, one.similarity, one.service) for one in found] == [
        ("p", "family", 90.0, 80.0, None),
        ("p", "family", 1.0, 1.0, None),
        ("q", "q", 1.0, 1.0, (70.0, 60.0)),
    ]
    assert [one.confidence.keeps_contract for one in found] == [True, True, False]
    assert found[0].confidence == Confidence(mean_logprob=-0.2, least_logprob=-0.9, agreement=1.0, keeps_contract=True)


@pytest.mark.parametrize(
    ("rule", "confidence", "allowed"),
    [
        (SURE, {}, True),
        (SURE, {"mean_logprob": -0.5}, True),
        (SURE, {"mean_logprob": -0.51}, False),
        (SURE, {"mean_logprob": None}, False),
        (SURE, {"keeps_contract": False}, False),
        (Rule(signal="agreement", threshold=0.9), {}, False),
        (Rule(signal="agreement", threshold=0.9), {"agreement": 1.0}, True),
        (Rule(signal="contract", threshold=1.0), {"mean_logprob": None}, True),
    ],
)
def test_a_rule_is_asked_with_one_answers_figures(rule: Rule, confidence: dict[str, Any], allowed: bool) -> None:
    figures = {"mean_logprob": -0.1, "least_logprob": -1.0, "agreement": None, "keeps_contract": True, **confidence}
    assert rule.allows(Confidence(**figures)) == allowed


def test_a_rule_says_in_words_what_it_allows() -> None:
    assert SURE.words == "answers with a mean log-probability of at least -0.5 that keep the contract"
    assert Rule(signal="contract", threshold=1.0).words == "answers that keep the contract"
