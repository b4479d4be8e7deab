"""A GGUF file's own words about itself: the template, the end tokens, the sampling, the tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.protocol.errors import InputError

END_KEYS = ("eos_token_id", "eot_token_id", "eom_token_id")

END_NAMES = frozenset(
    {
        *("<|eot_id|>", "<|im_end|>", "<|end|>", "<end_of_turn>", "<|endoftext|>", "<|eom_id|>", "<EOT>", "<|EOT|>"),
        *("< EOT >", "_<EOT>", "<|end_of_text|>", "<end_of_utterance>", "<｜end▁of▁sentence｜>", "[EOS]", "[EOT]"),
        *("<|return|>", "<|call|>", "<|flush|>", "<eos>", "<turn|>", "<|tool_response>", "<|calls|>", "</s>"),
    }
)
"""Texts of tokens at which llama.cpp ends an answer whatever the file says of them (llama-vocab.cpp)."""


class Gguf:
    """Raises InputError for a file that is not there, cut off, or of another kind."""

    def __init__(self, path: Path) -> None:
        from gguf import GGUFReader

        if not path.is_file():
            raise InputError(f"{path.name} is missing", "release it again")
        try:
            self._reader = GGUFReader(path)
        except (ValueError, OSError, IndexError, KeyError) as error:
            raise InputError(f"{path.name} cannot be read: {str(error)[:200]}", "release it again") from None

    def value(self, key: str) -> Any:
        """A value of the header; None where it has none of that name."""
        field = self._reader.get_field(key)
        return None if field is None else field.contents()

    def text(self, key: str) -> str:
        """A text of the header, "" where it has none of that name."""
        value = self.value(key)
        return value if isinstance(value, str) else ""

    @property
    def named_ends(self) -> set[int]:
        """The end tokens that its header names."""
        return {self.value(f"tokenizer.ggml.{key}") for key in END_KEYS} - {None}

    @property
    def ends(self) -> set[int]:
        """The tokens at which llama.cpp ends an answer."""
        tokens = self.value("tokenizer.ggml.tokens") or []
        return self.named_ends | {number for number, token in enumerate(tokens) if token in END_NAMES}

    @property
    def sampling(self) -> dict[str, Any]:
        """The defaults of sampling that the file asks for, by key."""
        keys = (key for key in self._reader.fields if key.startswith("general.sampling."))
        return {key: self.value(key) for key in keys}

    @property
    def tensor_names(self) -> set[str]:
        """The names of its tensors."""
        return {tensor.name for tensor in self._reader.tensors}

    def tensor(self, name: str) -> NDArray[np.float32]:
        """A tensor, its rounding undone. Raises KeyError where there is none of that name."""
        from gguf.quants import dequantize

        for tensor in self._reader.tensors:
            if tensor.name == name:
                values: NDArray[np.float32] = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
                return values
        raise KeyError(name)
