"""Rows of a table: a prompt and a response under the names that the settings give, or under their usual ones."""

from __future__ import annotations

from typing import Any

from engine.dataset.formats import ending, parts, reply, request, turns
from engine.dataset.formats.names import ANSWER, CONTEXT, HISTORY, INSTRUCTION, METADATA, OPTIONS, PROMPT, Fields
from engine.dataset.formats.request import Request
from engine.dataset.formats.turns import Turn
from engine.dataset.formats.values import as_json, at, checked, cleaned, is_blank, is_number, listed, parsed, shown
from engine.dataset.record import RowError
from engine.protocol.rows import Message
from engine.settings.schema import Columns

QUESTION = (*INSTRUCTION, *PROMPT)


def is_pair(row: Fields) -> bool:
    """Whether a row has a prompt and an answer as plain texts."""
    questions, answers = row.present(QUESTION), row.present(ANSWER)
    return bool(questions and answers) and all(isinstance(row.get(names[0]), str) for names in (questions, answers))


def prompt(row: Fields, columns: Columns, notes: set[str]) -> list[Turn]:
    """The turns before the answer, without a system prompt beside them. Raises RowError where there are none."""
    return [*history(row, notes), *_question(row, columns, notes)]


def _question(row: Fields, columns: Columns, notes: set[str]) -> list[Turn]:
    if columns.prompt is not None:
        return asked(named(row, columns, "prompt"), notes)
    instruction, found = row.first(INSTRUCTION), row.first(PROMPT)
    if instruction is not None and found == "prompt":  # the instruction is for every prompt
        return [*request.system_turns(row.get(instruction), notes), *asked(row.get(found), notes)]
    spoken = "user" in row and "assistant" in row and not row.present(("text", "message", "content"))
    name = instruction or found or ("user" if spoken else None)
    if name is None:
        if _system_alone(row) or _answers_whole(row):
            return []
        raise RowError(f"no prompt: no column for the prompt; there are: {listed(list(row.record))}")
    if is_blank(row.get(name)):
        raise RowError(f"no prompt: {name} is empty")
    if options := next((other for other in row.present(OPTIONS) if _are_texts(parsed(row.get(other)))), None):
        raise RowError(f"no prompt: the question's {options} are in other columns; put them into one")
    given = [_text(row.get(name))] if instruction is not None else asked(row.get(name), notes)
    if len(given) == 1 and given[0].message["role"] == "user":
        extra = [_context(row.get(other)) for other in row.present(CONTEXT) if other != name]
        texts = [given[0].message["content"], *extra]
        return [request.user("\n\n".join(text for text in texts if text.strip()))]
    return given


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value)


def _system_alone(row: Fields) -> bool:
    """Whether a row's prompt is its system prompt."""
    return row.first(request.SYSTEM) is not None and row.first(ANSWER) is not None and not reply.is_reply(row.record)


def _answers_whole(row: Fields) -> bool:
    """Whether a row's answer is a whole chat, which repeats its prompt."""
    name = row.first(ANSWER)
    return name is not None and turns.is_messages(parsed(row.get(name)))


def _text(value: Any) -> Turn:
    """A prompt that is a text, whatever it says."""
    return request.user(value if isinstance(value, str) or not isinstance(value, list | dict) else _joined(value))


def _joined(value: Any) -> Any:
    return "\n".join(value) if isinstance(value, list) and all(isinstance(one, str) for one in value) else value


def _context(value: Any) -> str:
    """What belongs to a prompt: a text, several, or an object as JSON; numbers are tokens of a server."""
    if isinstance(value, dict):
        return as_json(value)
    if isinstance(value, list):
        if all(is_number(one) for one in value):
            return ""
        return "" if turns.is_messages(value) else "\n\n".join(parts.plain(one, "the input") for one in value)
    return parts.plain(value, "the input")


def asked(value: Any, notes: set[str]) -> list[Turn]:
    """A prompt's turns: a text, a list of messages, or a whole request. Raises RowError."""
    if (found := request.read(value, notes, strict=isinstance(value, str))) is not None:
        return found.turns
    if isinstance(value, dict) and isinstance(value.get("raw"), str):  # promptfoo
        return asked(value["raw"], notes)
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else "\n".join(parts.read(value, notes).texts)
    return [request.user(value)]


