"""Ollama's Modelfile: the chat template as Ollama writes it, the texts that end an answer, the context, the sampling.

Ollama has templates of its own kind (Go's text/template). One is derived from what the model's template writes around
the turns of probe chats, and only used where it then gives the same text for other chats; else Ollama is left to find
the template that it knows by the one in the GGUF file, and the Modelfile says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from transformers import PreTrainedTokenizerBase

from engine.local.chat import adapted_prompt
from engine.local.rendering import rendering
from engine.local.turns import template_turns
from engine.protocol.errors import InputError
from engine.protocol.rows import Message
from engine.release.source import Source

Turns = Sequence[tuple[str, str]]
"""Roles with texts."""

ROLES = ("system", "user", "assistant")

PROBES: tuple[Turns, ...] = (
    (("user", "QQONE"),),
    (("system", "QQSYS"), ("user", "QQONE")),
    (("user", "QQONE"), ("assistant", "QQTWO"), ("user", "QQTHREE")),
    (("system", "QQSYS"), ("user", "QQONE"), ("assistant", "QQTWO"), ("user", "QQTHREE")),
)

JOINED = "\n\n"
"""Between a system prompt and the user's text, where the model knows no system role."""

HELD = f'{{{{ if $held }}}}{{{{ $held }}}}{JOINED}{{{{ $held = "" }}}}{{{{ end }}}}'

UNKNOWN = (
    "# Ollama's templates cannot write this model's chats: it uses the one that it knows by the template in the file.\n"
    "# Compare a prompt before you rely on it, or serve with llama.cpp, which uses the model's own.\n"
)


@dataclass(frozen=True, slots=True)
class GoTemplate:
    """The text around the turns of each role, before a chat with and without a system prompt, and before an answer.

    Where the model knows no system role, the prompt is `folded`: put in front of the user's text that follows.
    """

    around: Mapping[str, tuple[str, str]]
    start: str
    start_alone: str
    generate: str
    folded: bool = False

    def shows(self, turns: Turns) -> bool:
        """Whether it has a place for each turn."""
        return all(role in self.around or (self.folded and role == "system") for role, _ in turns)

    def text(self, turns: Turns) -> str:
        """A chat as Ollama renders it."""
        turns = _folded(turns) if self.folded else turns
        start = self.start if turns[0][0] == "system" else self.start_alone
        return (
            start
            + "".join(f"{self.around[role][0]}{text}{self.around[role][1]}" for role, text in turns)
            + self.generate
        )

    def source(self) -> str:
        """The template in Go's language."""
        first = '{{ if eq (index .Messages 0).Role "system" }}'
        start = (
            f"{first}{self.start}{{{{ else }}}}{self.start_alone}{{{{ end }}}}"
            if self.start_alone != self.start
            else self.start
        )
        cases = "".join(
            f'{{{{ {"if" if number == 0 else "else if"} eq .Role "{role}" }}}}'
            f"{before}{HELD if self.folded and role == 'user' else ''}{{{{ .Content }}}}{after}"
            for number, (role, (before, after)) in enumerate(self.around.items())
        )
        if self.folded:
            start = '{{ $held := "" }}' + start
            cases += '{{ else if eq .Role "system" }}{{ $held = .Content }}'
        return f"{start}{{{{ range .Messages }}}}{cases}{{{{ end }}}}{{{{ end }}}}{self.generate}"


def modelfile(source: Source, file: str) -> str:
    """The Modelfile next to a GGUF file."""
    tokenizer, inference = source.tokenizer, source.settings.inference
    template = go_template(lambda turns: _text(source, turns))
    lines = [f"FROM ./{file}"]
    if template is None:
        lines.append(UNKNOWN.rstrip("\n"))
    else:
        lines.append(f'TEMPLATE """{template.source()}"""')
    lines += stops([str(tokenizer.convert_ids_to_tokens(end)) for end in source.ends])
    lines += [
        f"PARAMETER num_ctx {source.context}",
        f"PARAMETER num_predict {inference.max_new_tokens}",
        f"PARAMETER temperature {inference.temperature:g}",
        *("PARAMETER top_k 0", "PARAMETER top_p 1.0", "PARAMETER min_p 0.0", "PARAMETER repeat_penalty 1.0"),
    ]
    return "\n".join(lines) + "\n"


def go_template(render: Callable[[Turns], str | None]) -> GoTemplate | None:
    """The template in Ollama's form; None where that cannot give the same text. `render` is None for a refused chat."""
    shown = {turns: text for turns in PROBES if (text := render(turns)) is not None}
    if PROBES[0] not in shown or PROBES[2] not in shown:
        return None
    found = _derived(shown)
    if found is None or not _writable(found):
        return None
    same = all(found.text(turns) == text for turns, text in shown.items() if found.shows(turns))
    return found if same else None


