from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from engine.local import adaptation
from engine.local.adaptation import adaptations
from engine.local.chat import encode, encode_prompt, render_prompt
from engine.local.chat_shape import shape_of
from engine.local.template_support import TemplateSupport
from engine.protocol.errors import InputError
from engine.protocol.rows import Message, Pair, Tool, ToolCall
from tests.engine.local.templates import ALPACA, BROKEN, GEMMA, MISTRAL, OWN, SYSTEM_LAST, TRL
from tests.tiny import CHATML, make_tokenizer

ROLES = {"s": "system", "u": "user", "a": "assistant"}
TARGET: Message = {"role": "assistant", "content": "In Graz."}


def chat(roles: str) -> list[Message]:
    """A prompt in which each turn has words of its own."""
    return [{"role": ROLES[role], "content": f"Turn <{number}>, {role}."} for number, role in enumerate(roles)]


def adapted(tokenizer: PreTrainedTokenizerFast, roles: str) -> list[tuple[str, str]]:
    """What the template is given: roles, and the numbers of the turns whose text it has."""
    given_turns = adaptations(tokenizer).of(chat(roles), []).apply(chat(roles))
    texts = {message["content"]: str(number) for number, message in enumerate(chat(roles))}
    parts = [[texts[text] for text in turn["content"].split("\n\n") if text] for turn in given_turns]
    return [(turn["role"], "".join(part)) for turn, part in zip(given_turns, parts, strict=True)]


def orders(longest: int) -> list[str]:
    return ["".join(order) for length in range(1, longest + 1) for order in product("sua", repeat=length)]


@pytest.mark.parametrize("template", BROKEN.values(), ids=BROKEN)
def test_a_template_that_fails_in_any_way_is_a_reason(template: str) -> None:
    support = TemplateSupport(make_tokenizer(template))
    reasons = [support.unsupported(Pair(id="p", messages=[*chat(roles), TARGET])) for roles in orders(2)]
    assert any(reason.startswith("misfit: the local model's chat template refuses this chat: ") for reason in reasons)


@pytest.mark.parametrize("template", OWN.values(), ids=OWN)
def test_all_turns_are_shown_once_and_in_order_or_the_pair_does_not_fit(template: str) -> None:
    tokenizer = make_tokenizer(template)
    support = TemplateSupport(tokenizer)
    for roles in orders(5):
        prompt = chat(roles)
        reason = support.unsupported(Pair(id="p", messages=[*prompt, TARGET]))
        if reason:
            assert reason.startswith("misfit: the local model's chat template "), roles
            with pytest.raises(InputError):
                encode(tokenizer, [*prompt, TARGET])
            with pytest.raises(InputError):
                encode_prompt(tokenizer, prompt)
            continue
        text = render_prompt(tokenizer, prompt)
        assert all(text.count(message["content"]) == 1 for message in prompt), roles
        said = [text.index(message["content"]) for message in prompt if message["role"] != "system"]
        assert said == sorted(said), roles
        for is_system in (True, False):
            shown = adaptations(tokenizer).of(prompt, []).apply(prompt)
            places = [text.index(turn["content"]) for turn in shown if (turn["role"] == "system") == is_system]
            assert "" in {turn["content"] for turn in shown} or places == sorted(places), roles
        encoded = encode(tokenizer, [*prompt, TARGET])
        assert encoded.prompt_ids == encode_prompt(tokenizer, prompt)
        assert tokenizer.decode(encoded.prompt_ids) == text
        assert tokenizer.decode(encoded.completion_ids).strip() == "In Graz.<|im_end|>"


@pytest.mark.parametrize(
    ("template", "roles", "expected"),
    [
        ("chatml", "ssuaasus", "ssuaasus"),
        ("tools", "asau", "asau"),
        ("mistral", "su", "u01"),
        ("mistral", "suau", "u01 a2 u3"),
        ("mistral", "uuau", "u01 a2 u3"),
        ("mistral", "s", "u0"),
        ("mistral", "sau", "u0 a1 u2"),
        ("mistral", "au", "u a0 u1"),
        ("mistral", "uas", "u0 a1 u2"),
        ("mistral", "ua", None),
        ("mistral", "aau", "u a01 u2"),
        ("system last", "suau", "suau"),
        ("system last", "ssu", "s01 u2"),
        ("system last", "usau", "u01 a2 u3"),
        ("system last", "uasu", "u0 a1 u23"),
        ("gemma", "usu", "u012"),
        ("silent", "su", "u01"),
        ("silent", "sua", "u01 a2"),
        ("zephyr", "aus", "aus"),
        ("system first", "su", "su"),
        ("system first", "u", "s u0"),
        ("system first", "au", "s a0 u1"),
        ("alpaca", "su", "u01"),
        ("alpaca", "uasu", "u0 a1 u23"),
        ("by place", "uu", "u01"),
        ("by place", "au", "u a0 u1"),
        ("user once", "us", "u01"),
        ("user once", "ua", None),
        ("qwen 3.5", "s", "u0"),
        ("qwen 3.5", "sauu", "s0 a1 u2 u3"),
        ("qwen 3.5", "suus", "s0 u1 u23"),
        ("qwen 3.5", "ssa", "s01 u a2"),
    ],
)
def test_the_smallest_change_is_made(template: str, roles: str, expected: str | None) -> None:
    tokenizer = make_tokenizer(OWN[template])
    if expected is None:
        with pytest.raises(InputError):
            adapted(tokenizer, roles)
        return
    found = [(role[0], numbers) for role, numbers in adapted(tokenizer, roles)]
    if expected == roles:
        assert adaptations(tokenizer).of(chat(roles), []).plan is None
    else:
        assert " ".join(role + numbers for role, numbers in found) == expected


