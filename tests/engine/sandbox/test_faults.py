import json
from collections import Counter

import pytest

from engine.protocol.errors import InputError
from engine.sandbox.completions import Completion
from engine.sandbox.faults import COMPLETION_KINDS, KINDS, Faults, spoil
from engine.service.output_parsing import parse_scores
from engine.service.thoughts import without_thoughts

VERDICT = json.dumps({"similarity_assessment": {"score": 90}, "precision_assessment": {"score": 80}})


def test_parse() -> None:
    assert Faults.parse(" 429=0.1, reset=0.02 ,").shares == {"429": 0.1, "reset": 0.02}
    assert Faults.parse("").shares == {}


@pytest.mark.parametrize("spec", ["429", "429=", "429=much", "429=nan", "429=2", "429=-1", "429=0.6,500=0.6"])
def test_bad_specs(spec: str) -> None:
    with pytest.raises(InputError):
        Faults.parse(spec)


def test_unknown_kind_lists_the_kinds() -> None:
    with pytest.raises(InputError) as raised:
        Faults.parse("418=0.1")
    assert all(kind in raised.value.hint for kind in KINDS)


def test_shares_are_kept_and_choices_repeat_in_a_new_process() -> None:
    spec = "429=0.2,garbage=0.1"
    first, second = Faults.parse(spec), Faults.parse(spec)
    chosen = [first.choose(f"prompt {number}") for number in range(5000)]

    assert chosen == [second.choose(f"prompt {number}") for number in range(5000)]
    counts = Counter(chosen)
    assert counts["429"] == pytest.approx(1000, rel=0.15)
    assert counts["garbage"] == pytest.approx(500, rel=0.2)


def test_a_retry_can_succeed() -> None:
    faults = Faults.parse("500=0.5")

    for number in range(100):
        assert None in [faults.choose(f"prompt {number}") for _ in range(20)]


def test_certain_fault_hits_always() -> None:
    faults = Faults.parse("empty=1")

    assert {faults.choose(str(number)) for number in range(1000)} == {"empty"}


def test_spoilt_replies() -> None:
    verdict = Completion("judge", VERDICT)
    replies = {kind: spoil(kind, verdict) for kind in COMPLETION_KINDS}

    assert replies["empty"].text == ""
    assert replies["truncated"].finish_reason == "length"
    assert VERDICT.startswith(replies["truncated"].text) and replies["truncated"].text != VERDICT
    assert f"```json\n{VERDICT}\n```" in replies["fenced"].text
    assert replies["cut"] == Completion("judge", "", "length")
    assert replies["thoughts"].text.endswith(f"</think>\n\n{VERDICT}")
    assert parse_scores(replies["thoughts"].text) == parse_scores(VERDICT)
    assert "{" not in replies["garbage"].text + replies["refusal"].text
    scores = [part["score"] for part in json.loads(replies["badscore"].text).values()]
    assert not any(isinstance(score, int) and 1 <= score <= 100 for score in scores)


def test_an_answer_with_thoughts_is_read_without_them() -> None:
    assert without_thoughts(spoil("thoughts", Completion("ticket", '{"kind": "bug"}')).text) == '{"kind": "bug"}'


def test_only_verdicts_have_scores_to_spoil() -> None:
    assert spoil("badscore", Completion("ticket", "{}")).text == "{}"
