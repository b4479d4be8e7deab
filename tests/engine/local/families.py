"""Small chat templates, each with one peculiarity of a family of models, and what training must show of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from functools import cache

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from engine.local.rendering import settle
from engine.settings.local import THINKING_OFF

DAY = date(2026, 1, 31)
"""The first day of the run in which the templates are rendered."""

HEAD = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
TURN = "{{ m.content + '<|im_end|>\n' }}{% endfor %}"
OPEN = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
PROMPT = "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\n"


@dataclass(frozen=True)
class Family:
    """`prompt` is what the question "Hi." becomes, `completion` what "Yes." does, `call` what a call of `track` does.

    `tokens` are special ones that the tokenizer does not list as its own; `arguments` those that the template is given
    besides, found by what it does. A `problem` is in the error of a template that cannot be used.
    """

    template: str
    prompt: str = PROMPT
    completion: str = "Yes.<|im_end|>"
    tokens: tuple[str, ...] = ("<|im_start|>", "<|im_end|>")
    eos: str = "<|endoftext|>"
    call: str = ""
    arguments: tuple[tuple[str, object], ...] = ()
    problem: str = ""


@cache
def family_tokenizer(family: Family, day: date = DAY) -> PreTrainedTokenizerFast:
    """One token a byte besides the control tokens; only <s>, the eos token and <|unk|> are listed as special."""
    special = dict.fromkeys(["<s>", family.eos, "<|unk|>", *family.tokens])
    vocabulary = {token: index for index, token in enumerate([*special, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token=family.eos,
        pad_token=family.eos,
        unk_token="<|unk|>",
        chat_template=family.template,
    )
    settle(fast, THINKING_OFF, day)
    return fast


_JSON_CALL = "{% for c in m.tool_calls or [] %}{{ '<call>' + (c.function | tojson) + '</call>' }}{% endfor %}"
_TOOLS = "{% if tools %}{{ '<tools>' + (tools | tojson) + '</tools>\n' }}{% endif %}"
_CALLED = '<call>{"name": "track", "arguments": {"parcel": "7"}}</call>'
_THINK_SWITCH = "{% if add_generation_prompt and SWITCH %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
_CLOSED = PROMPT + "<think>\n\n</think>\n\n"

HARMONY = (
    "{% if tools %}{{ '<|start|>system<|message|>' + (tools | tojson) + '<|end|>' }}{% endif %}{% for m in messages %}"
    "{% if m.role != 'assistant' %}{{ '<|start|>' + m.role + '<|message|>' + m.content + '<|end|>' }}"
    "{% elif m.tool_calls %}{% set f = m.tool_calls[0].function %}{{ '<|start|>assistant to=functions.' + f.name }}"
    "{{ '<|channel|>commentary json<|message|>' + (f.arguments | tojson) + '<|call|>' }}"
    "{% else %}{% if m.thinking and loop.last %}"
    "{{ '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}{% endif %}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + m.content }}"
    "{{ '<|return|>' if loop.last and not add_generation_prompt else '<|end|>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)

COMMAND = (
    "{{ '<s><|SYS|>Be kind.' + (tools | tojson if tools else '') + '<|EOT|>' }}{% for m in messages %}"
    "{% if m.role == 'assistant' %}{{ '<|SOT|><|BOT|>' }}{% if m.tool_calls %}"
    "{{ '<|START_THINKING|>' + (m.reasoning_content or '') + '<|END_THINKING|><|START_ACTION|>' }}"
    "{{ (m.tool_calls[0].function | tojson) + '<|END_ACTION|><|EOT|>' }}"
    "{% else %}{{ '<|START_RESPONSE|>' + m.content + '<|END_RESPONSE|><|EOT|>' }}{% endif %}"
    "{% else %}{{ '<|SOT|><|' + m.role | upper + '|>' + m.content + '<|EOT|>' }}{% endif %}{% endfor %}"
    "{{ '<|SOT|><|BOT|>' }}"
)

COMMAND_MARKERS = [f"<|{side}_{kind}|>" for kind in ("THINKING", "ACTION", "RESPONSE") for side in ("START", "END")]

FAMILIES = {
    "a lead before the answer, and channels": Family(
        HARMONY,
        prompt="<|start|>user<|message|>Hi.<|end|><|start|>assistant",
        completion="<|channel|>final<|message|>Yes.<|return|>",
        tokens=("<|start|>", "<|message|>", "<|end|>", "<|channel|>", "<|call|>"),
        eos="<|return|>",
        call=' to=functions.track<|channel|>commentary json<|message|>{"parcel": "7"}<|call|>',
    ),
    "a lead, markers behind the answer, the prompt always there": Family(
        COMMAND,
        prompt="<s><|SYS|>Be kind.<|EOT|><|SOT|><|USER|>Hi.<|EOT|><|SOT|><|BOT|>",
        completion="<|START_RESPONSE|>Yes.<|END_RESPONSE|><|EOT|>",
        tokens=("<|SYS|>", "<|SOT|>", "<|USER|>", "<|BOT|>", "<|TOOL|>", *COMMAND_MARKERS),
        eos="<|EOT|>",
        call='<|START_ACTION|>{"name": "track", "arguments": {"parcel": "7"}}<|END_ACTION|><|EOT|>',
    ),
    "a recipient before the answer, as text": Family(
        _TOOLS + "{% for m in messages %}{{ '<|' + m.role + '|>\n' }}{% if m.tool_calls %}"
        "{% for c in m.tool_calls %}{{ '>>>' + c.function.name + '\n' + c.function.arguments }}{% endfor %}"
        "{% else %}{{ '>>>all\n' + m.content }}{% endif %}{{ '<|eot|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>\n>>>' }}{% endif %}",
        prompt="<|user|>\n>>>all\nHi.<|eot|><|assistant|>\n>>>",
        completion="all\nYes.<|eot|>",
        tokens=("<|user|>", "<|assistant|>", "<|eot|>"),
        call='track\n{"parcel": "7"}<|eot|>',
    ),
    "a line break before the answer, no end token": Family(
        _TOOLS + "{% for m in messages %}{{ '<|' + m.role + '|>\n' }}{% if m.role == 'assistant' %}"
        "{{ '<think></think>\n' }}{% endif %}{{ m.content }}" + _JSON_CALL + "{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}"
        "{{ '' if enable_thinking is not defined or enable_thinking else '\n<think></think>' }}{% endif %}",
        prompt="<|user|>\nHi.<|assistant|>\n<think></think>",
        completion="\nYes.<|endoftext|>",
        tokens=("<|user|>", "<|assistant|>"),
        call="\n" + _CALLED + "<|endoftext|>",
    ),
    "an open thinking block, closed in answered chats": Family(
        _TOOLS + HEAD + "{% if m.role == 'assistant' %}{{ '<think>\n' + (m.reasoning_content or '') }}"
        "{{ '\n</think>\n\n' }}{% endif %}{{ m.content }}" + _JSON_CALL + "{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}",
        prompt=_CLOSED,
        call=_CALLED + "<|im_end|>",
    ),
    "an open thinking block, cut from history": Family(
        HEAD + "{{ m.content.split('</think>')[-1] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}",
        prompt=_CLOSED,
    ),
    "an open thinking block, thoughts by field only": Family(
        _TOOLS + HEAD + "{% if m.reasoning_content %}{{ '<think>' + m.reasoning_content + '</think>' }}{% endif %}"
        "{{ m.content }}" + _JSON_CALL + "{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>' }}{% endif %}",
        prompt=PROMPT + "<think></think>",
        call=_CALLED + "<|im_end|>",
    ),
    "an open thinking block, a closed one by words of the user": Family(
        HEAD + TURN + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
        "{% if '/no_think' in messages[0].content %}<think></think>{% else %}{{ '<think>\n\n' }}{% endif %}{% endif %}",
        prompt=PROMPT + "<think></think>",
    ),
    "an open thinking block in words": Family(
        HEAD + "{% if m.reasoning_content and loop.last %}{{ m.reasoning_content + '\n[FINAL RESPONSE]\n' }}{% endif %}"
        + TURN + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\nI reason:\n' }}{% endif %}",
        prompt=PROMPT + "I reason:\n\n[FINAL RESPONSE]\n",
    ),
    "an open thinking block that nothing closes": Family(
        HEAD + TURN + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}",
        problem="shows no way to close it",
    ),
    "thinking off by enable_thinking": Family(
        HEAD + TURN + OPEN + _THINK_SWITCH.replace("SWITCH", "enable_thinking is defined and not enable_thinking"),
        prompt=_CLOSED,
    ),
    "thinking off by another argument": Family(
        HEAD + TURN + OPEN + _THINK_SWITCH.replace("SWITCH", "thinking is defined and thinking is false"),
        prompt=_CLOSED,
        arguments=(("thinking", False),),
    ),
    "thinking off by a mode": Family(
        "{% set mode = reasoning_effort | default('high') %}" + HEAD + TURN + OPEN
        + "{% if add_generation_prompt %}{{ '<think>\n' if mode != 'none' else '<think>\n\n</think>\n\n' }}{% endif %}",
        prompt=_CLOSED,
        arguments=(("reasoning_effort", "none"),),
    ),
    "thinking off by a text that the template asks for": Family(
        HEAD + TURN + OPEN + "{% if add_generation_prompt %}"
        "{{ '</think>' if thinking_mode is defined and thinking_mode == 'chat' else '<think>' }}{% endif %}",
        prompt=PROMPT + "</think>",
        arguments=(("thinking_mode", "chat"),),
    ),
    "thinking off by an argument that forbids it": Family(
        HEAD + TURN + OPEN + _THINK_SWITCH.replace("SWITCH", "skip_cot"),
        prompt=_CLOSED,
        arguments=(("skip_cot", True),),
    ),
    "thinking off by words before the last question": Family(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}{{ '<|bot|>' + m.content + eos_token }}"
        "{% elif loop.last and enable_thinking is false %}{{ '<|user|>/no_think' + m.content }}"
        "{% else %}{{ '<|' + m.role + '|>' + m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|bot|>' + ('<think></think>' if enable_thinking is false else '') }}"
        "{% endif %}",
        prompt="<s><|user|>/no_thinkHi.<|bot|><think></think>",
        completion="Yes.<|end|>",
        tokens=("<|user|>", "<|bot|>"),
        eos="<|end|>",
    ),
    "thinking off by a sentence": Family(
        "{% if use_cot is not defined or use_cot %}{% set mode = '/think' %}{% else %}{% set mode = '/no_think' %}"
        "{% endif %}{{ '<|im_start|>system\n' + mode + '<|im_end|>\n' }}" + HEAD + TURN + OPEN,
        prompt="<|im_start|>system\n/no_think<|im_end|>\n" + PROMPT,
        arguments=(("use_cot", False),),
    ),
    "thinking by tags of tokens": Family(
        "{% if thinking is undefined %}{% set thinking = true %}{% endif %}"
        "{% if thinking %}{{ '<|open|>effort<|sep|>' }}{% endif %}{% for m in messages %}{{ '<|open|>' + m.role }}"
        "{{ '<|sep|>' }}{% if m.role == 'assistant' %}{% if thinking %}{{ '<|open|>think<|sep|>' }}"
        "{{ (m.reasoning_content or '') + '<|close|>think<|sep|>' }}{% endif %}{{ '<|open|>response<|sep|>' }}"
        "{{ m.content + '<|close|>response<|sep|>' }}{% else %}{{ m.content }}{% endif %}{{ '<|eom|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|open|>assistant<|sep|>' }}"
        "{{ '<|open|>' + ('think' if thinking else 'response') + '<|sep|>' }}{% endif %}",
        prompt="<|open|>user<|sep|>Hi.<|eom|><|open|>assistant<|sep|><|open|>response<|sep|>",
        completion="Yes.<|close|>response<|sep|><|eom|>",
        tokens=("<|open|>", "<|close|>", "<|sep|>", "<|eom|>"),
        arguments=(("thinking", False),),
    ),
    "a thinking block before each answer": Family(
        _TOOLS + HEAD + "{% if m.role == 'assistant' %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ m.content }}"
        + _JSON_CALL + "{{ '<|im_end|>\n' }}{% endfor %}" + OPEN,
        call=_CALLED + "<|im_end|>",
    ),
    "a closed block in prompts only": Family(
        HEAD + TURN + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' }}{% endif %}",
        prompt=_CLOSED,
    ),
    "no system role, strict turns, trimmed": Family(
        "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('turns alternate') }}{% endif %}"
        "{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n' }}"
        "{{ m.content | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
        prompt="<s><start_of_turn>user\nHi.<end_of_turn>\n<start_of_turn>model\n",
        completion="Yes.<end_of_turn>",
        tokens=("<start_of_turn>", "<end_of_turn>"),
        eos="<eos>",
    ),
    "no prompt for a response, a space before it": Family(
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}"
        "{% elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}"
        "{% else %}{{ raise_exception('unknown role') }}{% endif %}{% endfor %}",
        prompt="<s>[INST] Hi. [/INST]",
        completion=" Yes.</s>",
        tokens=("[INST]", "[/INST]"),
        eos="</s>",
    ),
    "a date from the clock": Family(
        "{% if date_string is not defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
        "{{ date_string + ', ' + strftime_now('%A %-d %B, %H:%M') + '\n' }}" + HEAD + TURN + OPEN,
        prompt="31 Jan 2026, Saturday 31 January, 00:00\n" + PROMPT,
    ),
    "a date that must be given": Family(
        "{{ 'Today: ' + currentDate + '\n' }}" + HEAD + TURN + OPEN,
        prompt="Today: 31 Jan 2026\n" + PROMPT,
        arguments=(("currentDate", "31 Jan 2026"),),
    ),
    "a place for a date": Family(
        "{{ 'Today: ' ~ datetime ~ '\n' }}" + HEAD + TURN + OPEN,
        prompt="Today: 31 Jan 2026\n" + PROMPT,
        arguments=(("datetime", "31 Jan 2026"),),
    ),
    "a date of its own": Family(
        "{{ 'Today: ' + (date_string or '26 Jul 2024') + '\n' }}" + HEAD + TURN + OPEN,
        prompt="Today: 26 Jul 2024\n" + PROMPT,
    ),
    "two end tokens": Family(
        HEAD + "{{ m.content + '<|im_end|>' + eos_token }}{% endfor %}" + OPEN,
        prompt="<|im_start|>user\nHi.<|im_end|><|endoftext|><|im_start|>assistant\n",
        completion="Yes.<|im_end|><|endoftext|>",
    ),
    "the eos token behind the whole chat": Family(
        HEAD + TURN + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
        "{% else %}{{ eos_token }}{% endif %}",
    ),
    "an end in words": Family(
        HEAD + TURN + OPEN,
        completion="Yes.<|im_end|><|endoftext|>",
        tokens=(),
    ),
    "a default system prompt": Family(
        "{% if messages[0].role != 'system' %}{{ '<s><|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"
        + HEAD + TURN + OPEN,
        prompt="<s><|im_start|>system\nBe kind.<|im_end|>\n" + PROMPT,
    ),
    "prompts with a header of their own": Family(
        "{% for m in messages %}{{ '  ### ' + m.role + ':\n' + m.content + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '### assistant:\n\n' }}{% endif %}",
        prompt="  ### user:\nHi.<|im_end|>\n### assistant:\n\n",
    ),
    "calls with arguments as text": Family(
        _TOOLS + HEAD + "{{ m.content }}{% for c in m.tool_calls or [] %}"
        "{{ '<call>' + c.function.name + c.function.arguments + '</call>' }}{% endfor %}"
        "{{ '<|im_end|>\n' }}{% endfor %}"
        + OPEN,
        call='<call>track{"parcel": "7"}</call><|im_end|>',
    ),
    "tools and results by other names": Family(
        "{% if available_tools %}{{ (available_tools | tojson) + '\n' }}{% endif %}{% for m in messages %}"
        "{% if m.role == 'tool' %}{{ raise_exception('unknown role') }}{% endif %}"
        "{% if m.role == 'observation' %}{{ '<|im_start|>result\n' }}{% else %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{% endif %}{{ m.content }}" + _JSON_CALL + "{{ '<|im_end|>\n' }}{% endfor %}" + OPEN,
        call=_CALLED + "<|im_end|>",
    ),
    "thoughts shown with calls only, by channels": Family(
        _TOOLS + "{% for m in messages %}{{ '<|turn>' + ('model' if m.role == 'assistant' else m.role)"
        " + '\n' }}{% if m.reasoning_content and m.tool_calls %}"
        "{{ '<|channel>thought\n' + m.reasoning_content + '\n<channel|>' }}{% endif %}"
        "{{ m.content | trim }}" + _JSON_CALL + "{{ '<turn|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|turn>model\n' }}{% endif %}",
        prompt="<|turn>user\nHi.<turn|>\n<|turn>model\n",
        completion="Yes.<turn|>",
        tokens=("<|turn>", "<turn|>", "<|channel>", "<channel|>"),
        eos="<eos>",
        call=_CALLED + "<turn|>",
    ),
    "a closing tag before each answer": Family(
        "{{ ']~b]system\nThinking: ' + (thinking_mode | default('adaptive')) + '[e~[' }}"
        "{% if thinking_mode is defined and thinking_mode == 'enabled' %}{{ 'Think in <mm:think>.' }}{% endif %}"
        "{% for m in messages %}{{ ']~b]' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}{{ '</mm:think>' }}{% endif %}"
        "{{ m.content + '[e~[' }}{% endfor %}{% if add_generation_prompt %}{{ ']~b]assistant\n' }}"
        "{% if thinking_mode is defined and thinking_mode == 'disabled' %}{{ '</mm:think>' }}{% endif %}{% endif %}",
        prompt="]~b]system\nThinking: disabled[e~[]~b]user\nHi.[e~[]~b]assistant\n</mm:think>",
        completion="Yes.[e~[",
        tokens=("]~b]", "[e~["),
        arguments=(("thinking_mode", "disabled"),),
    ),
    "a closing tag before each answer, without a switch": Family(
        HEAD + "{% if m.role == 'assistant' %}{{ '</think>' }}{% endif %}" + TURN + OPEN,
    ),
    "thinking tags put together": Family(
        "{% set on, off = '<think{}>'.format(':open'), '</think{}>'.format(':open') %}" + HEAD
        + "{% if m.role == 'assistant' %}{{ on + (m.reasoning_content or '') + off }}{% endif %}" + TURN
        + "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' + on + off }}{% endif %}",
        prompt=PROMPT + "<think:open></think:open>",
    ),
    "contents in parts": Family(
        "{% for m in messages %}{{ m.role | capitalize + ': ' }}{% for part in m.content %}"
        "{% if part.type == 'image' %}<image>{% elif part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}"
        "{{ '<end_of_utterance>\n' }}{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}",
        prompt="User: Hi.<end_of_utterance>\nAssistant:",
        completion=" Yes.<end_of_utterance>",
        tokens=("<end_of_utterance>",),
    ),
    "tools that are always gone through": Family(
        "{% for t in tools %}{{ (t | tojson) + '\n' }}{% endfor %}" + HEAD + "{{ m.content }}" + _JSON_CALL
        + "{{ '<|im_end|>\n' }}{% endfor %}" + OPEN,
        call=_CALLED + "<|im_end|>",
    ),
    "results by the name of their function": Family(
        _TOOLS + "{% for m in messages %}{% if m.role == 'tool' %}{{ '<|im_start|>' + m.name + ' result\n' }}"
        "{% else %}{{ '<|im_start|>' + m.role + '\n' }}{% endif %}{{ m.content }}" + _JSON_CALL
        + "{{ '<|im_end|>\n' }}{% endfor %}" + OPEN,
        call=_CALLED + "<|im_end|>",
    ),
    "a start of the text in each turn": Family(
        "{% for m in messages %}{{ bos_token + ('bot' if m.role == 'assistant' else m.role) + '\n' }}"
        "{{ m.content | trim + eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}{{ bos_token + 'bot\n' }}{% endif %}",
        prompt="<s>user\nHi.</s><s>bot\n",
        completion="Yes.</s>",
        tokens=(),
        eos="</s>",
    ),
    "a header before an answer behind a result": Family(
        _TOOLS + "{% for m in messages %}{% if m.role != 'tool' %}{{ '<|turn>' + m.role + '\n' }}{% endif %}"
        "{{ m.content }}"
        + _JSON_CALL + "{% if not m.tool_calls %}{{ '<turn|>\n' if m.role != 'tool' else '<result|>' }}"
        "{% else %}<|result>{% endif %}{% endfor %}{% if add_generation_prompt and messages[-1].role != 'tool' %}"
        "{{ '<|turn>assistant\n' }}{% endif %}",
        prompt="<|turn>user\nHi.<turn|>\n<|turn>assistant\n",
        completion="Yes.<turn|>",
        tokens=("<|turn>", "<turn|>", "<|result>", "<result|>"),
    ),
    "a closed block in prompts, a lead in its place in answered chats": Family(
        "{% for m in messages %}{{ '<|SOT|><|' + m.role | upper + '|>' }}{% if m.role == 'assistant' %}"
        "{{ '<|START_RESPONSE|>' + m.content + '<|END_RESPONSE|>' }}{% else %}{{ m.content }}{% endif %}<|EOT|>"
        "{% endfor %}{% if add_generation_prompt %}<|SOT|><|ASSISTANT|>"
        "{{ '<|START_THINKING|>' if reasoning is not defined or reasoning else '<|START_THINKING|><|END_THINKING|>' }}"
        "{% endif %}",
        prompt="<|SOT|><|USER|>Hi.<|EOT|><|SOT|><|ASSISTANT|><|START_THINKING|><|END_THINKING|>",
        completion="<|START_RESPONSE|>Yes.<|END_RESPONSE|><|EOT|>",
        tokens=("<|SOT|>", "<|EOT|>", "<|USER|>", "<|ASSISTANT|>", *COMMAND_MARKERS),
        arguments=(("reasoning", False),),
    ),
    "an end token between turns": Family(
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content }}"
        "{% if not loop.last or add_generation_prompt %}{{ '<|im_end|>\n' }}{% endif %}{% endfor %}" + OPEN,
    ),
    "an end token before the next turn's header": Family(
        "{% set open = namespace(turn='') %}{% for m in messages %}{% if open.turn == 'bot' and m.role == 'user' %}"
        "{{ '\n<|bot_end|>' }}{% endif %}{% if m.role == 'user' %}{{ '<|user|>' + m.content + '<|user_end|>' }}"
        "{% set open.turn = 'user' %}{% elif m.role == 'assistant' %}"
        "{{ '<|bot|>' if open.turn != 'bot' else '' }}{{ m.content }}{% set open.turn = 'bot' %}"
        "{% else %}{{ '<|system|>' + m.content }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}<|bot|>{% endif %}",
        prompt="<|user|>Hi.<|user_end|><|bot|>",
        completion="Yes.\n<|bot_end|>",
        tokens=("<|user|>", "<|user_end|>", "<|bot|>", "<|bot_end|>", "<|system|>"),
    ),
    "tokens for quotes inside of calls": Family(
        _TOOLS + "{% for m in messages %}{% if m.role == 'tool' %}{{ 'response:' + m.content }}{% else %}"
        "{{ '<|turn>' + m.role + '\n' + m.content }}{% for c in m.tool_calls or [] %}{{ '<|call>' + c.function.name }}"
        "{% for key, value in c.function.arguments.items() %}"
        "{{ '{' + key + ':<|\"|>' + value + '<|\"|>}' }}{% endfor %}"
        "{{ '<call|>' }}{% endfor %}{% endif %}{{ '<|result>' if m.tool_calls else '<turn|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|turn>assistant\n' }}{% endif %}",
        prompt="<|turn>user\nHi.<turn|>\n<|turn>assistant\n",
        completion="Yes.<turn|>",
        tokens=("<|turn>", "<turn|>", "<|call>", "<call|>", '<|"|>', "<|result>"),
        call='<|call>track{parcel:<|"|>7<|"|>}<call|><|result>',
    ),
    "an end tag behind each call, no end token": Family(
        _TOOLS + "{% for m in messages %}{{ '<|' + m.role + '|>' + m.content }}{% for c in m.tool_calls or [] %}"
        "{{ '<call>' + (c.function | tojson) + '</call>' }}{% endfor %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}",
        prompt="<|user|>Hi.<|assistant|>",
        completion="Yes.<|endoftext|>",
        tokens=("<|user|>", "<|assistant|>", "<|tool|>", "<call>", "</call>"),
        call=_CALLED + "<|endoftext|>",
    ),
}  # fmt: skip
