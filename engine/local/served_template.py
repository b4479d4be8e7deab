"""A chat template that shows any server's model the prompts that it was trained on, without arguments from outside."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from engine.local.rendering import Rendering, rendering
from engine.local.template import Forms

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def served_template(
    tokenizer: PreTrainedTokenizerBase, before: Mapping[bool, str] = MappingProxyType({})
) -> str | dict[str, str]:
    """The tokenizer's chat template with the arguments, the day and the closed thinking block of training in it.

    It takes messages and tools in the form of the API. One by name where the tokenizer has several. How the turns of
    chats are changed to fit the template (`chat.adapted_prompt`) is in it where that stands in `before`, by whether
    there are tools: see `adapted_template`. Raises InputError where the template is broken.
    """
    shown = rendering(tokenizer)
    if not isinstance(tokenizer.chat_template, dict):
        plain, offering = (before.get(tools, "") + _settled(shown, tools=tools) for tools in (False, True))
        if plain == offering or not shown.frame(True).shown:
            return plain
        # As at the end of a template: see `_settled`.
        with_tools, without = (f"\n{text.removesuffix(chr(10))}{{{{ '' }}}}" for text in (offering, plain))
        return f"{{% if tools %}}{with_tools}{{% else %}}{without}{{% endif %}}"
    names = {"default": False, "tool_use": True} if "tool_use" in tokenizer.chat_template else {"default": False}
    return {name: before.get(tools, "") + _settled(shown, tools=tools) for name, tools in names.items()}


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """Save a tokenizer with its served template, for who serves what was trained with it."""
    own = tokenizer.chat_template
    try:
        tokenizer.chat_template = served_template(tokenizer)
        tokenizer.save_pretrained(str(folder))
    finally:
        tokenizer.chat_template = own


def _settled(shown: Rendering, *, tools: bool) -> str:
    # A line break behind a block is dropped, so that the template still begins at the start of a line.
    fixed = _formed(shown.template.forms(tools)) + "".join(
        f"{{% set {name} = {_literal(value)} %}}\n" for name, value in sorted(shown.arguments(tools).items())
    )
    source, frame = shown.template.source(tools), shown.frame(tools)
    if not frame.opened:
        return fixed + source
    kept = f"shown[:shown | length - {len(frame.opened)}] + {json.dumps(frame.closed, ensure_ascii=False)}"
    ends = f"shown[shown | length - {len(frame.opened)}:] == {json.dumps(frame.opened, ensure_ascii=False)}"
    # Jinja drops one line break at the end of a template; `{{ '' }}` keeps the white space before it from the block.
    return (
        f"{fixed}{{% set shown %}}\n{source.removesuffix(chr(10))}{{{{ '' }}}}{{% endset %}}"
        f"{{{{ {kept} if add_generation_prompt and {ends} else shown }}}}"
    )


def _formed(forms: Forms) -> str:
    """What brings the API's form of messages and tools into that of a template."""
    lines = ["{% set tools = tools or [] %}"] if forms.no_tools else []
    lines += [f"{{% set {name} = tools{' or []' if forms.no_tools else ''} %}}" for name in forms.tools]
    named = "turn.role == 'tool' and turn.name is not defined and turn.tool_call_id in given.names"
    changes = {
        "turn.tool_calls": _TEXT_ARGUMENTS if forms.text_arguments else "",
        named: "name=given.names[turn.tool_call_id]" if forms.result_names else "",
        "turn.role == 'tool'": f"role={json.dumps(forms.result_role)}" if forms.result_role != "tool" else "",
        "turn.content is string": "content=[{'type': 'text', 'text': turn.content}]" if forms.parts else "",
    }
    if any(changes.values()):
        lines.append("{% set given = namespace(turns=[], names={}, calls=[]) %}{% for turn in messages %}")
        if forms.result_names:
            lines.append("{% for call in turn.tool_calls or [] %}" + _NAMED + "{% endfor %}")
        for condition, change in changes.items():
            if change:
                before = _CALLS if change == _TEXT_ARGUMENTS else ""
                lines.append(f"{{% if {condition} %}}{before}{{% set turn = dict(turn, {change}) %}}{{% endif %}}")
        lines.append("{% set given.turns = given.turns + [turn] %}{% endfor %}{% set messages = given.turns %}")
    return "".join(f"{line}\n" for line in lines)


_NAMED = "{% set given.names = dict(given.names, **{call.id | string: call.function.name}) %}"
_CALLS = (
    "{% set given.calls = [] %}{% for call in turn.tool_calls %}{% set told = call.function.arguments %}"
    "{% set called = dict(call.function, arguments=told if told is string else told | tojson) %}"
    "{% set given.calls = given.calls + [dict(call, function=called)] %}{% endfor %}"
)
_TEXT_ARGUMENTS = "tool_calls=given.calls"


def _literal(value: Any) -> str:
    """A value as Jinja writes it: JSON, but for none."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))}: {_literal(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    return "none" if value is None else json.dumps(value, ensure_ascii=False)
