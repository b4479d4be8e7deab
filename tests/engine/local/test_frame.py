from __future__ import annotations

from datetime import date
from itertools import pairwise

import pytest

from engine.local.chat import (
    encode,
    encode_prompt,
    end_token_id,
    end_token_ids,
    read_answer,
    reference,
    render_prompt,
    sample_text,
)
from engine.local.rendering import rendering
from engine.local.template_support import TemplateSupport
from engine.local.thinking import unclosed
from engine.protocol.errors import InputError
from engine.protocol.rows import Message, Pair, Tool
from tests.engine.local.families import DAY, FAMILIES, Family, family_tokenizer

USABLE = {name: family for name, family in FAMILIES.items() if not family.problem}
CALLING = {name: family for name, family in USABLE.items() if family.call}
ASKED: list[Message] = [{"role": "user", "content": "Hi."}]
YES: Message = {"role": "assistant", "content": "Yes."}
EMPTY: Message = {"role": "system", "content": ""}
CALL: Message = {
    "role": "assistant",
    "content": "",
    "tool_calls": [
        {"id": "call00001", "type": "function", "function": {"name": "track", "arguments": '{"parcel": "7"}'}}
    ],
}
RESULT: Message = {"role": "tool", "content": "Graz", "tool_call_id": "call00001"}
TOOL: Tool = {"type": "function", "function": {"name": "track", "description": "", "parameters": {}}}


