"""Which program serves an artefact, and with which arguments."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from engine.local.vllm_options import lora_rank, memory_share, sampling
from engine.protocol import isolation
from engine.protocol.errors import InputError
from engine.protocol.secrets import without_secrets
from engine.release.artefact import GGUF_FILE, Artefact

KEY_VARIABLE = "LLAMADUO_SERVE_KEY"
"""The environment variable in which a server gets its key."""

TRUST = "--trust-remote-code"
"""The option by which a person allows the code that comes with a model, of `serve`, of our server and of vLLM."""

GGUF_HINT = "pip install 'llamaduo-tui[gguf]'"


class Engine(Protocol):
    """A program that serves artefacts."""

    @property
    def name(self) -> str: ...

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that it needs, other than its key."""

    def command(self, folder: Path, artefact: Artefact, host: str, port: int, slots: int) -> Sequence[str]:
        """The command line of the server for the artefact in `folder`."""


def _own(module: str, *arguments: str) -> list[str]:
    """A server of this program in a process of its own."""
    return isolation.module(f"engine.release.servers.{module}", *arguments)


def _own_environment() -> dict[str, str]:
    """This program's path, which other servers do not get, without the network, and not spinning for threads."""
    path = without_secrets(os.environ).get("PYTHONPATH")
    offline = {"HF_HUB_OFFLINE": "1", "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", "1000")}
    return {**offline, **({"PYTHONPATH": path} if path else {})}


def _vllm_environment() -> dict[str, str]:
    """vLLM's: offline, no telemetry; and its own processes, too, import no file of the folder that they work in."""
    return {"VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", "PYTHONSAFEPATH": "1"}


@dataclass(frozen=True, slots=True)
class LlamaCpp:
    """llama.cpp's own server, from the wheel xllamacpp."""

    name: str = "llama.cpp"
    environment: Mapping[str, str] = field(default_factory=_own_environment)

    def command(self, folder: Path, artefact: Artefact, host: str, port: int, slots: int) -> Sequence[str]:
        place = ["--host", host, "--port", str(port), "--slots", str(slots)]
        return _own("llama_cpp", str(folder / GGUF_FILE), *place)


@dataclass(frozen=True, slots=True)
class Transformers:
    """The library that trained the model, behind a small server of this program."""

    name: str = "transformers"
    environment: Mapping[str, str] = field(default_factory=_own_environment)

    def command(self, folder: Path, artefact: Artefact, host: str, port: int, slots: int) -> Sequence[str]:
        place = ["--host", host, "--port", str(port), "--slots", str(slots)]
        return _own("transformers", str(folder), *place, *([TRUST] if artefact.trust_remote_code else []))


@dataclass(frozen=True, slots=True)
class Vllm:
    """vLLM, an executable in a virtual environment of its own."""

    executable: str
    name: str = "vLLM"
    environment: Mapping[str, str] = field(default_factory=_vllm_environment)

    def command(self, folder: Path, artefact: Artefact, host: str, port: int, slots: int) -> Sequence[str]:
        model = artefact.base_path if artefact.format == "lora" else str(folder)
        named = "base" if artefact.format == "lora" else artefact.model
        lora = [
            "--enable-lora",
            "--max-lora-rank",
            str(lora_rank(artefact.lora_rank)),
            "--lora-modules",
            f"{artefact.model}={folder}",
        ]
        return [
            *(self.executable, "serve", model, "--host", host, "--port", str(port), "--served-model-name", named),
            *("--max-model-len", str(artefact.context), "--chat-template", str(folder / "chat_template.jinja")),
            *sampling(str(folder), artefact.temperature),
            *memory_share(),
            *(lora if artefact.format == "lora" else []),
            *([TRUST] if artefact.trust_remote_code else []),
        ]


def choose(artefact: Artefact, wanted: str, vllm: str, *, trusted: bool = False) -> Engine:
    """The engine for an artefact; `trusted` says that a person allows the code that comes with the model.

    Raises InputError where the wanted one can't serve it, or isn't installed, or the code is not allowed.
    """
    if artefact.format == "gguf":
        if wanted not in ("auto", "llama.cpp"):
            raise InputError(f"{wanted} serves no GGUF files here", "serve the artefact safetensors with it")
        if not has_llama_cpp():
            raise InputError("llama.cpp is not installed: it serves GGUF files", GGUF_HINT)
        return LlamaCpp()
    if wanted == "llama.cpp":
        raise InputError(f"llama.cpp serves GGUF files, not {artefact.format}", "serve an artefact gguf-... with it")
    if artefact.trust_remote_code and not trusted:
        raise InputError(
            f"{artefact.name} runs code that comes with the model, which is not allowed yet",
            f"read the .py files of the model; to run them with your rights: {TRUST}",
        )
    if artefact.format == "lora" and not (artefact.base_path and Path(artefact.base_path).is_dir()):
        raise InputError(
            f"the base model of this adapter is not at {artefact.base_path or 'any known place'}",
            f"write the folder of {artefact.base} into base_path of artefact.json, or serve another format",
        )
    if wanted == "vllm" or (wanted == "auto" and _has_gpu()):
        if executable := shutil.which(Path(vllm).expanduser()):
            return Vllm(executable)
        if wanted == "vllm":
            raise InputError(
                f"vLLM is not installed: {vllm} is no executable", "install it in an environment of its own"
            )
    return Transformers()


def has_llama_cpp() -> bool:
    """Whether llama.cpp's wheel is installed."""
    return importlib.util.find_spec("xllamacpp") is not None


def _has_gpu() -> bool:
    from engine.local.gpus import visible

    return bool(visible(os.environ))
