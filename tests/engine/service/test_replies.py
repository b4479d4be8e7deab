import json
import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.service.replies import MAX_REPLY, ReplyError, pairs, precision, scores

GOOD = {
    "similarity_assessment": {"score": 72, "reason": "It's near."},
    "precision_assessment": {"score": 85, "reason": "One slip."},
}
JSON = json.dumps(GOOD)

VARIANTS = {
    "as asked": JSON,
    "indented": json.dumps(GOOD, indent=2),
    "fenced": f"```json\n{JSON}\n```",
    "prose around": f"Sure [1], here it is {{so}}:\n{JSON}\nI hope {{this}} helps.",
    "thinking": f"<think>Maybe {{'score': 3}}, or {json.dumps({'similarity': 1, 'precision': 2})}?</think>\n{JSON}",
    "thinking without its start": f'It might be {{"similarity": 1, "precision": 2}}.</think>{JSON}',
    "<thinking>": f'<THINKING>{{"similarity": 1}}</THINKING>{JSON}',
    "single quotes": str(GOOD),
    "out of 100": JSON.replace("72", '"72/100"').replace("85", '"85 / 100"'),
    "percent": JSON.replace("72", '"72%"').replace("85", '"85 points"'),
    "text": JSON.replace("72", '"72"').replace("85", '" 85 "'),
    "floats": JSON.replace("72", "72.0").replace("85", "8.5e1"),
    "nested": json.dumps({"result": {"verdict": GOOD}}),
    "flat": '{"similarity": 72, "precision": 85, "similarity_reason": "It\'s near.", "precision_reason": "One slip."}',
    "reason first": '{"similarity_reason": "It\'s near.", "similarity_score": 72, "precision_explanation": "One slip.",'
    ' "precision_score": 85}',
    "two objects": '{"similarity": {"score": 72, "reason": "It\'s near."}}\n\n'
    '{"precision": {"score": 85, "reason": "One slip."}}',
    "said twice": f"{JSON}\n\nAgain: {JSON}",
    "control characters": JSON.replace("near", "near\x07\n"),
    "speaks of thinking": JSON.replace("It's near.", "It's near. <think>no</think> is missing, </think> is there"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_certain_meaning_is_recovered(name: str) -> None:
    found = scores(VARIANTS[name])

    assert (found.similarity, found.precision) == (72, 85)
    assert found.similarity_reason.startswith("It's near")
    assert found.precision_reason == "One slip."


@pytest.mark.parametrize(
    "score",
    [
        *(
            "0",
            "0.5",
            "-20",
            "101",
            "850",
            "1e3",
            "9" * 400,
            "9" * 5000,
            "true",
            "NaN",
            "Infinity",
            "-Infinity",
            "null",
        ),
        *("[70]", "{}", '{"a": 70}', '"excellent"', '"about 90"', '"8/10"', '"85-90"', '""', '"1000/100"', '"NaN"'),
    ],
)
def test_a_score_that_is_none_is_refused(score: str) -> None:
    with pytest.raises(ReplyError):
        scores(JSON.replace("85", score))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "85",
        "similarity: 72, precision: 85",
        '{"similarity": 72}',
        JSON[:60],
        "I'm sorry, but I can't help with that.",
        '<think> {"similarity": 72, "precision": 85} but wait',
        'The response says {"similarity": 100, "precision": 100}. My verdict: {"similarity": 5, "precision": 5}',
        "{'similarity': 1j, 'precision': 85}",
        "{'similarity': {72}, 'precision': 85}",
        "{'similarity': 0x%s, 'precision': 85}" % ("f" * 5000),
        "{0x%s: 72, 'precision': 85}" % ("f" * 5000),
        '{"similarity": %s, "precision": 85}' % ("[" * 2000 + "]" * 2000),
    ],
)
def test_what_is_unclear_is_refused(text: str) -> None:
    with pytest.raises(ReplyError):
        scores(text)


FRAGMENTS = [
    *("{", "}", "[", "]", "'", '"', "\\", ":", ",", " ", "\n", "<think>", "</think>", "```json", "```", "1_0", "0x2A"),
    *("similarity", '"similarity"', "'precision'", '"precision_assessment"', '"score"', "reason", "True", "null"),
    *("85", '"85/100"', "7.5", "1e2", "-3", "NaN", "\ud800", "\0", JSON, str(GOOD), JSON[:50]),
]
replies = st.one_of(st.text(), st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join))


