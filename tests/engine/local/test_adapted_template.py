"""A released template shows a chat, as clients send it, as training showed the changed one."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from transformers import PreTrainedTokenizerFast

from engine.local import adaptation, chat_plan
from engine.local.adaptation import adaptations
from engine.local.adapted_template import WRITTEN, adapting
from engine.local.chat import render_prompt
from engine.local.chat_shape import PROBE_TOOL, shape_of
from engine.local.served_template import served_template
from engine.local.turns import served_turns
from engine.protocol.errors import InputError
from engine.protocol.rows import Message, Tool
from tests.engine.local.templates import OWN
from tests.engine.local.test_adaptation import call, chat, orders
from tests.tiny import CHATML, TOOLS, make_tokenizer


def served(tokenizer: PreTrainedTokenizerFast, prompts: Sequence[list[Message]], tools: bool = False) -> str:
    """The template that is released for these prompts."""
    text = adapting(adaptations(tokenizer), {shape_of(prompt) for prompt in prompts}, tools=tools)
    template = served_template(tokenizer, {tools: text})
    assert isinstance(template, str)
    return template


def shown(tokenizer: PreTrainedTokenizerFast, template: str, prompt: list[Message], tools: Sequence[Tool] = ()) -> str:
    """A prompt as a server shows it, which knows the template alone."""
    text = tokenizer.apply_chat_template(
        served_turns(prompt),
        tools=list(tools) or None,  # type: ignore[arg-type]
        chat_template=template,
        tokenize=False,
        add_generation_prompt=True,
    )
    return str(text)


ADAPTED = [
    ("mistral", "uu", adaptation.JOINED),
    ("mistral", "uuu", adaptation.JOINED),
    ("mistral", "uauu", adaptation.JOINED),
    ("system last", "ssu", adaptation.JOINED),
    ("mistral", "su", adaptation.NO_SYSTEM),
    ("mistral", "uasu", adaptation.NO_SYSTEM),
    ("mistral", "suau", adaptation.NO_SYSTEM),
    ("gemma", "su", adaptation.NO_SYSTEM),
    ("system last", "us", adaptation.LATER),
    ("system last", "uuas", adaptation.LATER),
    ("system last", "s", adaptation.ALONE),
    ("mistral", "au", adaptation.OPENED),
    ("system first", "u", adaptation.SYSTEM_FIRST),
    ("system first", "uau", adaptation.SYSTEM_FIRST),
]


@pytest.mark.parametrize(("template", "roles", "note"), ADAPTED, ids=[f"{t}-{roles}" for t, roles, _ in ADAPTED])
def test_each_change_is_in_the_template(template: str, roles: str, note: str) -> None:
    tokenizer = make_tokenizer(OWN[template])
    assert note in adaptations(tokenizer).of(chat(roles), []).notes
    assert shown(tokenizer, served(tokenizer, [chat(roles)]), chat(roles)) == render_prompt(tokenizer, chat(roles))


@pytest.mark.parametrize("template", OWN.values(), ids=OWN)
def test_chats_of_all_orders_need_one_template(template: str) -> None:
    tokenizer, fitting = make_tokenizer(template), list[list[Message]]()
    for roles in orders(3):
        try:
            render_prompt(tokenizer, chat(roles))
        except InputError:
            continue
        fitting.append(chat(roles))
    made = served(tokenizer, fitting)
    for prompt in fitting:
        assert shown(tokenizer, made, prompt) == render_prompt(tokenizer, prompt)


def test_a_template_that_shows_the_chats_stays_as_it_is() -> None:
    for template, roles in ((CHATML, "su"), (OWN["mistral"], "u"), (OWN["mistral"], "uau")):
        tokenizer = make_tokenizer(template)
        assert adapting(adaptations(tokenizer), {shape_of(chat(roles))}, tools=False) == ""


def test_what_the_data_has_not_is_changed_alike() -> None:
    """Clients send a first question with the system prompt, and a second one without it."""
    tokenizer = make_tokenizer(OWN["mistral"])
    made = served(tokenizer, [chat("su")])
    for roles in ("u", "uau", "suau", "uasu", "uu", "suu", "au"):
        assert shown(tokenizer, made, chat(roles)) == render_prompt(tokenizer, chat(roles))


@pytest.mark.parametrize(
    "texts", [("", "Hi.", " "), ("Be.", "  ", "Sure?"), (" ", "\n", ""), ("{{ x }}", "'\"\\", "é%}")]
)
def test_texts_without_words_and_texts_like_templates(texts: tuple[str, ...]) -> None:
    tokenizer = make_tokenizer(OWN["mistral"])
    prompt: list[Message] = [
        {"role": role, "content": text} for role, text in zip(("system", "user", "user"), texts, strict=True)
    ]
    try:
        wanted = render_prompt(tokenizer, prompt)
    except InputError:
        pytest.skip("no template shows a chat without words")
    assert shown(tokenizer, served(tokenizer, [prompt]), prompt) == wanted


def test_contents_in_parts_and_none_are_joined_too() -> None:
    tokenizer = make_tokenizer(OWN["mistral"])
    made = served(tokenizer, [chat("su")])
    parts = [{"role": one["role"], "content": [{"type": "text", "text": one["content"]}]} for one in chat("su")]
    text = tokenizer.apply_chat_template(parts, chat_template=made, tokenize=False, add_generation_prompt=True)
    assert text == render_prompt(tokenizer, chat("su"))
    none = [{"role": "system", "content": None}, {"role": "user", "content": "Hi."}]
    text = tokenizer.apply_chat_template(none, chat_template=made, tokenize=False, add_generation_prompt=True)
    assert text == render_prompt(tokenizer, [{"role": "user", "content": "Hi."}])


def test_calls_and_results_stay_apart_and_keep_their_place() -> None:
    """A template with tools and no system role."""
    no_system = (
        "{% for m in messages if m.role == 'system' %}{{ raise_exception('no system role') }}{% endfor %}" + TOOLS
    )
    tokenizer = make_tokenizer(no_system)
    calling: Message = {"role": "assistant", "content": "", "tool_calls": [call(0, "look", {"a": 1})]}
    result: Message = {"role": "tool", "content": "7", "tool_call_id": "call00000"}
    prompt = [*chat("su"), calling, result, *chat("asu")[1:]]
    made = served(tokenizer, [prompt], tools=True)
    assert made != served(tokenizer, [chat("u")], tools=True)
    assert shown(tokenizer, made, prompt, [PROBE_TOOL]) == render_prompt(tokenizer, prompt, [PROBE_TOOL])


def test_every_step_is_written() -> None:
    assert WRITTEN.keys() == {step for steps in chat_plan.ATTEMPTS for step in steps}
