"""The shape of a language model, as its config.json tells it: what memory and lengths depend on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.protocol.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_WITHOUT_CACHE = ("linear", "mamba", "conv", "recurrent", "mlp", "moe")
"""Parts of the names of layers whose state doesn't grow with the text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Of the language part, where a model has others: sizes of its layers and vocabulary, and what its cache holds.

    `cache_layers` are the layers that keep keys and values of each token, `kv_heads` heads of `head_dim` numbers each.
    `max_positions` is the longest text in tokens, None where nothing limits it.
    """

    layers: int
    hidden: int
    vocabulary: int
    cache_layers: int
    kv_heads: int
    head_dim: int
    max_positions: int | None

    @classmethod
    def of(cls, config: PreTrainedConfig) -> Shape:
        """Raises InputError where the configuration doesn't tell the sizes."""
        text = config.get_text_config(decoder=True)
        layers, hidden = _size(text, "num_hidden_layers"), _size(text, "hidden_size")
        heads = _optional(text, "num_attention_heads") or 0
        return cls(
            layers=layers,
            hidden=hidden,
            vocabulary=_size(text, "vocab_size"),
            cache_layers=_cache_layers(text, layers) if heads else 0,
            kv_heads=_optional(text, "num_key_value_heads") or heads,
            head_dim=_head_dim(text) or (hidden // heads if heads else 0),
            max_positions=_optional(text, "max_position_embeddings"),
        )

    @property
    def cache_values(self) -> int:
        """The numbers that the key-value cache holds of each token."""
        return 2 * self.cache_layers * self.kv_heads * self.head_dim


def _optional(config: PreTrainedConfig, name: str) -> int | None:
    """A size, by the name that most architectures share: the others map it to theirs."""
    value = getattr(config, name, None)
    # Some give a size for each layer; the largest is on the safe side.
    value = max((item for item in value if isinstance(item, int)), default=None) if isinstance(value, list) else value
    return value if isinstance(value, int) and value > 0 else None


def _size(config: PreTrainedConfig, name: str) -> int:
    if (value := _optional(config, name)) is not None:
        return value
    raise InputError(f"config.json of a {config.model_type} model has no {name}", "choose another model in local.model")


def _head_dim(config: PreTrainedConfig) -> int | None:
    """The cache of multi-head latent attention holds the keys as they are compared, two parts side by side."""
    nope, rope = _optional(config, "qk_nope_head_dim"), _optional(config, "qk_rope_head_dim")
    return nope + rope if nope and rope else _optional(config, "head_dim")


def _cache_layers(config: PreTrainedConfig, layers: int) -> int:
    kinds = getattr(config, "layer_types", None)
    if not isinstance(kinds, list):
        return layers
    return sum(not any(part in str(kind) for part in _WITHOUT_CACHE) for kind in kinds)
