"""What was asked and what was answered, found in a row of a log or of a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from engine.dataset.formats import ending, reply, request, table, tools
from engine.dataset.formats.names import ANSWER, CONTEXT, INSTRUCTION, METADATA, PROMPT, REPLY, REQUEST, Fields
from engine.dataset.formats.request import Request
from engine.dataset.formats.turns import Turn
from engine.dataset.formats.values import at, is_blank, kind, listed, parsed, unquoted
from engine.dataset.record import RowError
from engine.protocol.rows import Tool, message_text
from engine.settings.schema import Columns

SEVERAL = 'a conversation holds several answers; the last one is learned (coverage.turns = "all" learns each)'

BESIDE = "another response stands beside a chat that ends with its answer; it is not used"

PARAMETER_OBJECTS = (
    "extra",
    "invocation_params",
    "model_parameters",
    "modelparameters",
    "optional_params",
    "kwargs",
    "params",
    "metadata",
    "tool_params",
    "dynamic_tool_params",
)
"""Objects in which loggers keep a request's parameters, and with them its tools."""

REPLY_MARKS = frozenset({"choices", "candidates", "generations", "output", "stop_reason", "content"})
"""Fields without one of which a row is no reply itself, though it may hold one."""

BEGINS = frozenset({"Anthropic Messages", "Bedrock Converse"})
"""APIs whose answer goes on from the beginning that the request ends with."""

REPLIES = (*REPLY, *ANSWER)

PROMPT_LIKE = ("input", "inputs", "item", "kwargs")
"""Fields of requests that elsewhere hold a plain prompt: there a text is a request only if it can be nothing else."""


class Exchange(NamedTuple):
    """What was sent and what came back; `apis` are what they were recognised as."""

    turns: list[Turn]
    tools: list[Tool]
    apis: tuple[str, str]


def find(row: Fields, columns: Columns, notes: set[str]) -> Exchange:
    """The exchange in a row. Raises RowError with the reason why it has none to learn."""
    if columns.messages is not None or columns.prompt is not None or columns.response is not None:
        return _from_columns(row, columns, notes)
    if (sampled := parsed(row.get("sample"))) and isinstance(sampled, dict) and {"input", "output"} <= set(sampled):
        row = Fields({**sampled, "id": row.get("id")})  # a run of OpenAI's evals
    row = _without_cell_quotes(row)
    chat = request.chat(row.record, notes, beside_text=table.is_pair(row) or row.first(ANSWER) is not None)
    if chat is not None:
        if (earlier := _earlier(row, chat)) is not None:
            return _from_table(row, columns, notes, earlier)
        return _answered(
            row, _with_tools(row, chat, notes), columns, notes, whole=True, cells=_is_cell(row, request.CHATS)
        )
    for name in row.present(REQUEST):
        if name == "input" and row.first(INSTRUCTION) is not None:
            continue  # it belongs to the instruction
        given = row.get(name)
        empty = reply.missing(given) or reply.missing(parsed(given))
        if not empty and (found := _logged(row, name, given, columns, notes)) is not None:
            return found
    return _from_table(row, columns, notes, [])


def _logged(row: Fields, name: str, given: Any, columns: Columns, notes: set[str]) -> Exchange | None:
    """The exchange whose request stands in one field; None where the field holds none."""
    value = parsed(given)
    cell = isinstance(given, str)
    if isinstance(value, dict) and _is_whole(row, Fields(value)):
        return _from_table(Fields(value), columns, notes, [])
    plain = cell and name in PROMPT_LIKE and "outputs" not in row
    found = request.read(given, notes, strict=plain)
    if found is None and not plain:
        found = table.nested_prompt(name, value, notes)
    if found is None:
        return None
    if name == "inputs" and isinstance(value, dict) and found.api == "chat messages":
        inner = Fields(value)
        beside = (other for other in inner.present((*CONTEXT, *PROMPT)) if not reply.missing(inner.get(other)))
        if lost := [*dict.fromkeys(beside)]:
            raise RowError(f"no prompt: {name} has {listed(lost)} outside its messages; set coverage.columns")
    return _answered(row, _with_tools(row, found, notes), columns, notes, whole=False, cells=cell)


def _is_whole(row: Fields, inner: Fields) -> bool:
    """Whether an object in a row holds both a prompt and its answer."""
    alone = not any(name in row for name in REPLY if name != "sample")
    return alone and inner.first(PROMPT) is not None and any(name in inner for name in ANSWER)


def _is_cell(row: Fields, names: tuple[str, ...]) -> bool:
    """Whether a row keeps its values as JSON texts."""
    return any(isinstance(row.get(name), str) for name in row.present(names))


