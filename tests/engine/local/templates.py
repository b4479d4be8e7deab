"""Chat templates that behave as those of real models do, each in a few lines."""

from __future__ import annotations

from importlib.resources import files

from tests.tiny import CHATML, TOOLS

MISTRAL = (
    "{{ bos_token }}{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
    "{% elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant roles') }}{% endif %}{% endfor %}"
)
"""Mistral 0.1: turns alternate, no system role, nothing in front of a response but the end of the user's turn."""

SYSTEM_LAST = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set chat = messages[1:] %}"
    "{% else %}{% set chat = messages %}{% endif %}{{ bos_token }}{% for m in chat %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}[INST] {% if loop.last and system is defined %}{{ system + '\n\n' }}{% endif %}"
    "{{ m.content }}[/INST]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
"""Mistral 0.3: the system prompt stands in the last user turn."""

GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}"
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' + m.content | trim }}"
    "{{ eos_token + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
"""Gemma 1 and 2: no system role; turns alternate, so that a system prompt passes in an assistant's place."""

SILENT = CHATML.replace("in messages", "in messages if message['role'] != 'system'")
"""Leaves system prompts out without a word."""

NO_TOOLS = "{% for m in messages if m.role == 'tool' %}{{ raise_exception('no tool role') }}{% endfor %}" + TOOLS

TRIMMING = CHATML.replace("message['content']", "message['content'] | trim")

ZEPHYR = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '<|user|>\n' + m.content + eos_token }}"
    "{% elif m.role == 'system' %}{{ '<|system|>\n' + m.content + eos_token }}"
    "{% elif m.role == 'assistant' %}{{ '<|assistant|>\n' + m.content + eos_token }}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}{% endfor %}"
)

SYSTEM_FIRST = (
    "{% if messages[0].role != 'system' %}{{ raise_exception('a system prompt comes first') }}{% endif %}" + CHATML
)

ALPACA = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ '### Instruction:\n' + m.content + '\n\n' }}"
    "{% else %}{{ '### Response:\n' + m.content + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
)
"""Shows everything that is not the user's as the assistant's."""

BY_PLACE = (
    "{% for m in messages %}{{ ('Q: ' if loop.index0 % 2 == 0 else 'A: ') + m.content + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}A: {% endif %}"
)
"""Takes every other turn for the user's, whoever said it."""

USER_ONCE = CHATML.replace("{% if add", "{% if messages[-1].role == 'user' and add")
"""Starts a response only after a user's turn, as DeepSeek V3.1 does."""

QWEN3_5 = (
    "{% if messages | selectattr('role', 'equalto', 'user') | list | length == 0 %}"
    "{{ raise_exception('no user query') }}{% endif %}{% for m in messages %}"
    "{% if m.role == 'system' and not loop.first %}{{ raise_exception('system prompt must be first') }}{% endif %}"
    "{% endfor %}" + CHATML
)

BROKEN = {
    "undefined": "{{ messages[0].parts[0].text }}" + CHATML,
    "type": "{{ 'a' + messages | length }}" + CHATML,
    "zero": "{{ 1 // (messages | length - 1) }}" + CHATML,
    "value": "{{ 'a' | int(base=99) }}{{ '%d' | format('x') }}" + CHATML,
    "recursion": "{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}" + CHATML,
    "syntax": "{% for message in messages %}" + CHATML,
}
"""Templates that fail in other ways than by raise_exception."""

OWN = {
    "chatml": CHATML,
    "tools": TOOLS,
    "mistral": MISTRAL,
    "system last": SYSTEM_LAST,
    "gemma": GEMMA,
    "silent": SILENT,
    "no tools": NO_TOOLS,
    "trimming": TRIMMING,
    "zephyr": ZEPHYR,
    "system first": SYSTEM_FIRST,
    "alpaca": ALPACA,
    "by place": BY_PLACE,
    "user once": USER_ONCE,
    "qwen 3.5": QWEN3_5,
}

TRL = {
    file.name: file.read_text()
    for file in sorted((files("trl") / "chat_templates").iterdir(), key=lambda file: file.name)
    if file.name.endswith(".jinja") and "_training" not in file.name
}
"""The templates of real models, as TRL has them."""
