"""The sizes of models, by architectures that name or nest them differently."""

from __future__ import annotations

import pytest
from transformers import (
    DeepseekV3Config,
    Gemma3Config,
    GPT2Config,
    Lfm2Config,
    LlamaConfig,
    MambaConfig,
    PreTrainedConfig,
    Qwen2_5_VLConfig,
)

from engine.local.shape import Shape
from engine.protocol.errors import InputError

GQA = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}


@pytest.mark.parametrize(
    ("config", "shape"),
    [
        (LlamaConfig(**GQA, max_position_embeddings=64), (3, 32, 99, 3, 2, 8, 64)),
        (GPT2Config(vocab_size=99, n_embd=32, n_layer=3, n_head=4, n_positions=64), (3, 32, 99, 3, 4, 8, 64)),
        (Gemma3Config(text_config={**GQA, "head_dim": 16}), (3, 32, 99, 3, 2, 16, 131072)),
        (Qwen2_5_VLConfig(text_config={**GQA, "max_position_embeddings": 64}), (3, 32, 99, 3, 2, 8, 64)),
        (Lfm2Config(**GQA, layer_types=["conv", "conv", "full_attention"]), (3, 32, 99, 1, 2, 8, 128000)),
        (MambaConfig(vocab_size=99, hidden_size=32, num_hidden_layers=3), (3, 32, 99, 0, 0, 0, None)),
        (
            DeepseekV3Config(**(GQA | {"num_key_value_heads": 4}), qk_nope_head_dim=16, qk_rope_head_dim=8),
            (3, 32, 99, 3, 4, 24, 4096),
        ),
    ],
    ids=lambda value: value.model_type if isinstance(value, PreTrainedConfig) else "",
)
def test_the_shape_is_that_of_the_language_part(config: PreTrainedConfig, shape: tuple[int | None, ...]) -> None:
    layers, hidden, vocabulary, cache_layers, kv_heads, head_dim, max_positions = shape
    found = Shape.of(config)
    assert (found.layers, found.hidden, found.vocabulary) == (layers, hidden, vocabulary)
    assert (found.cache_layers, found.kv_heads, found.head_dim) == (cache_layers, kv_heads, head_dim)
    assert found.max_positions == max_positions
    assert found.cache_values == 2 * found.cache_layers * found.kv_heads * found.head_dim


def test_a_configuration_without_sizes_is_refused() -> None:
    with pytest.raises(InputError, match="no num_hidden_layers"):
        Shape.of(PreTrainedConfig())
