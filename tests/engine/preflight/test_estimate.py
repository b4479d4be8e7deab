from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.dataset.split import Splits
from engine.estimate import phases
from engine.local.device import find_device
from engine.local.resolve import ResolvedModel
from engine.preflight.estimate import estimate
from engine.preflight.report import Estimate
from engine.protocol.rows import Pair
from engine.service import prompts
from engine.settings.schema import Migration
from tests.tiny import make_model

PAIRS = [
    Pair(
        id=f"p{n}", messages=[{"role": "user", "content": "Why? " * 20}, {"role": "assistant", "content": "Yes. " * 10}]
    )
    for n in range(30)
]


def estimated(model: Path, *, teacher: bool, drift: int = 0, again: Sequence[Pair] = (), **service: int) -> Estimate:
    tables = {
        "coverage": {"source": "a.jsonl"},
        "service": {"model": "gpt-4o", **service},
        "judge": {"repeats": 2, "drift": drift},
        "target": {"teacher": teacher},
    }
    settings = Migration.model_validate(tables)
    splits = Splits(PAIRS[:10], PAIRS[10:20], PAIRS[20:])
    resolved = ResolvedModel("tiny", model, None, "0")
    return estimate(settings, splits, prompts.load(None), resolved, find_device(), longest=200, again=again)


def test_the_service_s_own_answers_are_in_the_estimate(tmp_path: Path) -> None:
    make_model(tmp_path)
    without, asked = estimated(tmp_path, teacher=False), estimated(tmp_path, teacher=True)
    assert asked.calls_most - without.calls_most == 20 * (1 + 2)  # an answer and two verdicts for each prompt
    assert asked.tokens_most > without.tokens_most and (asked.usd_most or 0) > (without.usd_most or 0)
    assert asked.phases[1].calls == without.phases[1].calls


def test_every_round_is_estimated_and_adds_up(tmp_path: Path) -> None:
    make_model(tmp_path)
    found = estimated(tmp_path, teacher=True)
    assert [phase.name for phase in found.phases] == [
        "round 0", "round 1", "round 2", "round 3", "round 4", "sealed test",
    ]  # fmt: skip
    baseline, first, second, _, last, sealed = found.phases
    assert sum(phase.calls for phase in found.phases) == found.calls_most
    assert sum(phase.tokens for phase in found.phases) == found.tokens_most
    assert sum(phase.usd or 0 for phase in found.phases) == pytest.approx(found.usd_most)
    assert baseline.calls == sealed.calls == 10 * (2 * 2 + 1 + 2)  # two answers and the service's own, judged twice
    assert last.calls == 40 < first.calls == second.calls == 40 + 40  # nothing is written after the last round


def test_pairs_of_an_earlier_run_take_time_in_each_round(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(tmp_path)
    monkeypatch.setattr(phases, "training_seconds", lambda settings, parameters, speed, tokens: tokens)
    alone, after = (estimated(tmp_path, teacher=False, again=again) for again in ((), PAIRS))
    for number in (1, 2):
        before, now = (found.phases[number].stages[0] for found in (alone, after))
        assert now.name == before.name == "finetune"
        assert now.seconds - before.seconds == pytest.approx(3 * alone.phases[1].stages[0].seconds, rel=0.01)
    assert alone.calls_most == after.calls_most


def test_the_service_s_limits_take_time(tmp_path: Path) -> None:
    make_model(tmp_path)
    unlimited, limited = estimated(tmp_path, teacher=False), estimated(tmp_path, teacher=False, rpm=4, tpm=10**9)
    waited = limited.phases[1].seconds - unlimited.phases[1].seconds
    assert waited == pytest.approx(60 * limited.phases[1].calls / 4, abs=5)


@pytest.mark.parametrize(("drift", "teacher", "calls"), [(20, True, 20), (25, False, 20), (7, True, 7)])
def test_answers_that_are_judged_again_are_in_every_later_round(
    tmp_path: Path, drift: int, teacher: bool, calls: int
) -> None:
    """Ten prompts have two answers of the untuned model, and one of the service where that is asked."""
    make_model(tmp_path)
    without, found = (estimated(tmp_path, teacher=teacher, drift=count) for count in (0, drift))
    more = [after.calls - before.calls for before, after in zip(without.phases, found.phases, strict=True)]
    assert more == [0, calls, calls, calls, calls, calls]
    assert found.calls_most - without.calls_most == 5 * calls and (found.usd_most or 0) > (without.usd_most or 0)
