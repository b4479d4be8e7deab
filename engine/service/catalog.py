"""The chat models on litellm's price list, read from its file: to import litellm takes seconds."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any, NamedTuple

_FILE = "model_prices_and_context_window_backup.json"


class Listed(NamedTuple):
    """A model by the name that the settings take; prices in USD per million tokens, `context` in tokens."""

    name: str
    provider: str
    input_price: float
    output_price: float
    context: int | None


def listed() -> list[Listed]:
    """All chat models with a price, by name; none where litellm is not installed. "ft:..." stand for no model."""
    found = importlib.util.find_spec("litellm")
    file = Path(found.origin).with_name(_FILE) if found is not None and found.origin is not None else None
    if file is None or not file.is_file():
        return []
    models = (_listed(name, row) for name, row in json.loads(file.read_bytes()).items())
    return sorted(model for model in models if model is not None)


def _listed(name: str, row: dict[str, Any]) -> Listed | None:
    asked, answered = row.get("input_cost_per_token"), row.get("output_cost_per_token")
    if name.startswith("ft:") or row.get("mode") != "chat":
        return None
    if not isinstance(asked, int | float) or not isinstance(answered, int | float):
        return None
    context = row.get("max_input_tokens")
    known = context if isinstance(context, int) else None
    return Listed(name, str(row.get("litellm_provider", "")), round(1e6 * asked, 6), round(1e6 * answered, 6), known)
