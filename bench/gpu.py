"""Training and generation on a CUDA GPU, ours against plain peft or TRL, with made-up weights of real sizes.

    python bench/gpu.py [--out FILE.json] [--seconds N] [--mini]
    python bench/gpu.py --pack .gpu        # on a machine with a package index: what a bare box lacks (under 60 MiB)

It takes at most 6 minutes on a bare box with torch, transformers, peft and accelerate: packages in a folder `.gpu` of
this repository are found, bitsandbytes (for NF4) and TRL are used where they are installed. Each part runs in a process
of its own, so that its peak memory is its own; what could not run is shown as "not run", with the reason. --mini runs
everything with tiny models in this process, on a processor too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKED = ROOT / ".gpu"
NEEDED = ("pydantic", "msgspec", "psutil", "tomli", "tomlkit", "jinja2")
sys.path[:0] = [str(ROOT), str(ROOT / "bench")]
sys.path += [str(PACKED)]

from gpu_parts import PARTS, NotRun, Plan, make_model  # noqa: E402 - found on the path above

LLAMA_1B = {
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192,
    "num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64,
    "max_position_embeddings": 131072, "tie_word_embeddings": True,
}  # fmt: skip
"""meta-llama/Llama-3.2-1B-Instruct."""

QWEN_8B = {
    "model_type": "qwen3", "vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 12288,
    "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "max_position_embeddings": 40960, "tie_word_embeddings": False,
}  # fmt: skip
"""Qwen/Qwen3-8B."""

TINY = {
    "model_type": "llama", "vocab_size": 320, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 4096, "tie_word_embeddings": True,
}  # fmt: skip

SECONDS = 345.0


WHOLE = Plan({"1B": LLAMA_1B, "8B": QWEN_8B}, 96, 384, 128, (1, 8, 32, 64, 128, 256), 64)
MINI = Plan({"tiny": TINY}, 8, 24, 8, (1, 2), 3)


# Running them


def plan_of(plan: Plan) -> list[tuple[str, str, str]]:
    """All parts as (model, part, quantization): the important ones first, as time may run out."""
    first, *others = plan.models
    order = [(name, part, "none") for name in (first, *others) for part in ("train_ours", "train_theirs", "generate")]
    order += [(first, "resume", "none"), (first, "out_of_memory", "none")]
    return order + [(name, part, "nf4") for name in (*others, first) for part in ("train_ours", "train_theirs")]


def run_all(plan: Plan, seconds: float, mini: bool) -> dict[str, Any]:
    """The machine and the figures of each part, or the reason why it did not run."""
    import torch

    end = time.monotonic() + seconds
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="llamaduo-gpu-") as place:
        for name, part, quantization in plan_of(plan):
            folder, key = Path(place) / name, f"{name} {part} {quantization}"
            if time.monotonic() > end - (0 if mini else 20):
                results[key] = {"not_run": "no time was left"}
                continue
            if not folder.exists():
                _in_process("make", name, "none", folder, end, mini, plan)
            results[key] = _in_process(part, name, quantization, folder, end, mini, plan)
            print(f"{key}: {json.dumps(results[key])}", file=sys.stderr, flush=True)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"no CUDA GPU ({os.cpu_count()} cores)"
    return {"device": device, "torch": torch.__version__, "mini": mini, "results": results}


def _in_process(
    part: str, name: str, quantization: str, folder: Path, end: float, mini: bool, plan: Plan
) -> dict[str, Any]:
    """A part in a process of its own, or in this one where all is tiny."""
    if mini:
        return do(part, name, quantization, folder, plan)
    command = [sys.executable, __file__, "--part", part, name, quantization, str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(1.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        return {"not_run": "no time was left to finish"}
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"not_run": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:200]}
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def do(part: str, name: str, quantization: str, folder: Path, plan: Plan) -> dict[str, Any]:
    """Run a part here; any failure is a reason, not the end of the bench."""
    try:
        if part == "make":
            make_model(plan.models[name], folder)
            return {}
        return PARTS[part](folder, quantization, plan)
    except NotRun as reason:
        return {"not_run": str(reason)}
    except Exception as error:  # noqa: BLE001 - a missing package, or an error of a library: the others go on
        return {"not_run": f"{type(error).__name__}: {error}".splitlines()[0][:200]}


def table(found: dict[str, Any]) -> list[str]:
    """The figures as lines of text."""
    lines = [f"{found['device']}, torch {found['torch']}{', tiny models' if found['mini'] else ''}", ""]
    for key, figures in found["results"].items():
        name, part, quantization = key.split()
        title = f"{name:<6}{part.replace('_', ' '):<15}{'NF4' if quantization == 'nf4' else 'bf16':<6}"
        lines.append(title + _told(figures))
    return lines


def _told(figures: dict[str, Any]) -> str:
    if "not_run" in figures:
        return f"not run: {figures['not_run']}"
    told = []
    rates = figures.get("tokens_per_second")
    if isinstance(rates, dict):
        told.append(", ".join(f"{size}: {_rate(rate)}" for size, rate in rates.items()) + " tokens/s by batch")
    elif rates is not None:
        told.append(f"{rates:,.0f} tokens/s{' with ' + figures['with'] if 'with' in figures else ''}")
    if (peak := figures.get("peak_bytes")) is not None:
        guess = figures.get("estimated_bytes")
        told.append(f"peak {peak / 2**30:.2f} GiB" + (f", estimated {guess / 2**30:.2f}" if guess else ""))
    told += [f"loss {figures['loss']:.3f}"] if "loss" in figures else []
    told += ["same adapter" if figures["exact"] else "OTHER ADAPTER"] if "exact" in figures else []
    told += [("handled: " if figures["handled"] else "NOT HANDLED: ") + figures["said"]] if "handled" in figures else []
    return "; ".join(told)


def _rate(rate: float | str) -> str:
    return rate if isinstance(rate, str) else f"{rate:,.0f}"


def pack(folder: Path) -> int:
    """Install what a bare box lacks into a folder that travels with this repository."""
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), *NEEDED]
    return subprocess.run(command).returncode


def main(given: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="stop starting parts after this time")
    parser.add_argument("--mini", action="store_true", help="tiny models, in this process")
    parser.add_argument("--pack", type=Path, help="install what a bare box lacks into this folder, and end")
    parser.add_argument("--part", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args(given)
    if args.pack:
        return pack(args.pack)
    if args.part:
        part, name, quantization, folder = args.part
        print(json.dumps(do(part, name, quantization, Path(folder), WHOLE)))
        return 0
    found = run_all(MINI if args.mini else WHOLE, args.seconds, args.mini)
    print("\n".join(table(found)))
    if args.out:
        args.out.write_text(json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
