"""A tokenizer's own chat template as a run uses it: with its arguments, on its day. `rendering` adds the rest."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import lru_cache
from itertools import permutations
from typing import TYPE_CHECKING, Any
from weakref import proxy

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from engine.local.time_limit import TimeLimitError, time_limit
from engine.local.turns import in_parts, with_text_arguments
from engine.protocol.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHOOSE = "choose a model in local.model whose chat template supports this chat"
REPAIR = "repair chat_template.jinja in the model's folder, or download the model again"

ENDLESS = "the local model's chat template does not come to an end"
RENDER_S = 20.0
"""Seconds for a chat; one takes milliseconds."""
LONGEST = 20_000_000
"""Characters of a chat; the longest that a model takes has about a million tokens."""

DATE_NAMES = ("date_string", "current_date", "currentDate", "datetime", "date", "today")
"""The names under which templates take a date as an argument."""
DATE_FORMAT = "%d %b %Y"
"""Of dates that are given as an argument, as Llama's templates have it."""

OTHER_TOOLS = re.compile("(^|_)(tools|functions)$")
"""The names of the tools' definitions in templates that do not know `tools`."""
RESULT_ROLES = ("tool_response", "tool_result", "tool_results", "observation", "function", "ipython")
"""The roles of tools' results in templates that do not know `tool`."""

