"""What a record is, in the words of those who made it: "Langfuse observations", "OpenAI chat"."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from engine.dataset.formats.names import USUAL, Fields


class Export(NamedTuple):
    """An export by its name, and the fields by which it is known."""

    name: str
    fields: frozenset[str]


EXPORTS = (
    Export("litellm spend logs", frozenset({"proxy_server_request", "call_type"})),
    Export("litellm logs", frozenset({"call_type", "messages", "response"})),
    Export("Langfuse observations", frozenset({"traceid", "input", "output"})),
    Export("Langfuse observations", frozenset({"trace_id", "observation_type"})),
    Export("Helicone requests", frozenset({"request_body", "response_body"})),
    Export("LangSmith runs", frozenset({"run_type", "inputs", "outputs"})),
    Export("LangSmith examples", frozenset({"inputs", "outputs"})),
    Export("TensorZero inferences", frozenset({"function_name", "variant_name"})),
    Export("Vertex AI logs", frozenset({"full_request", "full_response"})),
    Export("Bedrock batch", frozenset({"modelinput"})),
    Export("batch", frozenset({"custom_id"})),
    Export("LlamaDuo", frozenset({"prompt_id", "seed_prompt", "messages"})),
    Export("OpenAI stored completions", frozenset({"choices", "messages"})),
    Export("preferences", frozenset({"chosen", "rejected"})),
    Export("ShareGPT", frozenset({"conversations"})),
)
"""Known exports, the more particular ones first."""


def format_name(row: Fields, request_api: str, reply_api: str) -> str:
    """The export that a row is from, with the API whose calls it holds where both are known."""
    api = reply_api if reply_api and reply_api not in ("chat messages", "completion") else request_api
    export = _export(tuple(row.names)) if len(row.names) <= USUAL else ""
    if not export:
        return api
    return export if api in (*PLAIN, export) else f"{export} ({api})"


@lru_cache(maxsize=1024)
def _export(names: tuple[str, ...]) -> str:
    """The export that rows with these fields are from; "" for none that is known."""
    return next((export.name for export in EXPORTS if export.fields.issubset(names)), "")


PLAIN = ("", "chat messages", "prompt and response", "OpenAI chat", "ShareGPT")
"""What need not be said beside the name of an export."""
