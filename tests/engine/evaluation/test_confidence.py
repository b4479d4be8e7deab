import pytest

from engine.evaluation.confidence import agreement, broken_answers, confidences
from engine.evaluation.contract import breach
from engine.protocol.decision import Confidence
from engine.protocol.rows import Response


def response(sample: int, text: str, logprob: float | None = -0.5, id_: str = "p") -> Response:
    return Response(
        id=id_,
        sample=sample,
        prompt=[],
        target="",
        response=text,
        finish_reason="stop",
        prompt_tokens=1,
        completion_tokens=1,
        model="m",
        adapter="",
        mean_logprob=logprob,
        least_logprob=logprob,
    )


@pytest.mark.parametrize(
    ("text", "others", "found"),
    [
        ("a b", ["a  B"], 1.0),
        ("a b", ["c d"], 0.0),
        ("a b c d", ["a b", "a b c d"], 0.8333),
        ('{"kind":"bug"}', ['{"kind": "access"}'], 0.8889),
        ("", [""], 1.0),
        ("a", [], None),
    ],
)
def test_agreement_is_the_share_of_words_that_other_samples_have_too(
    text: str, others: list[str], found: float | None
) -> None:
    assert agreement(text, others) == found


def test_an_answers_confidence_comes_from_its_own_row_and_its_prompts_other_samples() -> None:
    responses = [response(0, "a b", -0.1), response(1, "a c", None), response(0, "x", id_="q")]
    broken = broken_answers([breach(responses[1], "too long")])

    assert confidences(responses, broken) == {
        ("p", 0): Confidence(mean_logprob=-0.1, least_logprob=-0.1, agreement=0.5, keeps_contract=True),
        ("p", 1): Confidence(mean_logprob=None, least_logprob=None, agreement=0.5, keeps_contract=False),
        ("q", 0): Confidence(mean_logprob=-0.5, least_logprob=-0.5, agreement=None, keeps_contract=True),
    }