_FAILURES = (
    *(TemplateError, ArithmeticError, AttributeError, LookupError, MemoryError),
    *(RuntimeError, TypeError, ValueError),
)
"""The errors of templates: of Jinja, those that they raise on purpose, and those of the expressions in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forms:
    """How a template wants what servers give in the form of the API.

    `tools` are its names for their definitions, where it does not know `tools`; `no_tools` says that a chat without any
    needs an empty list. Calls have `text_arguments`, results their `result_role` and, if `result_names`, the function's
    name, and contents are lists of `parts`.
    """

    tools: Sequence[str]
    no_tools: bool
    text_arguments: bool
    result_role: str
    result_names: bool
    parts: bool


class Template:
    """Renders turns by the tokenizer's template, which is given `arguments` (local.template) where it knows them.

    Its `strftime_now` tells `day`, whenever it is called, so that a resumed run shows its model the same prompts.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, arguments: Mapping[str, Any], day: date) -> None:
        self.arguments, self.day = arguments, day
        self._endless = False
        # A strong reference would keep a tokenizer alive for as long as its rendering is remembered.
        self._tokenizer: PreTrainedTokenizerBase = proxy(tokenizer)
        self._result_role = lru_cache(2)(self._role_of_results)
        self.source = lru_cache(2)(self._source)
        self._as_text = lru_cache(2)(self._arguments_as_text)
        self._as_parts = lru_cache(2)(self._contents_as_parts)
        self.no_tools = lru_cache(1)(self._definitions_of_none)
        self.dates = lru_cache(2)(self._date_arguments)

    def _source(self, tools: bool) -> str:
        """The template's text; some tokenizers have another one for chats with tools."""
        source = str(self._tokenizer.get_chat_template(None, [{}] if tools else None))
        return clock(self.day, source) + source if "strftime_now" in source else source

    def names(self, tools: bool) -> frozenset[str]:
        """The variables that the template reads. Raises InputError where it is broken."""
        with template_errors():
            return _parsed(self.source(tools)).names

    def values(self, tools: bool, name: str) -> list[str]:
        """The texts that the template compares a variable with. Raises InputError where it is broken."""
        with template_errors():
            return _parsed(self.source(tools)).compared.get(name, [])

    def literals(self, tools: bool) -> str:
        """The template's own texts, a null character between them. Raises InputError where it is broken."""
        with template_errors():
            return _parsed(self.source(tools)).literals

    def text(self, turns: Sequence[dict[str, Any]], tools: Sequence[Any], *, generate: bool, **arguments: Any) -> str:
        """The text of turns; with `generate` up to where the template starts the next response.

        Raises InputError where the template refuses them.
        """
        offers = bool(tools)
        with template_errors():
            given = list(tools) or self.no_tools()
            return self._apply(self.fitted(turns, tools=offers), given, generate, self.dates(offers) | arguments)

    def fitted(self, turns: Sequence[dict[str, Any]], *, tools: bool) -> Sequence[dict[str, Any]]:
        """The turns as the template wants them: arguments as text, results in another role, contents in parts."""
        if any("tool_calls" in turn for turn in turns) and self._as_text(tools):
            turns = with_text_arguments(turns)
        if any(turn["role"] == "tool" for turn in turns) and (role := self._result_role(tools)) != "tool":
            turns = [{**turn, "role": role} if turn["role"] == "tool" else turn for turn in turns]
        return in_parts(turns) if self._as_parts(tools) else turns

    def forms(self, tools: bool) -> Forms:
        """How it wants what a server gives it in the form of the API. Raises InputError where it is broken."""
        known = self.names(tools)
        return Forms(
            tools=sorted(name for name in known if "tools" not in known and OTHER_TOOLS.search(name)),
            no_tools=self.no_tools() is not None,
            text_arguments=self._as_text(tools),
            result_role=self._result_role(tools),
            result_names=self._names_results(tools),
            parts=self._as_parts(tools),
        )

    def _apply(
        self, turns: Sequence[dict[str, Any]], tools: list[Any] | None, generate: bool, arguments: Mapping[str, Any]
    ) -> str:
        known = self.names(bool(tools))
        given = {name: value for name, value in {**self.arguments, **arguments}.items() if name in known}
        if "tools" not in known:
            given |= {name: tools for name in known if tools is not None and OTHER_TOOLS.search(name)}
        if self._endless:
            raise InputError(ENDLESS, REPAIR)
        try:
            with time_limit(RENDER_S):
                text = str(
                    self._tokenizer.apply_chat_template(
                        list(turns),
                        tools=tools,
                        chat_template=self.source(bool(tools)),
                        tokenize=False,
                        add_generation_prompt=generate,
                        **given,
                    )
                )
        except TimeLimitError:
            self._endless = True
            raise InputError(ENDLESS, REPAIR) from None
        if len(text) > LONGEST:
            self._endless = True
            raise InputError(ENDLESS, REPAIR)
        return text

    def _date_arguments(self, tools: bool) -> dict[str, Any]:
        """The day, by the template's names for it, where it refuses to go without one or leaves its place empty.

        A template that has a date of its own keeps it, as on any server.
        """
        day = self.day.strftime(DATE_FORMAT)
        found: dict[str, Any] = {name: day for name in DATE_NAMES if name in self.names(tools)}
        without, given = self._question(tools, {}), self._question(tools, found)
        return found if day in given and without in ("", given.replace(day, "")) else {}

    def _question(self, tools: bool, arguments: Mapping[str, Any]) -> str:
        """A question as the template shows it; "" where it refuses."""
        try:
            question = in_parts(_QUESTION) if self._as_parts(tools) else _QUESTION
            return self._apply(question, self._given(tools), True, arguments)
        except _FAILURES:
            return ""

    def _given(self, tools: bool) -> list[Any] | None:
        return [_TOOL] if tools else self.no_tools()

    def _definitions_of_none(self) -> list[Any] | None:
        """What a chat without tools gives as their definitions: none, or a list where the template goes through it."""
        for question in (_QUESTION, in_parts(_QUESTION)):
            if self._tried(question, None):
                return None
            if self._tried(question, []):
                return []
        return None

    def _contents_as_parts(self, tools: bool) -> bool:
        """Whether the template shows a text only as a part of a content, as those for images do."""
        given = self._given(tools)
        text, parts = (self._tried(question, given) for question in (_QUESTION, in_parts(_QUESTION)))
        return "question" in parts and "question" not in text

    def _tried(self, turns: Sequence[dict[str, Any]], tools: list[Any] | None) -> str:
        """The text of turns with the date by every name for it, "" where the template refuses them."""
        day = self.day.strftime(DATE_FORMAT)
        try:
            known = self.names(bool(tools))
            return self._apply(turns, tools, False, {name: day for name in DATE_NAMES if name in known})
        except (*_FAILURES, InputError):
            return ""

    def _arguments_as_text(self, tools: bool) -> bool:
        """Whether the template wants a call's arguments as JSON text: it refuses objects, or shows Python's of them."""
        as_object = self._shown(_CALLING, tools)
        wrong = "probevalue" not in as_object or str(_ARGUMENTS) in as_object
        return wrong and json.dumps(_ARGUMENTS) in self._shown(with_text_arguments(_CALLING), tools)

    def _role_of_results(self, tools: bool) -> str:
        """The template's role for results of tools: that of the API, or another where it shows none of that."""
        texts = self.literals(tools).split("\0")
        roles = ["tool", *(role for role in RESULT_ROLES if role in texts)]
        named = {"name": "probename"}
        return next((role for role in roles if "proberesult" in self._answered(tools, role, named)), "tool")

    def _names_results(self, tools: bool) -> bool:
        """Whether results are shown with the name of their function, which the API's have not."""
        role = self._result_role(tools)
        return self._answered(tools, role, {"name": "probename"}) != self._answered(tools, role, {})

    def _answered(self, tools: bool, role: str, named: Mapping[str, str]) -> str:
        calling = with_text_arguments(_CALLING) if self._as_text(tools) else _CALLING
        result = {"role": role, "content": "proberesult", "tool_call_id": "call00001"}
        return self._shown([*calling, {**result, **named}], tools)

    def _shown(self, turns: Sequence[dict[str, Any]], tools: bool) -> str:
        """The text of turns, "" where the template refuses them."""
        try:
            turns = in_parts(turns) if self._as_parts(tools) else turns
            return self._apply(turns, self._given(tools), False, self.dates(tools))
        except _FAILURES:
            return ""


