"""A recorded request: the turns that the service was sent, and the tools that it was offered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from engine.dataset.formats import parts, tools, turns
from engine.dataset.formats.names import known_names
from engine.dataset.formats.turns import Turn
from engine.dataset.formats.values import checked, is_blank, is_nothing, kind, parsed
from engine.dataset.record import RowError
from engine.protocol.rows import Message, Tool

CHATS = (
    "messages",
    "conversations",
    "conversation",
    "dialog",
    "dialogue",
    "chat",
    "chat_messages",
    "items",
    "contents",
)
"""Fields that hold a whole chat."""

SYSTEM = (
    "gen_ai.system_instructions",
    "preamble",
    "system",
    "system_prompt",
    "system_message",
    "systeminstruction",
    "system_instruction",
    "instructions",
    "systemprompt",
)
"""Fields that hold a system prompt, in lower case."""

WRAPPERS = ("body", "params", "request", "kwargs", "json", "payload", "modelinput", "inputbodyjson", "data")
"""Fields in which a request is wrapped: by the batch APIs, by HTTP logs."""

PARAMETERS = frozenset(
    (  # noqa: SIM905 - a list of words reads better
        "model model_id modelid temperature max_tokens max_new_tokens top_p top_k stop stop_sequences seed stream n "
        "user parameters textgenerationconfig response_format tool_choice frequency_penalty presence_penalty logprobs "
        "options format keep_alive tools functions"
    ).split()
)
"""Fields of a request that are no part of the prompt."""

RESPONSES = frozenset({"instructions", "reasoning", "max_output_tokens", "previous_response_id", "store", "truncation"})
"""Parameters of the Responses API alone."""

GOES_ON = "no prompt: the request continues an earlier one that is not in the row (previous_response_id)"

EARLIER = ("previous_response_id", "previousresponseid")


class Request(NamedTuple):
    """The turns of a request and its tools; `api` is what it was recognised as."""

    turns: list[Turn]
    tools: list[Tool]
    api: str


def read(value: Any, notes: set[str], *, strict: bool = False) -> Request | None:
    """The request that a value is; None where it is none. `strict` leaves out what may be anything else.

    Raises RowError where it is one, but can't be used.
    """
    value = parsed(value)
    if is_items(value) or turns.is_messages(value) or _is_batch_of_one(value):
        return _of_messages(value, notes)
    if not isinstance(value, dict):
        return None
    names = _names(value)
    if strict and not _is_sure(value, names):
        return None
    if (found := chat(value, notes)) is not None:
        return found
    if "input" in names and _is_responses(value, names):
        given = parsed(value[names["input"]])
        read_turns = turns.read(given, notes) if isinstance(given, list) else [user(given)]
        return with_system(value, read_turns, "OpenAI Responses", notes)
    for wrapper in WRAPPERS:
        inner = parsed(value[names[wrapper]]) if wrapper in names else None
        if isinstance(inner, dict | list) and (found := read(inner, notes)) is not None:
            return found
    return None


def _of_messages(value: list[Any], notes: set[str]) -> Request:
    """A request that is its messages alone; definitions of tools stand among them in LangChain's logs."""
    value = value[0] if _is_batch_of_one(value) else value
    if not any(one.get("role") == "tool" for one in value):
        return Request(turns.read(value, notes), [], "chat messages")
    definitions = [one for one in value if _is_definition(one)]
    offered = tools.definitions({"tools": [parsed(one["content"]) for one in definitions]}, notes)
    return Request(turns.read([one for one in value if not _is_definition(one)], notes), offered, "chat messages")


def _is_definition(value: Any) -> bool:
    content = parsed(value.get("content")) if isinstance(value, dict) and value.get("role") == "tool" else None
    return isinstance(content, dict) and content.get("type") == "function" and isinstance(content.get("function"), dict)


def _is_sure(value: Mapping[str, Any], names: Mapping[str, str]) -> bool:
    """Whether an object in a text is a request and nothing that a prompt may be about."""
    if _has_messages(value, names):
        return True
    if "model" in names and "input" in names:
        given = parsed(value[names["input"]])
        return turns.is_messages(given) or (isinstance(given, str) and not RESPONSES.isdisjoint(names))
    inner = parsed(value[names["kwargs"]]) if "kwargs" in names else None  # what a decorator logs
    return isinstance(inner, dict) and _has_messages(inner, _names(inner))


def _has_messages(value: Mapping[str, Any], names: Mapping[str, str]) -> bool:
    return any(turns.is_messages(parsed(value[names[name]])) for name in CHATS if name in names)


