"""The model with the adapter in its weights, as transformers, vLLM and most other servers take it."""

from __future__ import annotations

import shlex
from pathlib import Path

from engine.local.vllm_options import sampling
from engine.release.artefact import FormatName, Quantization
from engine.release.formats.files import copy_plain, write_small_files
from engine.release.source import Source


class Safetensors:
    """A `Format`."""

    format: FormatName = "safetensors"
    quantization: Quantization = ""

    def refuse(self, source: Source) -> None:
        """Nothing is needed but the template."""
        _ = source.template

    def write(self, source: Source, folder: Path) -> None:
        copy_plain(source.merged(), folder, {"complete", "README.md"})
        write_small_files(source, folder)

    def commands(self, source: Source) -> dict[str, str]:
        name = source.artefact(self.format).model
        drawn = shlex.join(sampling(".", source.settings.inference.temperature))
        return {
            "vLLM": f"vllm serve . --served-model-name {name} --max-model-len {source.context} {drawn}",
            "transformers": "transformers serve . --port 8000",
        }