def answer(row: Fields, columns: Columns, notes: set[str]) -> list[Turn]:
    """The turns of a row's answer. Raises RowError where it has none, or one that is none to learn."""
    name = None
    if columns.response is not None:
        value = named(row, columns, "response")
    else:
        name = row.first(ANSWER)
        if name is None:
            if not reply.is_reply(row.record):
                raise RowError(f"no answer: no column for the response; there are: {listed(list(row.record))}")
            value = row.record
        else:
            value = row.get(name)
    if failed := ending.failure(row.record):
        raise RowError(f"failed: {failed}")
    ending.check(row.record, *(parsed(row.get(place)) for place in row.present(METADATA)))
    if row.get("label") is False and name == "completion":  # KTO
        raise RowError("not to learn: its label is false")
    if reply.missing(value):
        raise RowError("no answer: the response is empty")
    if called := _calls(value, row):
        return turns.read([{"role": "assistant", "content": "", "tool_calls": called}], notes)
    return reply.read(nested_answer(name or "", value), notes, strict=isinstance(value, str)).turns


def nested_answer(name: str, value: Any) -> Any:
    """The text in an object with one field that is named like an answer: LangSmith's outputs, Kiln's output.

    Elsewhere such an object is the answer, as the service was asked for JSON.
    """
    if name in ("ideal", "generations") and isinstance(value, list) and _are_texts(value):
        return value[0]  # any of them is right
    opened = parsed(value) if name == "outputs" else value
    if isinstance(opened, dict) and {"output", "tokenUsage"} <= set(opened):  # promptfoo
        return opened["output"]
    if isinstance(opened, dict) and len(opened) == 1 and not reply.is_reply(opened):
        ((field, inner),) = opened.items()
        known = (*ANSWER, "result", "text", "messages") if name == "outputs" else (name, "output")
        if isinstance(field, str) and field.casefold() in known and name in ("outputs", "output", "response"):
            return inner
    return value


def _calls(value: Any, row: Fields) -> list[Any]:
    """The calls that an answer consists of, where the row offers tools: xLAM's form."""
    opened = parsed(value)
    if not isinstance(opened, list) or not isinstance(parsed(row.get("tools")), list):
        return []
    called = all(isinstance(one, dict) and set(one) == {"name", "arguments"} for one in opened)
    return opened if called else []


def history(row: Fields, notes: set[str]) -> list[Turn]:
    """The turns before a question: pairs of question and answer (Alpaca), or messages. Raises RowError."""
    name = next(iter(row.present(HISTORY)), None)
    given = parsed(row.get(name)) if name is not None else None
    if reply.missing(given):
        return []
    if isinstance(given, list) and all(isinstance(one, dict) for one in given):
        return turns.read(given, notes)
    if not isinstance(given, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in given):
        raise RowError(f"unreadable message: {name} is neither pairs of texts nor messages ({shown(given)})")
    found: list[Turn] = []
    for question, said in given:
        content = checked(parts.plain(said, "history"), "the history")
        found += [request.user(question), Turn(Message(role="assistant", content=content))]
    return found


def named(row: Fields, columns: Columns, setting: str) -> Any:
    """The value of a column that the settings name. Raises RowError where the row lacks it."""
    path: str = getattr(columns, setting)
    found, value = at(row.record, path)
    if not found:
        what = "answer" if setting == "response" else "prompt"
        raise RowError(
            f"no {what}: no column {path!r} (coverage.columns.{setting}); there are: {listed(list(row.record))}"
        )
    return value


def nested_prompt(name: str, value: Any, notes: set[str]) -> Request | None:
    """The prompt in an object with one field, or with an instruction and what belongs to it: LangSmith's inputs.

    None where the object has no such field. Raises RowError where it has others, which would be lost.
    """
    if not isinstance(value, dict):
        return None
    fields = Fields(value)
    for wrapper in request.WRAPPERS:
        if wrapper in fields and isinstance(inner := parsed(fields.get(wrapper)), dict):
            return nested_prompt(wrapper, inner, notes)
    known = {*INSTRUCTION, *PROMPT, *CONTEXT, *HISTORY, *request.SYSTEM, *request.PARAMETERS, "message"}
    if unknown := [inner for inner in fields.names if inner not in known and _says_something(fields.get(inner))]:
        raise RowError(
            f"no prompt: {name} has fields of unknown meaning ({listed(unknown)}); "
            f"set coverage.columns.prompt, such as {name}.{cleaned(unknown[0], 40)}"
        )
    if isinstance(said := fields.get("message"), str):  # Cohere
        return request.with_system(value, [*history(fields, notes), request.user(said)], "Cohere", notes)
    if not (fields.first(INSTRUCTION) or fields.first(PROMPT)):
        return None
    return request.with_system(value, prompt(fields, Columns(), notes), "prompt and response", notes)


def _says_something(value: Any) -> bool:
    """Whether a field may be part of a prompt; numbers are parameters."""
    return isinstance(value, str | list | dict) and not reply.missing(value)