def chat(value: Mapping[str, Any], notes: set[str], *, beside_text: bool = False) -> Request | None:
    """The request in an object that holds a chat itself; None where it holds none.

    `beside_text` where a prompt or an answer stands beside it: then only messages count. Raises RowError.
    """
    names = _names(value)
    if any(not is_nothing(value[names[name]]) for name in EARLIER if name in names):
        raise RowError(GOES_ON)
    for name in CHATS:
        given = parsed(value[names[name]]) if name in names else None
        if is_nothing(given) or _is_side_column(name, given, beside_text):
            continue
        if name == "conversation" and "input" in names and isinstance(given, str | dict):  # the Responses API
            raise RowError(GOES_ON.replace("previous_response_id", "conversation"))
        if name.startswith("conv") and isinstance(given, list) and all(isinstance(one, str) for one in given):
            roles = ("user", "assistant") * len(given)  # LIMA
            given = [{"role": role, "content": text} for role, text in zip(roles, given, strict=False)]
        if isinstance(given, dict) and name in ("chat", "conversation"):  # Open WebUI
            return chat(given, notes) if _has_messages(given, _names(given)) else None
        if name == "messages" and "response" in names and _is_plain(given, names):  # litellm's text completions
            return with_system(value, [user(given)], "completion", notes)
        if isinstance(given, list) and name != "contents" and (turns.is_messages(given) or _is_batch_of_one(given)):
            found = _of_messages(given, notes)
            return with_system(value, found.turns, _api(value, name), notes, found.tools)
        read_turns = turns.read(_spoken(given) if name == "contents" else given, notes)
        return with_system(value, read_turns, _api(value, name), notes)
    return None


def _is_plain(given: Any, names: Mapping[str, str]) -> bool:
    """Whether `messages` hold a prompt's text, and no JSON that is broken off."""
    return isinstance(given, str) and "prompt" not in names and given.lstrip()[:1] not in ("[", "{")


def _is_side_column(name: str, given: Any, beside_text: bool) -> bool:
    """Whether a field that is named like a chat holds something else."""
    if name == "messages":
        return beside_text and not isinstance(given, list | str)
    return (beside_text and not isinstance(given, list)) or not isinstance(given, list | dict | str)


def _spoken(contents: Any) -> Any:
    """Gemini's contents, which may leave out that the user speaks."""
    if isinstance(contents, str):
        return [{"role": "user", "content": contents}]
    contents = [contents] if isinstance(contents, dict) else contents
    if not isinstance(contents, list):
        return contents
    return [_spoken_by_user(one) for one in contents]


def _spoken_by_user(content: Any) -> Any:
    if isinstance(content, str):
        return {"role": "user", "content": content}
    return {**content, "role": "user"} if isinstance(content, dict) and content.get("role") is None else content


def _names(value: Mapping[str, Any]) -> Mapping[str, str]:
    return known_names(tuple(value))


def is_items(value: Any) -> bool:
    """Whether a list holds messages in OpenTelemetry's or OpenInference's flattened form."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(one, dict) and "message.role" in one for one in value)
    )


def user(text: Any) -> Turn:
    """A prompt that is a text alone. Raises RowError where it is something else."""
    if isinstance(text, dict | list):
        raise RowError(f"no prompt: it is {kind(text)} of unknown form")
    return Turn(Message(role="user", content=checked(parts.plain(text, "the prompt"), "the user's text")))


def system_turns(value: Any, notes: set[str]) -> list[Turn]:
    """A system prompt as a turn: a text, blocks of text, messages, or Gemini's parts. Raises RowError."""
    blocks = parsed(value)
    if (
        isinstance(blocks, list)
        and blocks
        and all(isinstance(one, dict) and one.get("type") == "text" for one in blocks)
    ):
        value = blocks
    if turns.is_messages(value):
        return turns.read(value, notes)
    if isinstance(value, dict) and ("parts" in value or "content" in value):
        value = value["parts"] if "parts" in value else value["content"]
    content = checked("\n".join(parts.read(value, notes).texts), "the system prompt")
    return [Turn(Message(role="system", content=content))] if content.strip() else []


def with_system(
    value: Mapping[str, Any],
    given: list[Turn],
    api: str,
    notes: set[str],
    offered: list[Tool] | None = None,
) -> Request:
    """A request with its tools and with the system prompt that stands beside its messages."""
    config = parsed(value.get("config"))  # of Gemini's SDK
    places = [value, *([config] if isinstance(config, dict) else [])]
    if "documents" in value and not is_nothing(parsed(value["documents"])):
        raise RowError("file: the request has documents outside its messages")
    offered = offered or next((found for place in places if (found := tools.definitions(place, notes))), [])
    for place in places:
        known = _names(place)
        field = next((known[name] for name in SYSTEM if name in known and not is_blank(place[known[name]])), None)
        if field is not None:
            system = system_turns(place[field], notes)
            again = bool(given) and bool(system) and given[0].message == system[0].message
            return Request(given if again else [*system, *given], offered, api)
    return Request(given, offered, api)


def _api(value: Mapping[str, Any], chat: str) -> str:
    if chat == "contents":
        return "Gemini"
    if chat.startswith("conv"):
        return "ShareGPT"
    if any(key in value for key in ("toolConfig", "inferenceConfig", "modelId")):
        return "Bedrock Converse"
    if "anthropic_version" in value or (value.get("system") and "max_tokens" in value):
        return "Anthropic Messages"
    return "OpenAI chat" if "model" in value else "chat messages"


def _is_responses(value: Mapping[str, Any], names: Mapping[str, str]) -> bool:
    """Whether an object with `input` is a request of the Responses API, not a row of some table."""
    given = parsed(value[names["input"]])
    if turns.is_messages(given):
        return True
    return (
        isinstance(given, str) and bool(given.strip()) and "model" in names and not {"output", "response"} & set(names)
    )


def _is_batch_of_one(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 1 and turns.is_messages(value[0])
