from __future__ import annotations

from datetime import date
from itertools import pairwise

import pytest

from engine.local.chat import (
    encode,
    encode_prompt,
    end_token_ids,
    read_answer,
    reference,
    render_prompt,
    sample_text,
)
from engine.local.lengths import measure
from engine.local.rendering import rendering
from engine.local.template_support import TemplateSupport
from engine.local.thinking import unclosed
from engine.local.training.rows import token_rows
from engine.protocol.errors import InputError
from engine.protocol.rows import Chat, Message, Pair, Tool
from tests.engine.local.families import DAY, FAMILIES, HEAD, OPEN, TURN, Family, family_tokenizer

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
    assert encoded.prompt_ids.count(tokenizer.bos_token_id) == family.prompt.count("<s>")


@families(USABLE)
def test_a_turn_ends_with_the_token_of_the_template(family: Family) -> None:
    tokenizer = family_tokenizer(family)
    completion = encode(tokenizer, [*ASKED, YES]).completion_ids
    assert family.completion.endswith(tokenizer.convert_ids_to_tokens(completion[-1]))
    assert sum(token in end_token_ids(tokenizer) for token in completion) == 1


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


@families(CALLING)
def test_generation_stops_behind_the_last_of_several_calls(family: Family) -> None:
    tokenizer = family_tokenizer(family)
    calls = [call | {"id": id_} for id_ in ("call00001", "call00002") for call in CALL["tool_calls"]]
    twice: Message = {"role": "assistant", "content": "", "tool_calls": calls}
    if reason := TemplateSupport(tokenizer).unsupported(Pair(id="t", messages=[*ASKED, twice], tools=[TOOL])):
        assert reason.endswith("leaves out tool calls or their results")  # it shows one call alone
        return
    ids = encode(tokenizer, [*ASKED, twice], [TOOL]).completion_ids
    assert [token in end_token_ids(tokenizer) for token in ids] == [False] * (len(ids) - 1) + [True]


def test_calls_that_begin_with_the_end_of_texts_are_refused() -> None:
    """Generation would stop before them."""
    tokenizer = family_tokenizer(
        Family(
            "{{ tools | tojson if tools else '' }}{% for m in messages %}{{ m.role + ':' + m.content }}"
            "{% for c in m.tool_calls or [] %}{{ '<|sep|>call:' + (c.function | tojson) }}{% endfor %}<|sep|>"
            "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}",
            tokens=("<|sep|>",),
        )
    )
    support = TemplateSupport(tokenizer)
    assert support.unsupported(Pair(id="t", messages=[*ASKED, YES], tools=[TOOL])) == ""
    reason = support.unsupported(Pair(id="c", messages=[*ASKED, CALL], tools=[TOOL]))
    assert reason.endswith("has <|sep|>, which ends responses, inside of one")


@families(USABLE)
@pytest.mark.parametrize("said", ["Größe", "🙂", "日本 é"])
def test_a_character_of_several_tokens_stays_whole(said: str, family: Family) -> None:
    tokenizer = family_tokenizer(family)
    assert reference(tokenizer, [*ASKED, {"role": "assistant", "content": said}]) == said


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
        (
            "thoughts shown with calls only, by channels",
            "<|channel>thought\nHm.\n<channel|><call>{}</call>",
            ("<call>{}</call>", True),
        ),
        ("thoughts shown with calls only, by channels", "<|channel>thought\nHm.\n<channel|>Yes.", ("Yes.", True)),
        ("a closing tag before each answer", "<mm:think>Hm.</mm:think>Yes.", ("Yes.", True)),
        ("a closing tag before each answer, without a switch", "</think>Yes.", ("Yes.", True)),
        ("thinking tags put together", "<think:open>Hm.</think:open>Yes.", ("Yes.", True)),
        ("an open thinking block in words", "Hm.\n[FINAL RESPONSE]\nYes.", ("Yes.", True)),
        ("an open thinking block in words", "I reason:\nHm.\n[FINAL RESPONSE]\nYes.", ("Yes.", True)),
        ("a header before an answer behind a result", "<|turn>assistant\nYes.", ("Yes.", False)),
        ("a date from the clock", "<think>Hm.</think> Yes.", ("Yes.", True)),
        ("a date from the clock", "Close it by </think>.", ("Close it by </think>.", False)),
    ],
)
def test_what_a_model_thinks_first_is_no_part_of_its_answer(name: str, written: str, read: tuple[str, bool]) -> None:
    tokenizer = family_tokenizer(FAMILIES[name])
    assert read_answer(tokenizer, tokenizer(written, add_special_tokens=False).input_ids) == read


@pytest.mark.parametrize(
    ("target", "learned"),
    [
        ("<think>\nHm.\n</think>\n\nYes.", "Yes."),
        ("<think> opens a block.", "<think> opens a block."),
        ("<think>Hm.</think>", "<think>Hm.</think>"),
        ("Use <think>Hm.</think>.", "Use <think>Hm.</think>."),
    ],
)
def test_a_recorded_answer_is_learned_without_its_thinking(target: str, learned: str) -> None:
    tokenizer = family_tokenizer(FAMILIES["the eos token behind the whole chat"])
    encoded = encode(tokenizer, [*ASKED, {"role": "assistant", "content": target}])
    assert tokenizer.decode(encoded.completion_ids) == learned + "<|im_end|>"