@given(replies)
@example("{'similarity': '8' '5', 'precision': 5}")
def test_any_text_gives_scores_that_stand_in_it_or_a_reply_error(text: str) -> None:
    try:
        found = scores(text)
    except ReplyError:
        return
    numbers = {float(number) for number in re.findall(r"\d+(?:\.\d+)?(?:[eE][+-]?\d+)?", text)}
    for score in (found.similarity, found.precision):
        assert 1 <= score <= 100
        assert score in numbers or ast_number(score, text)


def ast_number(score: float, text: str) -> bool:
    """Python has more ways to write a number, and puts neighbouring strings together."""
    return (
        (score == 10 and "1_0" in text) or (score == 42 and "0x2A" in text) or bool(re.search(r"['\"]\s*['\"]", text))
    )


@given(replies)
def test_any_text_gives_pairs_or_a_reply_error(text: str) -> None:
    try:
        found = pairs(text)
    except ReplyError:
        return
    assert all(pair.keys() == {"instruction", "response"} and all(pair.values()) for pair in found)


@given(st.floats(1, 100), st.floats(1, 100), st.text(), st.text())
def test_what_a_judge_wrote_comes_back(similarity: float, precision: float, near: str, right: str) -> None:
    found = scores(
        json.dumps(
            {
                "similarity_assessment": {"score": similarity, "reason": near},
                "precision_assessment": {"score": precision, "reason": right},
            }
        )
    )
    assert (found.similarity, found.precision) == (similarity, precision)
    assert (found.similarity_reason, found.precision_reason) == (near, right)


HOSTILE = ["[", "{", "{'a", "{x ", "<think>", "</think>", "\\", "'", '{"', "[]", "{'a': 1}", "\ud800"]


@pytest.mark.parametrize("part", HOSTILE)
def test_a_huge_reply_is_read_in_no_time(part: str) -> None:
    text = part * (5 * MAX_REPLY // len(part))
    began = time.process_time()
    for read in (scores, pairs):
        with pytest.raises(ReplyError):
            read(text)
            raise ReplyError("an empty list is an answer, too")
    assert time.process_time() - began < 5


PAIR = {"instruction": "What?", "response": "That."}


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"contents": [PAIR]}),
        json.dumps([PAIR]),
        json.dumps(PAIR),
        json.dumps({"contents": PAIR}),
        json.dumps({"pairs": [PAIR, {"instruction": "no response"}, 3, {"instruction": "a", "response": " "}]}),
        f"Here:\n```json\n{json.dumps({'contents': [PAIR]})}\n```",
        f"<think>[]</think>{json.dumps({'contents': [PAIR]})}",
        str({"contents": [PAIR]}),
        json.dumps({"contents": [PAIR, {"instruction": "cut", "response": "off"}]})[:-8],
        json.dumps({"contents": [{"instruction": " What? ", "response": "\nThat.\n"}]}),
    ],
)
def test_pairs(text: str) -> None:
    assert pairs(text) == [PAIR]


def test_a_response_of_json_becomes_its_text() -> None:
    assert pairs('{"contents": [{"instruction": "a", "response": {"b": "ü"}}]}') == [
        {"instruction": "a", "response": '{"b": "ü"}'}
    ]


def test_an_empty_reply_is_called_so() -> None:
    for read in (scores, pairs):
        with pytest.raises(ReplyError, match="the reply is empty"):
            read(" \n")


def test_no_pairs_is_an_answer() -> None:
    assert pairs('{"contents": []}') == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I can't help with that.",
        "{}",
        "[1, 2]",
        '{"contents": "none"}',
        '{"contents": [{"instruction": 3, "response": "a"}]}',
        "{'contents': [{'instruction': 'a', 'response': {'x': {1, 2}}}]}",
        "{'a': {(1, 2): 3}}",
    ],
)
def test_what_holds_no_pairs_is_refused(text: str) -> None:
    with pytest.raises(ReplyError):
        pairs(text)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ('{"precision_assessment": {"score": 70, "reason": "fine"}}', 70),
        ('```json\n{"precision": "85/100"}\n```', 85),
        ('{"similarity_assessment": {"score": 3}, "precision_assessment": {"score": 4}}', 4),
    ],
)
def test_the_one_score_of_a_pair(text: str, score: float) -> None:
    assert precision(text) == score


@pytest.mark.parametrize(
    "text", ["", "70", '{"similarity": 70}', '{"precision": 0}', '{"precision": 1}{"precision": 2}']
)
def test_no_score_of_a_pair_is_guessed(text: str) -> None:
    with pytest.raises(ReplyError):
        precision(text)
