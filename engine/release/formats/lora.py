"""The adapter alone, for servers that have its base model and swap adapters."""

from __future__ import annotations

import shlex
from pathlib import Path

from engine.local.vllm_options import lora_rank, sampling
from engine.protocol import jsonl
from engine.release.artefact import FormatName, Quantization
from engine.release.formats.files import copy_plain, write_small_files
from engine.release.source import Source

ADAPTER_CONFIG = "adapter_config.json"


class Lora:
    """A `Format`."""

    format: FormatName = "lora"
    quantization: Quantization = ""

    def refuse(self, source: Source) -> None:
        """Nothing is needed but the template."""
        _ = source.template

    def write(self, source: Source, folder: Path) -> None:
        """Copy the adapter; its base is named as people know it, not by a folder of this machine."""
        copy_plain(source.adapter, folder, {"README.md"})
        config = jsonl.read_json(folder / ADAPTER_CONFIG) or {}
        config |= {"base_model_name_or_path": source.base.name, "revision": source.base.revision}
        jsonl.write_json(folder / ADAPTER_CONFIG, config)
        write_small_files(source, folder)

    def commands(self, source: Source) -> dict[str, str]:
        drawn = shlex.join(sampling(".", source.settings.inference.temperature))
        name, rank = source.artefact(self.format).model, lora_rank(source.settings.local.adapter.r)
        lora = f"--enable-lora --max-lora-rank {rank} --lora-modules {name}=."
        template = f"--chat-template chat_template.jinja --max-model-len {source.context} {drawn}"
        return {"vLLM": f"vllm serve {source.base.name} {lora} {template}"}