def _without_cell_quotes(row: Fields) -> Fields:
    """The row of a log that writes its texts as JSON into cells, without their quotes: Langfuse's CSV."""
    cells = {name: row.get(name) for name in ("input", "output")}
    if not all(isinstance(cell, str) for cell in cells.values() if cell is not None):
        return row
    bare = {name: unquoted(cell) for name, cell in cells.items() if unquoted(cell) != cell}
    traced = "traceid" in row or "trace_id" in row
    others_json = all(name in bare or not isinstance(parsed(cell), str) for name, cell in cells.items())
    if not bare or not (len(bare) == len(cells) or (traced and others_json)):
        return row
    return Fields({**row.record, **{row.names[name]: text for name, text in bare.items()}})


def _earlier(row: Fields, chat: Request) -> list[Turn] | None:
    """The turns of a chat that came before the prompt and the answer in the same row; None where it holds both."""
    if not table.is_pair(row):
        return None
    name = row.first(PROMPT) or row.first(INSTRUCTION)
    question, said = row.get(name) if name is not None else None, row.get(row.first(ANSWER) or "")
    texts = {turn.message["content"].strip() for turn in chat.turns}
    if not isinstance(question, str) or not isinstance(said, str) or reply.is_reply(said):
        return None
    return None if question.strip() in texts or said.strip() in texts else chat.turns


# Requests and their replies


def _answered(row: Fields, asked: Request, columns: Columns, notes: set[str], *, whole: bool, cells: bool) -> Exchange:
    """A request with the reply beside it; `whole` where the row itself is the chat, `cells` where JSON is in texts."""
    given = _beside_system(row, asked.turns, columns, notes)
    ended = bool(given) and given[-1].message["role"] == "assistant"
    value = _reply_value(row, only_apis=ended and whole)
    if _check_reply(row, value, required=not ended, cells=cells):
        found = reply.read(unquoted(value) if cells else value, notes, strict=isinstance(value, str) and not cells)
        given = _completed(given, value, notes)
        return Exchange(
            _joined(given, found, asked.api), asked.tools or _echoed_tools(value, notes), (asked.api, found.api)
        )
    ending.check(row.record, *(parsed(row.get(name)) for name in row.present(METADATA)))
    notes.add(SEVERAL)
    said = row.get(row.first(ANSWER) or "")
    if isinstance(said, str) and said.strip() and said.strip() != given[-1].message["content"].strip():
        notes.add(BESIDE)
    return Exchange(given, asked.tools, (asked.api, ""))


def _check_reply(row: Fields, value: Any, *, required: bool, cells: bool) -> bool:
    """Whether there is a reply. Raises RowError where it failed, is cut, or is missing but `required`."""
    failed = ending.failure(row.record)
    nothing = reply.missing(value, cells=cells)
    if failed and nothing and failed.startswith("level "):
        raise RowError(f"no answer: the call failed ({failed})")
    if failed:
        raise RowError(f"failed: {failed}")
    if nothing and required:
        raise RowError("no answer: the response is missing")
    if not nothing:
        ending.check(row.record, *(parsed(row.get(name)) for name in row.present(METADATA)))
    if cells and isinstance(value, str) and value.lstrip()[:1] in ("{", "[") and parsed(value) is value:
        raise RowError("cut: the cell's JSON is broken off")
    return not nothing


def _reply_value(row: Fields, *, only_apis: bool) -> Any:
    """The reply in a row: the row itself, or the first field that holds one."""
    if not REPLY_MARKS.isdisjoint(row.names) and reply.is_reply(row.record):
        return row.record
    names = [name for name in row.present(REPLIES) if row.get(name) is not None]
    name = next((name for name in names if not only_apis or reply.is_reply(row.get(name))), None)
    if name is None:
        return None
    if name == "output" and isinstance(value := row.get(name), list) and "version" in row and "logs" in row:
        if state := ending.unfinished(row.record):  # Replicate, which keeps the answer in pieces
            raise RowError(f"failed: status {state}")
        return "".join(value) if all(isinstance(one, str) for one in value) else value
    return table.nested_answer(name, row.get(name))


def _completed(given: list[Turn], value: Any, notes: set[str]) -> list[Turn]:
    """The turns with the instructions that a Responses reply repeats, where the request has none."""
    response = _response_object(value)
    if not response:
        return given
    if not is_blank(response.get("previous_response_id")):
        raise RowError(request.GOES_ON)
    missing = not any(turn.message["role"] == "system" for turn in given)
    instructions = response.get("instructions")
    return [*request.system_turns(instructions, notes), *given] if missing and not is_blank(instructions) else given