def test_trimmed_targets_are_learned_as_they_are_shown() -> None:
    tokenizer = family_tokenizer(FAMILIES["no system role, strict turns, trimmed"])
    encoded = encode(tokenizer, [*ASKED, {"role": "assistant", "content": "\n Yes. "}])
    assert tokenizer.decode(encoded.completion_ids) == "Yes.<end_of_turn>"


TAGGED = ["Close with </think> tag.", "<think> opens, </think> closes.", "a\n</think>\nb <think>", "<think>x</think>"]
QWEN = (
    HEAD + "{% if m.role == 'assistant' %}{% if '</think>' in m.content %}"
    "{{ '<think>\n' + m.content.split('</think>')[0].split('<think>')[1] + '\n</think>\n\n' }}"
    "{{ m.content.split('</think>')[1] }}{% else %}{{ '<think>\n\n</think>\n\n' + m.content }}{% endif %}"
    "{% else %}{{ m.content.split('</think>')[-1] }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}" + OPEN
)
SPLITTING = {
    "qwen": Family(QWEN),
    "r1": FAMILIES["an open thinking block, cut from history"],
    "no thinking": FAMILIES["two end tokens"],
}


@pytest.mark.parametrize("target", TAGGED[:1] + TAGGED[2:])
@families(SPLITTING)
def test_an_answer_that_speaks_of_thinking_tags_is_learned_whole(family: Family, target: str) -> None:
    tokenizer = family_tokenizer(family)
    asked: list[Message] = [{"role": "user", "content": "What does </think> do?"}]
    messages: list[Message] = [*asked, {"role": "assistant", "content": target}]
    encoded = encode(tokenizer, messages)
    assert tokenizer.decode(encoded.completion_ids[:-1]).startswith(target)
    assert encoded.prompt_ids == encode_prompt(tokenizer, asked)
    assert "What does </think> do?" in tokenizer.decode(encoded.prompt_ids)
    later: list[Message] = [*messages, {"role": "user", "content": "Sure?"}]
    assert target in render_prompt(tokenizer, later)


@pytest.mark.parametrize("family", SPLITTING.values(), ids=SPLITTING)
def test_a_recorded_thought_is_cut_before_any_template_sees_it(family: Family) -> None:
    tokenizer = family_tokenizer(family)
    target: Message = {"role": "assistant", "content": "<think>Hm.</think>\n\nEnd with </think>."}
    ids = encode(tokenizer, [*ASKED, target]).completion_ids[:-1]
    assert tokenizer.decode(ids).startswith("End with </think>.")
    assert read_answer(tokenizer, ids).text.startswith("End with </think>.")


def test_thinking_tags_of_earlier_responses_are_the_templates_even_as_tokens() -> None:
    tags = ("<|im_start|>", "<|im_end|>", "<think>", "</think>")
    tokenizer = family_tokenizer(Family(FAMILIES["an open thinking block, cut from history"].template, tokens=tags))
    asked: Message = {"role": "user", "content": "<think>What?</think> Hi."}
    thought: Message = {"role": "assistant", "content": "<think>Hm.</think>Yes."}
    prompt = encode_prompt(tokenizer, [asked, thought, *ASKED])
    shown = tokenizer.decode(prompt)
    assert "Hm." not in shown and "Yes." in shown and "What?" in shown
    assert prompt.count(tokenizer.convert_tokens_to_ids("<think>")) == 1  # that of the new response


def test_a_response_that_the_template_cuts_is_refused() -> None:
    tokenizer = family_tokenizer(Family(HEAD + TURN.replace("m.content", "m.content.split('|')[0]") + OPEN))
    with pytest.raises(InputError, match="leaves out a part of this response"):
        encode(tokenizer, [*ASKED, {"role": "assistant", "content": "Yes | no."}])
    told: list[str] = []
    chats = [Chat([*ASKED, {"role": "assistant", "content": text}], []) for text in ("Yes.", "Yes | no.", "No.")]
    rows, longer = token_rows(tokenizer, chats, 500, lambda _, message: told.append(message))
    assert (len(rows), longer) == (2, 0)
    assert "1 of 3 pairs are left out" in told[0]
    pairs = [Pair(id=str(number), messages=chat.messages) for number, chat in enumerate(chats)]
    found = measure(tokenizer, pairs, 500)
    assert found.refused == 1
    assert found.reason.startswith("1: ")


def test_a_thinking_block_that_begins_with_words_is_closed_behind_them() -> None:
    family = Family(
        HEAD + "{{ m.content.split('</think>')[-1] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\nOkay, ' }}{% endif %}"
    )
    assert render_prompt(family_tokenizer(family), ASKED).endswith("<think>\nOkay,\n</think>\n\n")
