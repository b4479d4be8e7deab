"""The chat models on litellm's price list, read from its file: importing litellm takes seconds."""

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
    """All chat models with a price, by name; none without litellm. Rows named "ft:..." price fine-tuned models."""
    spec = importlib.util.find_spec("litellm")
    file = Path(spec.origin).with_name(_FILE) if spec is not None and spec.origin is not None else None
    if file is None or not file.is_file():
        return []
    models = (_listed(name, row) for name, row in json.loads(file.read_bytes()).items())
    return sorted(model for model in models if model is not None)


def _listed(name: str, row: dict[str, Any]) -> Listed | None:
    input_price, output_price = row.get("input_cost_per_token"), row.get("output_cost_per_token")
    if name.startswith("ft:") or row.get("mode") != "chat":
        return None
    if not isinstance(input_price, int | float) or not isinstance(output_price, int | float):
        return None
    context = row.get("max_input_tokens")
    return Listed(
        name=name,
        provider=str(row.get("litellm_provider", "")),
        input_price=round(1e6 * input_price, 6),
        output_price=round(1e6 * output_price, 6),
        context=context if isinstance(context, int) else None,
    )