def _echoed_tools(value: Any, notes: set[str]) -> list[Tool]:
    return tools.definitions(_response_object(value), notes)


def _response_object(value: Any) -> dict[str, Any]:
    opened = parsed(value)
    return opened if isinstance(opened, dict) and opened.get("object") == "response" else {}


def _with_tools(row: Fields, found: Request, notes: set[str]) -> Request:
    """A request with the tools that stand elsewhere in the row."""
    if found.tools:
        return found
    places = [row.record, *_parameter_objects(row)]
    offered = (tools.definitions(place, notes) for place in places)
    return found._replace(tools=next((some for some in offered if some), []))


def _parameter_objects(row: Fields) -> Iterator[dict[str, Any]]:
    for name in row.present(PARAMETER_OBJECTS):
        if isinstance(place := parsed(row.get(name)), dict):
            yield place
            if isinstance(inner := parsed(place.get("invocation_params")), dict):
                yield inner


def _beside_system(row: Fields, given: list[Turn], columns: Columns, notes: set[str]) -> list[Turn]:
    """The turns with the system prompt in the row, unless they begin with one."""
    begins = bool(given) and given[0].message["role"] == "system"
    if begins and "instructions" not in row:
        return given
    if columns.system is not None:
        value = at(row.record, columns.system)[1]
    else:
        name = row.first(request.SYSTEM)
        value = row.get(name) if name is not None else None
    if is_blank(value) or (isinstance(value, str) and value.strip().casefold() in ("none", "null", "nan")):
        return given
    system = request.system_turns(value, notes)
    return given if begins and given[0].message == system[0].message else [*system, *given]


def _joined(given: list[Turn], found: reply.Reply, api: str) -> list[Turn]:
    """A prompt and its answer, which may repeat the prompt, or go on from the beginning that it was given."""
    answer = found.turns
    if not answer:
        raise RowError("no answer: the response has no message")
    if any(turn.message["role"] in ("user", "system") for turn in answer):
        return _repeated(given, answer)
    if not given or given[-1].message["role"] != "assistant":
        return [*given, *answer]
    last, first = given[-1].message, answer[0].message
    if " ".join(message_text(last).split()) == " ".join(message_text(first).split()):
        return [*given[:-1], *answer]
    begun = given[-1].begins or found.api in BEGINS or api in BEGINS
    if not begun or last.get("tool_calls"):
        return [*given, *answer]
    if given[-1].begins and first["content"].startswith(last["content"]):  # Mistral repeats it, DeepSeek does not
        return [*given[:-1], *answer]
    joined = first.copy()
    joined["content"] = last["content"] + first["content"]
    return [*given[:-1], answer[0]._replace(message=joined), *answer[1:]]


def _repeated(given: list[Turn], answer: list[Turn]) -> list[Turn]:
    """A prompt and an answer that is a whole chat, which repeats the prompt or not."""
    plain = [message_text(turn.message).strip() for turn in given if turn.message["role"] != "system"]
    again = [message_text(turn.message).strip() for turn in answer if turn.message["role"] != "system"]
    if again[: len(plain)] != plain:
        return [*given, *answer]
    has_system = answer[0].message["role"] == "system"
    return answer if has_system else [turn for turn in given if turn.message["role"] == "system"] + answer


# Tables


def _from_columns(row: Fields, columns: Columns, notes: set[str]) -> Exchange:
    """The exchange by the columns that the settings name; what they leave open is looked for."""
    offered = _with_tools(row, Request([], [], ""), notes).tools
    if columns.messages is None:
        asked = Request(table.prompt(row, columns, notes), offered, "prompt and response")
    else:
        value = table.named(row, columns, "messages")
        found = request.read(value, notes)
        if found is None:
            raise RowError(f"unreadable message: {columns.messages} holds no messages but {kind(parsed(value))}")
        asked = Request(found.turns, found.tools or offered, found.api)
        if columns.response is None:
            return _answered(row, asked, columns, notes, whole=True, cells=isinstance(value, str))
    given = _beside_system(row, asked.turns, columns, notes)
    found_reply = reply.Reply(table.answer(row, columns, notes), "")
    return Exchange(_joined(given, found_reply, asked.api), asked.tools, (asked.api, ""))


def _from_table(row: Fields, columns: Columns, notes: set[str], earlier: list[Turn]) -> Exchange:
    given = [*earlier, *table.prompt(row, columns, notes)]
    found = reply.Reply(table.answer(row, columns, notes), "")
    given = _beside_system(row, given, columns, notes)
    name = "Alpaca" if "instruction" in row and "output" in row else "prompt and response"
    return Exchange(_joined(given, found, name), _with_tools(row, Request([], [], ""), notes).tools, (name, ""))
