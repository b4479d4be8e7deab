"""What data asks of a model: its longest pair, tools, languages."""

from __future__ import annotations

from typing import Any

from engine.preflight.needs import SAMPLE, needs_of
from engine.protocol.rows import Pair

GERMAN = "Guten Tag, ich habe seit gestern ein Problem mit meiner Rechnung und brauche bitte Ihre Hilfe."
ENGLISH = "Hello, since yesterday I have had a problem with my invoice and would like to ask for your help."
TOOL: dict[str, Any] = {"type": "function", "function": {"name": "look", "parameters": {}}}
CALL: dict[str, Any] = {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def pair(prompt: str, response: str, **more: Any) -> Pair:
    messages: Any = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    return Pair(id=prompt, messages=messages, **more)


def test_no_pair_has_no_needs() -> None:
    assert needs_of([]) is None


def test_the_longest_pair_and_the_mean_are_tokens_of_four_characters() -> None:
    short, long = pair("a" * 40, "b" * 40), pair("a" * 4_000, "b" * 4_000)
    needs = needs_of([short, long])
    assert needs is not None
    assert needs.pairs == 2 and 2_000 <= needs.longest <= 2_020
    assert 1_000 <= needs.mean <= 1_020


def test_tools_are_counted_apart_from_calls_of_them() -> None:
    offered, plain = pair("one", "yes", tools=[TOOL]), pair("three", "yes")
    called = pair("two", "", tools=[TOOL])
    called.messages[-1]["tool_calls"] = [CALL]  # type: ignore[typeddict-item]
    needs = needs_of([offered, called, plain])
    assert needs is not None and (needs.pairs, needs.tools, needs.calls) == (3, 2, 1)
    assert "2 with tools" in needs.line


def test_languages_are_detected_in_prompts_and_responses() -> None:
    needs = needs_of([pair(f"{GERMAN} {number}", ENGLISH) for number in range(3 * SAMPLE)])
    assert needs is not None and needs.languages == {"de": 0.5, "en": 0.5}
    assert needs.line.endswith("languages, detected: de 50%, en 50%")


def test_texts_too_short_to_tell_have_no_language_and_a_named_one_counts() -> None:
    pairs = [pair(f"ticket {number}", "bug") for number in range(5)]
    unknown, named = needs_of(pairs), needs_of(pairs, "ja")
    assert unknown is not None and unknown.languages == {}
    assert named is not None and named.languages == {"ja": 1.0}


def test_a_text_in_another_script_has_more_tokens_than_its_characters_tell() -> None:
    from engine.protocol.rows import about_tokens

    assert about_tokens("abcd") == 1
    assert about_tokens("日本語です") == 15 / 4
    assert about_tokens("\ud800") > 0
