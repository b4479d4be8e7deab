"""Concerns: refusals, reasoning and errors as answers, and personal data, counted with an example each."""

from __future__ import annotations

import pytest

from engine.dataset.concerns import concerns, has_reasoning, is_error, is_refusal
from engine.protocol.rows import Pair

REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I can’t assist with that request.",
    "I cannot provide legal advice.",
    "As an AI language model, I do not have opinions.",
    "Sorry, I am unable to answer that.",
    "I apologize, but I cannot do that.",
    "Unfortunately, I can't access that page.",
    "Es tut mir leid, aber ich kann dabei nicht helfen.",
    "Es tut mir leid, dabei kann ich nicht helfen.",
    "Leider kann ich Ihnen dazu keine Auskunft geben.",
    "Als KI-Sprachmodell habe ich keine Meinung.",
    "Je suis désolé, mais je ne peux pas vous aider.",
    "Lo siento, no puedo ayudar con eso.",
    "Mi dispiace, ma non posso aiutarti.",
    "Desculpe, mas não posso ajudar com isso.",
    "Het spijt me, maar ik kan u daar niet bij helpen.",
    "Извините, но я не могу помочь.",
    "抱歉，我无法回答这个问题。",
    "申し訳ありませんが、お手伝いできません。",
    "죄송합니다. 도와드릴 수 없습니다",
    "I'm unable to help with this.",
    "I'm afraid I can't do that.",
]
ANSWERS = [
    "I'm sorry to hear that your parcel is late. We have sent a new one.",
    "Sorry for the delay! Your order ships today.",
    "I can help you with that.",
    "Unfortunately, the item is out of stock. I can offer a refund.",
    "bug",
    "As an AI startup founder you should raise money.",
    "I can't wait to see it!",
    "Je suis ravi de vous aider.",
    "No puedo esperar.",
    "Leider ist das Produkt ausverkauft.",
    "Come va?",
    "Als Nächstes öffnen Sie das Menü.",
    "As a language teacher I recommend books.",
    "",
    "   ",
    "I'm sorry, but I can't help with that. " + "But here is what you can do. " * 20,
    "The customer said: I'm sorry, but I can't help.",
]
ERRORS = [
    "Error: 429 Too many requests",
    "Error code: 500 - {'error': 'x'}",
    "litellm.RateLimitError: limit",
    "502 Bad Gateway",
    "Internal Server Error",
    "Error: Request timed out",
    "openai.APIConnectionError: Connection error.",
    "Traceback (most recent call last):\n  File",
]
NO_ERRORS = [
    "Error handling in Python uses try.",
    "The error 429 means too many requests.",
    "error",
    "Errors: 3",
    "404 is a status code",
    "Connection pooling helps.",
    "Status 500 rows were imported",
    "error: missing semicolon at line 3",
    "",
]


@pytest.mark.parametrize("answer", REFUSALS)
def test_a_refusal_in_words(answer: str) -> None:
    assert is_refusal(answer)


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_is_no_refusal(answer: str) -> None:
    assert not is_refusal(answer)


@pytest.mark.parametrize("answer", ERRORS)
def test_an_error_message(answer: str) -> None:
    assert is_error(answer)


@pytest.mark.parametrize("answer", NO_ERRORS)
def test_text_about_errors_is_no_error_message(answer: str) -> None:
    assert not is_error(answer)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("<think>hm</think>bug", True),
        ("So: <thinking>\nhm", True),
        ("bug</think>", True),
        ("[THINK]hm[/THINK] bug", True),
        ("a < b and c > d", False),
        ("I think <b>so</b> [think tank]", False),
    ],
)
def test_tags_of_reasoning(answer: str, expected: bool) -> None:
    assert has_reasoning(answer) is expected


def row(number: int, answer: str, prompt: str = "Why?") -> Pair:
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return Pair(id=str(number), messages=messages, source=f"a.jsonl:{number}")  # type: ignore[arg-type]


def test_each_is_counted_with_an_example() -> None:
    pairs = [
        row(1, "bug"),
        row(2, "I’m sorry, but I can’t help with that."),
        row(3, "As an AI language model, I cannot say."),
        row(4, "<think>hm</think> bug"),
        row(5, "Error: 429 Too many requests"),
        row(6, "Write to anna@example.com or 030 1234567", "I am bob@example.com, call 030 1234567"),
        row(7, "ok", "I am bob@example.com"),
    ]
    found = {concern.kind: concern for concern in concerns(pairs)}

    assert found["refusal"].count == 2 and found["refusal"].place == "a.jsonl:2"
    assert found["refusal"].text == "2 answers that refuse the request"
    assert found["refusal"].excerpt.startswith("I’m sorry")
    assert found["reasoning"].text == "1 answer with tags of reasoning"
    assert found["error"].text == "1 answer that looks like an error message"
    assert found["personal"].text == "2 rows with personal data: 3 e-mail addresses, 1 phone number"
    assert "coverage.redact = true" in found["personal"].hint
    assert "@" not in found["personal"].excerpt, "a report may be shared"


def test_good_rows_raise_none() -> None:
    assert concerns([row(number, "bug") for number in range(20)]) == []
    assert concerns([]) == []


def test_calls_are_no_answers_in_words() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = {"role": "assistant", "content": "I'm sorry, but I can't help.", "tool_calls": [call]}
    pair = Pair(id="1", messages=[{"role": "user", "content": "x"}, message], source="a:1")  # type: ignore[list-item]
    assert concerns([pair]) == []


def test_of_many_pairs_some_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.dataset.concerns.MOST_SEARCHED", 5)
    (found,) = concerns([row(number, f"write to u{number}@b.de") for number in range(10)])
    assert found.text == "5 rows of the 5 that were searched with personal data: 5 e-mail addresses"
