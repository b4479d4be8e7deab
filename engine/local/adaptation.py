"""How a chat is changed where the model's template cannot show it as it was recorded: the smallest change that fits.

Each shape is tried once, with a probe: a change fits if the template accepts it and shows all texts, each once, in
order and under its own role, up to where a response starts. The template may place system prompts where it likes.
Training, inference and everything else that shows chats to the local model use the same adaptation. What a template
does by a text's words stays its own: those of models that think leave out the thoughts of earlier responses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

from engine.local.chat_plan import ATTEMPTS, SIMPLEST, Plan, Turn, changed, planned, unchanged
from engine.local.chat_shape import PROBE_TOOL, TOOL_WORDS, WORD, Mark, Shape, Word, probe, shape_of
from engine.local.frame import Completion
from engine.local.probed import QUESTION
from engine.local.rendering import Rendering, render, rendering
from engine.local.template import CHOOSE
from engine.local.turns import template_turns
from engine.protocol.errors import InputError
from engine.protocol.rows import Message, Tool

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHAPES = 10_000
"""Shapes whose adaptation is remembered."""

CONFUSABLE = 8
"""Turns of a chat that are checked for being shown as another role's."""

JOINED = "the model's template allows no two turns of one role in a row: they are joined by a blank line"
LATER = "the model's template allows a system prompt only at the start: later ones are added to the user's text"
NO_SYSTEM = "the model's template has no system role: system prompts are put in front of the user's text"
SOME_SYSTEM = "the model's template omits the system prompt of some chats: it is put in front of the user's text"
ALONE = "the model's template needs a user turn: a system prompt without one is shown as the user's text"
OPENED = "the model's template needs a user turn first: an empty one is added before an assistant's greeting"
SYSTEM_FIRST = "the model's template needs a system prompt: an empty one is added where there is none"


@dataclass(frozen=True, slots=True)
class Adaptation:
    """How prompts of a shape are changed: not at all where there is no plan. A `problem` says why nothing fits."""

    plan: Plan | None = None
    notes: tuple[str, ...] = ()
    problem: str = ""

    def apply(self, prompt: Sequence[Message]) -> list[Message]:
        """The prompt as the template is given it. Raises InputError where nothing fits."""
        if self.problem:
            raise InputError(self.problem, CHOOSE)
        return list(prompt) if self.plan is None else planned(self.plan, prompt)


class Adaptations:
    """The adaptations that a tokenizer's chat template needs, by shape."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self.find = lru_cache(SHAPES)(self._find)
        self.call_problem = lru_cache(SHAPES)(self._call_problem)
        self._opening = self._response_opening()
        self._renders_system = not self._problem(unchanged(_SYSTEM_USER), _SYSTEM_USER, tools=False)

    def of(self, prompt: Sequence[Message], tools: Sequence[Tool]) -> Adaptation:
        """The adaptation of a prompt. Raises InputError where a call's arguments are not a JSON object."""
        return self.find(shape_of(prompt), bool(tools))

    def _find(self, shape: Shape, tools: bool) -> Adaptation:
        """The first change that fits; where none does, the problem of the simplest chat that it can be changed to."""
        problems: dict[Plan, str] = {}
        for steps in ATTEMPTS:
            plan = changed(shape, steps)
            if plan in problems:
                continue
            problems[plan] = self._problem(plan, shape, tools)
            if not problems[plan]:
                return Adaptation(plan if steps else None, tuple(self._notes(plan, shape)))
        return Adaptation(problem=problems[changed(shape, SIMPLEST)])

    def _call_problem(self, shape: Shape, target: Mark, tools: bool) -> str:
        """Why the template cannot show a target that calls tools after a prompt that fits, or ""."""
        probed = probe((*shape, target))
        prompt = self.find(shape, tools).apply(probed.messages[:-1])
        offered = [PROBE_TOOL] if tools else []
        try:
            _, completion = self.texts(template_turns([*prompt, probed.messages[-1]]), offered)
        except InputError as error:
            return error.message
        return _left_out(completion.text, probed.words[-1:]) or self._stopped(completion)

    def _stopped(self, completion: Completion) -> str:
        """Why generation would stop inside of a response, or ""."""
        control, ends = rendering(self._tokenizer).control, rendering(self._tokenizer).ends
        tokens = {token: id_ for token, id_ in control.added.items() if id_ in ends}
        inside = control.places(completion.text, tokens)
        return (
            f"the local model's chat template has {inside[0][1]}, which ends responses, inside of one" if inside else ""
        )

    def texts(self, turns: Sequence[dict[str, Any]], tools: Sequence[Tool]) -> tuple[str, Completion]:
        """The prompt of a chat that is adapted already, and its last turn as the model is to write it.

        Raises InputError where the template cannot show the chat.
        """
        shown = rendering(self._tokenizer)
        prompt, completion = shown.texts(turns, tools)
        if completion is None:
            # Such as Mistral's, which puts the system prompt elsewhere once there is a response.
            question = template_turns(self.of(_QUESTION, tools).apply(_QUESTION))
            _, completion = shown.texts([*question, turns[-1]], tools)
        if completion is None:
            raise InputError("the local model's chat template writes responses outside the assistant's turn", CHOOSE)
        return prompt, completion

    def _problem(self, plan: Plan, shape: Shape, tools: bool) -> str:
        """Why the template does not show prompts of this shape by this plan, or ""."""
        probed = probe(shape)
        turns = template_turns(planned(plan, probed.messages))
        offered = [PROBE_TOOL] if tools else []
        try:
            # The template must also accept the response after the prompt.
            response = {"role": "assistant", "content": "response"}
            text, completion = rendering(self._tokenizer).texts([*turns, response], offered)
        except InputError as error:
            return error.message
        if tools and not all(word in text for word in TOOL_WORDS):
            return "the local model's chat template leaves out tool definitions"
        if completion and "response" not in completion.text:
            return "the local model's chat template leaves out responses"
        return (
            _left_out(text, probed.words)
            or (self._stopped(completion) if completion else "")
            or _out_of_order(text, plan, probed.words)
            or self._no_response(text, plan)
            or self._mistaken(text, plan, turns, offered)
        )

    def _no_response(self, text: str, plan: Plan) -> str:
        """Why no response can follow a prompt that the user does not end, or ""."""
        if plan and plan[-1].role in ("system", "assistant") and not text.endswith(self._opening):
            return f"the local model's chat template does not start a response after {_TURNS[plan[-1].role]}"
        return ""

    def _mistaken(self, text: str, plan: Plan, turns: list[dict[str, Any]], offered: list[Tool]) -> str:
        """Why the model would take a turn for one of another role, or "".

        That is so where the text would be the same with the other role, or where a system prompt counts as a turn of
        the conversation. Turns in the usual order are not looked at, nor more than a few of a chat.
        """
        for number, other in islice(_confusable(plan, turns), CONFUSABLE):
            before, turn, after = turns[:number], turns[number], turns[number + 1 :]
            renamed = self._rendered([*before, {"role": other, "content": turn["content"]}, *after], offered)
            counts = number and turn["role"] == "system" and self._rendered([*before, *after], offered) is None
            if renamed == text or counts:
                return f"the local model's chat template shows {_TURNS[turn['role']]} as a turn of the {other}"
        return ""

    def _rendered(self, turns: list[dict[str, Any]], offered: list[Tool], *, generate: bool = True) -> str | None:
        """The prompt's text; None where the template refuses it."""
        try:
            return render(self._tokenizer, turns, offered, generate=generate)
        except InputError:
            return None

    def _response_opening(self) -> str:
        """The text that starts a response, or, where templates have none, what they put after a user's text."""
        word = "question"
        user = [{"role": "user", "content": word}]
        prompt = self._rendered(user, [])
        if prompt is None:
            return ""
        history = self._rendered(user, [], generate=False)
        opening = prompt.removeprefix(history) if history is not None and prompt.startswith(history) else ""
        return opening or prompt.rpartition(word)[2]

    def _notes(self, plan: Plan, shape: Shape) -> Iterator[str]:
        """What the plan changes, a sentence for each kind of change."""
        roles = [mark.role for mark in shape]
        if any(sum(roles[number] == turn.role for number in turn.sources) > 1 for turn in plan):
            yield JOINED
        folded = any(roles[number] == "system" for turn in plan if turn.role == "user" for number in turn.sources)
        if folded and not self._renders_system:
            yield NO_SYSTEM
        elif folded and (roles[0] != "system" or any(turn.role == "system" for turn in plan)):
            yield LATER
        elif folded:
            yield SOME_SYSTEM if "user" in roles else ALONE
        if Turn("user", ()) in plan:
            yield OPENED
        if Turn("system", ()) in plan:
            yield SYSTEM_FIRST


