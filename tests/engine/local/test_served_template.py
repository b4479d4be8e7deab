from __future__ import annotations

import pytest

from engine.local.chat import adapted_prompt, render_prompt
from engine.local.chat_shape import PROBE_TOOL
from engine.local.served_template import served_template
from engine.local.thinking import unclosed
from engine.local.turns import served_turns
from engine.protocol.rows import Message
from tests.engine.local.families import FAMILIES, HEAD, TURN, Family, family_tokenizer
from tests.engine.local.test_frame import CALL, CALLING, RESULT, TOOL
from tests.tiny import CHATML, TOOLS, make_tokenizer

USABLE = {name: family for name, family in FAMILIES.items() if not family.problem}
TURNS: list[Message] = [
    {"role": "user", "content": "Hi."},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Sure?"},
]


@pytest.mark.parametrize("family", USABLE.values(), ids=USABLE)
def test_a_server_that_knows_nothing_shows_the_prompts_of_training(family: Family) -> None:
    tokenizer = family_tokenizer(family)
    served = served_template(tokenizer)
    for prompt in (TURNS[:1], TURNS):
        shown = tokenizer.apply_chat_template(
            served_turns(prompt), chat_template=served, tokenize=False, add_generation_prompt=True, enable_thinking=True
        )
        assert shown == render_prompt(tokenizer, prompt)


@pytest.mark.parametrize("family", CALLING.values(), ids=CALLING)
def test_a_server_gives_calls_and_results_in_the_form_of_the_api(family: Family) -> None:
    tokenizer = family_tokenizer(family)
    prompt = [*TURNS[:1], CALL, RESULT, *TURNS[1:]]
    shown = tokenizer.apply_chat_template(
        served_turns(adapted_prompt(tokenizer, prompt, [TOOL])),
        [TOOL],  # type: ignore[list-item]
        chat_template=served_template(tokenizer),
        tokenize=False,
        add_generation_prompt=True,
    )
    assert shown == render_prompt(tokenizer, prompt, [TOOL])
    assert "Graz" in str(shown)


def test_each_of_several_templates_is_kept() -> None:
    tokenizer = make_tokenizer(CHATML)
    tokenizer.chat_template = {"default": CHATML, "tool_use": TOOLS, "rag": "no chat"}
    assert served_template(tokenizer) == {"default": CHATML, "tool_use": TOOLS}


def test_chats_with_tools_keep_arguments_and_a_block_of_their_own() -> None:
    family = Family(
        "{% if tools %}{{ '<tools>' + (tools | tojson) + '</tools>\n' }}{% endif %}" + HEAD + TURN
        + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% if tools %}{{ '<think>\n' }}{% else %}"
        "{{ '<reason>' }}{% endif %}{% endif %}{# </think> #}{% if false %}</think></reason>{% endif %}"
    )  # fmt: skip
    tokenizer = family_tokenizer(family)
    served = served_template(tokenizer)
    assert isinstance(served, str)
    question: list[Message] = [{"role": "user", "content": "Hi."}]
    for tools in ([], [PROBE_TOOL]):
        shown = tokenizer.apply_chat_template(
            question, tools or None, chat_template=served, tokenize=False, add_generation_prompt=True
        )
        assert shown == render_prompt(tokenizer, question, tools)
        assert unclosed(str(shown)) is None