def _writable(found: GoTemplate) -> bool:
    """Whether a template's pieces are text to Go and to the Modelfile: nothing in them is obeyed, or ends them."""
    around = [piece for both in found.around.values() for piece in both]
    pieces = [found.start, found.start_alone, found.generate, *around]
    plain = all(one.isprintable() or one in "\n\t" for piece in pieces for one in piece)
    obeyed = any(mark in piece for piece in pieces for mark in ("{{", "}}", '"""'))
    # Braces or quotes of two pieces could also meet, or meet those of the language.
    return plain and not obeyed and not any(piece[:1] in '{}"' or piece[-1:] in '{}"' for piece in pieces if piece)


def _derived(shown: Mapping[Turns, str]) -> GoTemplate | None:
    """The pieces between the marks of the probes: what lies between two turns is the end of one and the next's start.

    Where a text ends and the next starts shows in the chat whose last turn is the same role's.
    """
    first, _, generate_after = shown[PROBES[0]].partition("QQONE")
    long = shown[PROBES[2]]
    between = long.partition("QQONE")[2].partition("QQTWO")[0]
    after_answer = long.partition("QQTWO")[2].partition("QQTHREE")[0]
    # What follows the user's text before an answer of the past, and before one to come, starts alike.
    common = _common(between, generate_after)
    user_after = _whole_end(common)
    if user_after is None:
        return None
    generate, assistant_before = generate_after[len(user_after) :], between[len(user_after) :]
    user_before = _turn_start(after_answer, user_after, first)
    if user_before is None:
        return None
    assistant_after = after_answer.removesuffix(user_before)
    start_alone = first.removesuffix(user_before)
    around = {"user": (user_before, user_after), "assistant": (assistant_before, assistant_after)}
    start = start_alone
    if (with_system := shown.get(PROBES[1])) is not None and "QQSYS" in with_system:
        before, _, rest = with_system.partition("QQSYS")
        after = rest.partition("QQONE")[0]
        if before == start_alone + user_before and after == JOINED:
            return GoTemplate(around, start, start_alone, generate, folded=True)
        if not after.endswith(user_before):
            return None
        bos = _common(before, start_alone) if start_alone else ""
        start = bos if before.startswith(bos) and start_alone == bos else ""
        around = {"system": (before[len(start) :], after.removesuffix(user_before)), **around}
    return GoTemplate(around, start, start_alone, generate)


def _folded(turns: Turns) -> Turns:
    """The turns with each system prompt in front of the user's text that follows."""
    held, found = "", []
    for role, text in turns:
        if role == "system":
            held = text
            continue
        found.append((role, f"{held}{JOINED}{text}" if held and role == "user" else text))
        held = "" if role == "user" else held
    return found


def _whole_end(common: str) -> str | None:
    """What ends a user's turn, of what is common to both continuations: up to the start of the next role's header."""
    for opener in ("<|im_start|>", "<|start_header_id|>", "<start_of_turn>", "<|start_of_role|>"):
        if opener in common:
            return common[: common.index(opener)]
    return common


def _turn_start(after_answer: str, user_after: str, first: str) -> str | None:
    """The header of a user's turn: the longest text that both ends what follows an answer and starts a chat."""
    length = min(len(after_answer), len(first))
    for size in range(length, 0, -1):
        if after_answer[-size:] == first[-size:]:
            shared = after_answer[-size:]
            # The end of the turn before belongs to that turn.
            return shared.removeprefix(user_after) if user_after and shared.startswith(user_after) else shared
    return "" if not length else None


def _common(one: str, other: str) -> str:
    size = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    return one[:size]


def _text(source: Source, turns: Turns) -> str | None:
    """A chat by the model's template; without the first token where Ollama puts one of its own in front."""
    messages: list[Message] = [{"role": role, "content": text} for role, text in turns]
    try:
        given = template_turns(adapted_prompt(source.tokenizer, messages))
        text = rendering(source.tokenizer).text(given, [], generate=True)
    except InputError:
        return None
    return text.removeprefix(str(source.tokenizer.bos_token)) if adds_bos(source.tokenizer) else text


def adds_bos(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer puts a token in front of each text."""
    return tokenizer.bos_token_id is not None and tokenizer("a").input_ids[:1] == [tokenizer.bos_token_id]


def stops(ends: Sequence[str]) -> list[str]:
    """The lines with the texts that end an answer. Ollama undoes no escapes, and reads a line's end as the value's."""
    plain = [text for text in ends if text.isprintable() and '"' not in text and text.strip()]
    left_out = len(ends) - len(plain)
    noted = ["# An end token is left out: a Modelfile cannot hold its text."] if left_out else []
    return [*(f'PARAMETER stop "{text}"' for text in plain), *noted]