def families(chosen: dict[str, Family]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("family", chosen.values(), ids=chosen)


@families(USABLE)
def test_training_shows_what_the_template_writes(family: Family) -> None:
    tokenizer = family_tokenizer(family)
    encoded = encode(tokenizer, [*ASKED, YES])
    assert tokenizer.decode(encoded.prompt_ids) == family.prompt
    assert tokenizer.decode(encoded.completion_ids) == family.completion
    assert encoded.prompt_ids == encode_prompt(tokenizer, ASKED)
    assert render_prompt(tokenizer, ASKED) == family.prompt
    assert sample_text(tokenizer, Pair(id="p", messages=[*ASKED, YES])) == family.prompt + family.completion
    whole = tokenizer(family.prompt + family.completion, add_special_tokens=False).input_ids
    assert encoded.prompt_ids + encoded.completion_ids == whole
    assert encoded.prompt_ids.count(tokenizer.bos_token_id) == family.prompt.count("<s>") <= 1


@families(USABLE)
def test_a_turn_ends_with_the_token_of_the_template(family: Family) -> None:
    tokenizer = family_tokenizer(family)
    end = tokenizer.convert_ids_to_tokens(end_token_id(tokenizer))
    assert family.completion.endswith(end)
    assert end_token_id(tokenizer) in end_token_ids(tokenizer)
    assert encode(tokenizer, [*ASKED, YES]).completion_ids.count(end_token_id(tokenizer)) == 1


@families(USABLE)
def test_thinking_is_off(family: Family) -> None:
    tokenizer = family_tokenizer(family)
    assert unclosed(render_prompt(tokenizer, ASKED)) is None
    completion = tokenizer.decode(encode(tokenizer, [*ASKED, YES]).completion_ids)
    assert not any(word in completion for word in ("think", "THINK", "analysis"))
    found = rendering(tokenizer).arguments(False)
    assert {name: value for name, value in found.items() if name != "enable_thinking"} == dict(family.arguments)


@families(USABLE)
def test_an_answer_is_read_without_what_is_around_it(family: Family) -> None:
    tokenizer = family_tokenizer(family)
    assert read_answer(tokenizer, encode(tokenizer, [*ASKED, YES]).completion_ids[:-1]) == ("Yes.", False)
    assert reference(tokenizer, [*ASKED, YES]) == "Yes."


@families(USABLE)
def test_later_turns_are_shown_after_earlier_ones(family: Family) -> None:
    tokenizer = family_tokenizer(family)
    longer = [*ASKED, YES, {"role": "user", "content": "Sure?"}]
    encoded = encode(tokenizer, [*longer, YES])
    assert encoded.prompt_ids == encode_prompt(tokenizer, longer)
    assert tokenizer.decode(encoded.completion_ids) == family.completion
    places = [tokenizer.decode(encoded.prompt_ids).find(text) for text in ("Hi.", "Yes.", "Sure?")]
    assert all(-1 < before < after for before, after in pairwise(places))


@families(USABLE)
def test_an_empty_system_prompt_refuses_no_row(family: Family) -> None:
    tokenizer = family_tokenizer(family)
    assert TemplateSupport(tokenizer).unsupported(Pair(id="p", messages=[EMPTY, *ASKED, YES])) == ""
    encoded = encode(tokenizer, [EMPTY, *ASKED, YES])
    assert tokenizer.decode(encoded.completion_ids) == family.completion
    assert encoded.prompt_ids == encode_prompt(tokenizer, [EMPTY, *ASKED])


@families(CALLING)
def test_calls_are_learned_with_the_same_habits(family: Family) -> None:
    tokenizer = family_tokenizer(family)
    support = TemplateSupport(tokenizer)
    encoded = encode(tokenizer, [*ASKED, CALL], [TOOL])
    assert support.unsupported(Pair(id="c", messages=[*ASKED, CALL], tools=[TOOL])) == ""
    assert tokenizer.decode(encoded.completion_ids) == family.call
    assert encoded.completion_ids[-1] in end_token_ids(tokenizer)
    assert tokenizer.decode(encoded.prompt_ids).endswith(family.prompt.removeprefix("<s><|SYS|>Be kind."))
    assert encoded.prompt_ids == encode_prompt(tokenizer, ASKED, [TOOL])
    assert "think" not in reference(tokenizer, [*ASKED, CALL], [TOOL])
    answered = [*ASKED, CALL, RESULT, YES]
    assert support.unsupported(Pair(id="a", messages=answered, tools=[TOOL])) == ""
    assert tokenizer.decode(encode(tokenizer, answered, [TOOL]).completion_ids) == family.completion


@families(USABLE)
def test_prompts_are_the_same_on_another_day(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    class Later(date):
        @classmethod
        def today(cls) -> Later:
            return cls(2031, 5, 6)

    monkeypatch.setattr("engine.local.rendering.date", Later)
    assert render_prompt(family_tokenizer(family, DAY), ASKED) == family.prompt
    other = render_prompt(family_tokenizer(family, Later.today()), ASKED)
    assert (other == family.prompt) == ("31" not in family.prompt)


@families({name: family for name, family in FAMILIES.items() if family.problem})
def test_an_open_thinking_block_that_nothing_closes_is_refused(family: Family) -> None:
    tokenizer = family_tokenizer(family)
    for act in (lambda: encode(tokenizer, [*ASKED, YES]), lambda: encode_prompt(tokenizer, ASKED)):
        with pytest.raises(InputError, match=family.problem):
            act()


@pytest.mark.parametrize(
    ("name", "written", "read"),
    [
        ("thinking off by enable_thinking", "<think>\nHm.\n</think>\n\nYes.", ("Yes.", True)),
        ("thinking off by enable_thinking", "Hm.\n</think>\n\nYes.", ("Yes.", True)),
        ("thinking off by enable_thinking", "<think>\nHm, this takes", ("", True)),
        ("thinking off by enable_thinking", "Yes, <think> is a tag.", ("Yes, <think> is a tag.", False)),
        (
            "a lead before the answer, and channels",
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
            ("Yes.", True),
        ),
        ("a lead before the answer, and channels", "<|channel|>analysis<|message|>Hm.", ("", True)),
        (
            "a lead before the answer, and channels",
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant to=functions.track<|channel|>commentary json"
            '<|message|>{"parcel": "7"}',
            ('to=functions.trackcommentary json{"parcel": "7"}', True),
        ),
        (
            "a lead, markers behind the answer, the prompt always there",
            "<|START_THINKING|>Hm.<|END_THINKING|><|START_RESPONSE|>Yes.<|END_RESPONSE|>",
            ("Yes.", True),
        ),
        ("a lead, markers behind the answer, the prompt always there", "Yes.", ("Yes.", False)),
        ("a date from the clock", "<think>Hm.</think> Yes.", ("Yes.", True)),
    ],
)
def test_what_a_model_thinks_first_is_no_part_of_its_answer(name: str, written: str, read: tuple[str, bool]) -> None:
    tokenizer = family_tokenizer(FAMILIES[name])
    assert read_answer(tokenizer, tokenizer(written, add_special_tokens=False).input_ids) == read


def test_trimmed_targets_are_learned_as_they_are_shown() -> None:
    tokenizer = family_tokenizer(FAMILIES["no system role, strict turns, trimmed"])
    encoded = encode(tokenizer, [*ASKED, {"role": "assistant", "content": "\n Yes. "}])
    assert tokenizer.decode(encoded.completion_ids) == "Yes.<end_of_turn>"