def clock(day: date, source: str) -> str:
    """The text to put before a template so that its strftime_now tells this day, at midnight, on any server.

    A macro, since transformers gives templates no functions of others. It knows the directives that the template names.
    The line break is dropped as after any block.
    """
    midnight = datetime.combine(day, time())
    told = {}
    for directive in sorted(set(_DIRECTIVE.findall(source)), reverse=True):
        value = midnight.strftime(directive.replace("-", ""))
        told[directive] = str(int(value)) if "-" in directive and value.strip().isdigit() else value
    if "%%" in source:
        told = {"%%": "\0", **told, "\0": "%"}
    return (
        "{% macro strftime_now(format) %}{% set told = namespace(text=format) %}"
        f"{{% for directive, value in {json.dumps(told)}.items() %}}"
        "{% set told.text = told.text | replace(directive, value) %}{% endfor %}"
        "{{ told.text }}{% endmacro %}\n"
    )


_DIRECTIVE = re.compile("%-?[aAbBcdDeFfGhHIjklmMpPsSTuUVwWxXyYz]")
_TOOL = {"type": "function", "function": {"name": "probetool", "description": "", "parameters": {}}}
_ARGUMENTS = {"probekey": "probevalue"}
_CALL = {"id": "call00001", "type": "function", "function": {"name": "probename", "arguments": _ARGUMENTS}}
_QUESTION: list[dict[str, Any]] = [{"role": "user", "content": "question"}]
_CALLING: list[dict[str, Any]] = [
    *_QUESTION,
    {"role": "assistant", "content": "", "tool_calls": [_CALL]},
]


class _Generation(Extension):
    """The tag by which transformers finds an assistant's tokens; what it encloses is rendered as it is."""

    tags = {"generation"}  # noqa: RUF012 (as Jinja declares it)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Parsed:
    """What a template's text says of it."""

    def __init__(self, source: str) -> None:
        tree = ImmutableSandboxedEnvironment(extensions=[loopcontrols, _Generation]).parse(source)
        self.names = frozenset(name.name for name in tree.find_all(nodes.Name) if name.ctx == "load")
        texts = [data.data for data in tree.find_all(nodes.TemplateData)]
        texts += [value.value for value in tree.find_all(nodes.Const) if isinstance(value.value, str)]
        self.literals = "\0".join(texts)
        self.compared: dict[str, list[str]] = {}
        for node in tree.find_all(nodes.Compare):
            for one, other in permutations([node.expr, *(operand.expr for operand in node.ops)], 2):
                if isinstance(one, nodes.Name) and isinstance(other, nodes.Const) and isinstance(other.value, str):
                    self.compared.setdefault(one.name, []).append(other.value)


@lru_cache(8)
def _parsed(source: str) -> _Parsed:
    return _Parsed(source)


@contextmanager
def template_errors() -> Iterator[None]:
    """Turn the errors of a template into an InputError."""
    try:
        yield
    except _FAILURES as error:
        raise InputError(f"the local model's chat template refuses this chat: {_reason(error)}", CHOOSE) from None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _check(source: str) -> None:
    try:
        _parsed(source)
    except TemplateSyntaxError as error:
        raise InputError(
            f"the local model's chat template is broken: line {error.lineno}: {_reason(error)}", REPAIR
        ) from None


def ensure_chat_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Give a base model ChatML, each turn ended by the model's own eos token, and every model a padding token.

    No token is added, since LoRA would not train its embedding. Raises InputError where there is no eos token, where a
    template is broken, and where of several none is the default.
    """
    if tokenizer.eos_token is None:
        raise InputError("the local model's tokenizer has no end token", "choose another model in local.model")
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    several = tokenizer.chat_template if isinstance(tokenizer.chat_template, dict) else {}
    if len(several) == 1:
        (tokenizer.chat_template,) = several.values()
    elif several and "default" not in several:
        raise InputError(
            f"the local model has several chat templates, none of them the default: {', '.join(sorted(several))}",
            'name one of them "default" in the chat_template of its tokenizer_config.json',
        )
    for source in several.values() or filter(None, [tokenizer.chat_template]):
        _check(str(source))
    if not tokenizer.chat_template:
        starts_with_bos = tokenizer.bos_token_id is not None and tokenizer.bos_token_id in tokenizer("").input_ids
        tokenizer.chat_template = ("{{ bos_token }}" if starts_with_bos else "") + _FOR_BASE_MODELS


_FOR_BASE_MODELS = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def lacks_template(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a tokenizer came without a chat template and `ensure_chat_template` gave it one."""
    return str(tokenizer.chat_template).endswith(_FOR_BASE_MODELS)