def adaptations(tokenizer: PreTrainedTokenizerBase) -> Adaptations:
    """The adaptations of a tokenizer; the same object as long as its chats are rendered in the same way."""
    return _adaptations(tokenizer, rendering(tokenizer))


@lru_cache(maxsize=2)
def _adaptations(tokenizer: PreTrainedTokenizerBase, _: Rendering) -> Adaptations:
    return Adaptations(tokenizer)


_TURNS = {
    "system": "a system prompt",
    "user": "a second user turn",
    "assistant": "a turn of the assistant",
    "tool": "a tool result",
}
_QUESTION: list[Message] = [{"role": "user", "content": QUESTION}]
_SYSTEM_USER: Shape = (Mark("system", True), Mark("user", True))


def _left_out(text: str, words: Sequence[Sequence[Word]]) -> str:
    """What is not in the text or, where it may not be, several times; "" where everything is as it should be."""
    counts = Counter(WORD.findall(text))
    for found in (word for of_message in words for word in of_message):
        if not counts[found.word]:
            return f"the local model's chat template leaves out {found.what}"
        if found.once and counts[found.word] > 1:
            return f"the local model's chat template repeats {found.what}"
    return ""


def _out_of_order(text: str, plan: Plan, words: Sequence[Sequence[Word]]) -> str:
    """Why the order of turns is not that of the chat, or ""; the template may place system prompts elsewhere."""
    found = {match[0]: match.start() for match in reversed(list(WORD.finditer(text)))}
    for is_system in (True, False):
        reached = -1
        for turn in plan:
            places = [found[word.word] for number in turn.sources for word in words[number]]
            if not places or (turn.role == "system") != is_system:
                continue
            if min(places) < reached:
                return "the local model's chat template changes the order of turns"
            reached = max(places)
    return ""


def _confusable(plan: Plan, turns: Sequence[dict[str, Any]]) -> Iterator[tuple[int, str]]:
    """The turns that a template may take for another role's, with that role: those out of the usual order."""
    before = ""
    for number, (role, sources) in enumerate(plan):
        words = bool(sources) and bool(turns[number]["content"]) and "tool_calls" not in turns[number]
        if words and role in ("system", "tool"):
            yield number, "assistant"
        elif words and role == "assistant" and before not in ("user", "tool"):
            yield number, "user"
        elif words and role == "user" and before == "user":
            yield number, "assistant"
        before = role
