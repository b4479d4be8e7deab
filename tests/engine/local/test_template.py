from __future__ import annotations

from datetime import date

import pytest

from engine.local import template
from engine.local.chat import encode, render_prompt
from engine.local.rendering import settle
from engine.local.template import Template, clock, ensure_chat_template
from engine.protocol.errors import InputError
from engine.protocol.rows import Message
from tests.tiny import CHATML, TOOLS, make_tokenizer

ASKED: list[Message] = [{"role": "user", "content": "Hi."}]
GIVEN = "{{ (effort if effort is defined else 'medium') + '|' + ('' if depth is none else depth | string) }}"


def test_arguments_are_given_to_templates_that_know_them() -> None:
    tokenizer = make_tokenizer(GIVEN + CHATML)
    settle(tokenizer, {"effort": "low", "depth": None, "unknown": 1}, date(2026, 1, 31))
    assert render_prompt(tokenizer, ASKED).startswith("low|<|im_start|>user")
    tokenizer.chat_template = "{{ effort }}" + CHATML
    assert render_prompt(tokenizer, ASKED).startswith("low<|im_start|>"), "another template, the same arguments"


@pytest.mark.parametrize(
    ("format_", "told"),
    [
        ("'%d %b %Y'", "05 Mar 2026"),
        ("'%-d %B %y, %A' + ' week %W'", "5 March 26, Thursday week 09"),
        ("'%Y-%m-%d'", "2026-03-05"),
        ("'%H:%M:%S' + ', day %j'", "00:00:00, day 064"),
    ],
)
def test_the_clock_stands_at_the_run_s_first_day(format_: str, told: str) -> None:
    source = "{%- macro today() %}{{ strftime_now(" + format_ + ") }}{% endmacro %}\n{{- today() }}"
    tokenizer = make_tokenizer(source)
    assert (
        Template(tokenizer, {}, date(2026, 3, 5)).text([{"role": "user", "content": "Hi."}], [], generate=True) == told
    )


def test_the_clock_moves_no_white_space() -> None:
    for start in ("\n  a", "  {% if true %}a{% endif %}", "a\n", "\n\n{% if true %}\na{% endif %}"):
        turns = [{"role": "user", "content": "Hi."}]
        tokenizer = make_tokenizer()
        own, with_clock = (
            tokenizer.apply_chat_template(turns, chat_template=text, tokenize=False)
            for text in (start, clock(date(2026, 3, 5), start) + start)
        )
        assert own == with_clock


def test_transformers_own_tag_is_understood() -> None:
    tagged = CHATML.replace("{{ '<|im_start|>'", "{% generation %}{{ '<|im_start|>'").replace(
        "{% endfor %}", "{% endgeneration %}{% endfor %}"
    )
    chat: list[Message] = [*ASKED, {"role": "assistant", "content": "Yes."}]
    assert encode(make_tokenizer(tagged), chat) == encode(make_tokenizer(), chat)


def test_a_broken_template_names_its_line_and_file() -> None:
    with pytest.raises(InputError, match=r"chat template is broken: line 2: .*endfor") as raised:
        ensure_chat_template(make_tokenizer("{% for m in messages %}\n{{ m.content }}"))
    assert "chat_template.jinja" in raised.value.hint


def test_the_only_template_counts_whatever_its_name() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = {"chat": CHATML}
    ensure_chat_template(tokenizer)
    assert tokenizer.chat_template == CHATML


def test_several_templates_need_a_default() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = {"tool_use": TOOLS, "rag": CHATML}
    with pytest.raises(InputError, match="several chat templates, none of them the default: rag, tool_use"):
        ensure_chat_template(tokenizer)
    tokenizer.chat_template = {"default": CHATML, "tool_use": TOOLS}
    ensure_chat_template(tokenizer)
    tool = {"type": "function", "function": {"name": "track", "description": "", "parameters": {}}}
    assert '"name": "track"' in render_prompt(tokenizer, ASKED, [tool])  # type: ignore[list-item]
    assert "track" not in render_prompt(tokenizer, ASKED)


@pytest.mark.parametrize("form", ["%d %%d %z|%P %-k %l %f", "100%%", "%Y-%m-%d"])
def test_the_clock_of_a_template_knows_all_usual_directives(form: str) -> None:
    from datetime import date, datetime

    from jinja2 import Environment

    from engine.local.template import clock

    source = f"{{{{ strftime_now('{form}') }}}}"
    day = date(2026, 1, 31)
    shown = Environment(trim_blocks=True).from_string(clock(day, source) + source).render()
    assert shown == datetime(2026, 1, 31).strftime(form)


@pytest.mark.parametrize(
    "endless",
    ["{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "{{ 'x' * 30000000 }}"],
)
def test_a_template_without_end_is_refused(endless: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "RENDER_S", 0.3)
    tokenizer = make_tokenizer(endless + CHATML)
    for _ in range(2):  # the second time at once
        with pytest.raises(InputError, match="does not come to an end"):
            render_prompt(tokenizer, ASKED)


@pytest.mark.parametrize("hostile", ["{{ 1 / 0 }}", "{{ range(10**7) }}", "{{ 10.0 ** 400 }}", "{{ 'a' * 10**18 }}"])
def test_a_template_that_fails_ends_in_one_line(hostile: str) -> None:
    with pytest.raises(InputError, match="chat template") as refused:
        render_prompt(make_tokenizer(hostile + CHATML), ASKED)
    assert "\n" not in refused.value.message