@pytest.mark.parametrize(
    ("template", "roles", "notes"),
    [
        ("chatml", "ssuas", []),
        ("mistral", "su", [adaptation.NO_SYSTEM]),
        ("mistral", "uasu", [adaptation.NO_SYSTEM]),
        ("mistral", "uu", [adaptation.JOINED]),
        ("mistral", "au", [adaptation.OPENED]),
        ("system last", "ssu", [adaptation.JOINED]),
        ("system last", "us", [adaptation.LATER]),
        ("system last", "s", [adaptation.ALONE]),
        ("system last", "uuas", [adaptation.JOINED, adaptation.LATER]),
        ("system first", "u", [adaptation.SYSTEM_FIRST]),
    ],
)
def test_each_change_is_said(template: str, roles: str, notes: list[str]) -> None:
    assert list(adaptations(make_tokenizer(OWN[template])).of(chat(roles), []).notes) == notes


def test_a_system_prompt_that_is_left_out_of_some_chats_is_said() -> None:
    left_out = SYSTEM_LAST.replace("loop.last and", "loop.last and messages | length < 4 and")
    found = adaptations(make_tokenizer(left_out))
    assert found.of(chat("su"), []).notes == ()
    assert found.of(chat("suau"), []).notes == (adaptation.SOME_SYSTEM,)


def test_texts_are_joined_by_a_blank_line_and_empty_ones_left_out() -> None:
    tokenizer = make_tokenizer(MISTRAL)
    prompt: list[Message] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": " "},
        {"role": "user", "content": "Where is it?"},
    ]
    assert render_prompt(tokenizer, prompt) == "<|im_start|>[INST] Be brief.\n\nWhere is it? [/INST]"


def test_a_role_that_is_shown_as_another_s_is_noticed() -> None:
    tokenizer = make_tokenizer(ALPACA)
    assert render_prompt(tokenizer, chat("su")) == "### Instruction:\nTurn <0>, s.\n\nTurn <1>, u.\n\n### Response:\n"


def test_a_shape_is_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer, rendered = make_tokenizer(GEMMA), []
    apply = tokenizer.apply_chat_template
    monkeypatch.setattr(tokenizer, "apply_chat_template", lambda *a, **k: rendered.append(1) or apply(*a, **k))
    support = TemplateSupport(tokenizer)
    pairs = [Pair(id="p", messages=[*chat("sua"), *chat("u"), TARGET]) for _ in range(3)]
    assert support.unsupported(pairs[0]) == ""
    rendered.clear()
    assert [support.unsupported(pair) for pair in pairs] == ["", "", ""]
    assert not rendered
    assert support.notes == {adaptation.NO_SYSTEM: 4}


def test_another_template_is_another_adaptation() -> None:
    tokenizer = make_tokenizer(GEMMA)
    assert adapted(tokenizer, "su") == [("user", "01")]
    tokenizer.chat_template = CHATML
    assert adapted(tokenizer, "su") == [("system", "0"), ("user", "1")]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NAMES = st.text("abc_", min_size=1, max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=5,
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=3)


@st.composite
def chats(draw: st.DrawFn) -> tuple[list[Message], list[Tool]]:
    """Chats of any order, with calls and results that may not belong together."""
    messages: list[Message] = []
    calls = 0
    for role in draw(st.lists(st.sampled_from(["system", "user", "assistant", "call", "tool"]), min_size=1)):
        message: Message = {"role": "assistant" if role == "call" else role, "content": draw(TEXTS)}
        if role == "call":
            message["tool_calls"] = [
                call(calls + n, draw(NAMES), draw(OBJECTS)) for n in range(draw(st.integers(1, 2)))
            ]
            calls += len(message["tool_calls"])
        if role == "tool":
            message["tool_call_id"] = f"call{draw(st.integers(0, 3)):05d}"
        messages.append(message)
    target = {"role": "assistant", "content": "Yes.", "tool_calls": [call(calls, draw(NAMES), draw(OBJECTS))]}
    messages.append(draw(st.sampled_from([TARGET, target])))  # type: ignore[list-item]
    tools = [
        {"type": "function", "function": {"name": name, "description": draw(TEXTS), "parameters": draw(OBJECTS)}}
        for name in draw(st.lists(NAMES, max_size=2))
    ]
    return messages, tools


def call(number: int, name: str, arguments: dict[str, Any]) -> ToolCall:
    function = {"name": name, "arguments": json.dumps(arguments)}
    return {"id": f"call{number:05d}", "type": "function", "function": function}  # type: ignore[typeddict-item]


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, PreTrainedTokenizerFast]:
    return {name: make_tokenizer(template) for name, template in (OWN | TRL).items()}


@settings(max_examples=300)
@given(chats(), st.sampled_from([*OWN, *TRL]))
@example(([*chat("u"), TARGET], []), "smolvlm.jinja")
def test_what_fits_can_be_encoded_and_all_else_has_a_reason(
    tokenizers: dict[str, PreTrainedTokenizerFast], given_chat: tuple[Sequence[Message], list[Tool]], name: str
) -> None:
    messages, tools = given_chat
    tokenizer = tokenizers[name]
    pair = Pair(id="p", messages=list(messages), tools=tools)
    reason = TemplateSupport(tokenizer).unsupported(pair)
    if reason:
        assert reason.startswith("misfit: ")
        assert "\n" not in reason
        return
    assert encode(tokenizer, messages, tools).prompt_ids == encode_prompt(tokenizer, messages[:-1], tools)
    adaptations(tokenizer).find(shape_of(messages[:-1]), bool(tools)).apply(messages[:-1])
