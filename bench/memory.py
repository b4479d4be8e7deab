"""The memory that training and answering are estimated to take against what they take, with made-up weights.

    python bench/memory.py [--check] [--case NAME ...]

Each model has the shape of a real one and is trained for two steps, or answers a batch, in a process of its own: on a
GPU the peak is that of torch's allocator, on a processor that of the process. Bar: the estimate is within 20 % of the
peak. Pages of the weights' file that were read to quantise them, and that nothing needs any more, are not counted: the
kernel takes them back when it needs memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from rich.table import Table

from engine.local.device import Device, find_device, peak_memory

if TYPE_CHECKING:
    from engine.settings.schema import Migration

BAR = 0.2


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model's shape and quantization, and a pass: so many pairs of so many tokens, half of them the response's.

    With `response` the model answers instead, `pairs` prompts of `tokens` tokens at once, in so many tokens each.
    """

    name: str
    kind: str
    shape: dict[str, Any]
    quantization: str
    pairs: int
    tokens: int
    dropout: float = 0.05
    recompute: bool = False
    response: int = 0


SMOLLM2_135M = {
    "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "tie_word_embeddings": True,
}  # fmt: skip
QWEN3_06B = {
    "vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
    "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "tie_word_embeddings": True,
}  # fmt: skip
LLAMA_32_1B = {
    "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": True,
}  # fmt: skip
CASES = [
    Case(name="135M", kind="llama", shape=SMOLLM2_135M, quantization="none", pairs=8, tokens=256),
    Case(name="135M-long", kind="llama", shape=SMOLLM2_135M, quantization="none", pairs=2, tokens=768, dropout=0),
    Case(name="135M-nf4", kind="llama", shape=SMOLLM2_135M, quantization="nf4", pairs=8, tokens=256),
    Case(name="0.6B", kind="qwen3", shape=QWEN3_06B, quantization="none", pairs=4, tokens=256, dropout=0),
    Case(name="0.6B-nf4", kind="qwen3", shape=QWEN3_06B, quantization="nf4", pairs=4, tokens=128),
    Case(name="0.6B-again", kind="qwen3", shape=QWEN3_06B, quantization="none", pairs=4, tokens=256, recompute=True),
    Case(name="1B", kind="llama", shape=LLAMA_32_1B, quantization="none", pairs=2, tokens=256),
    Case(name="1B-nf4", kind="llama", shape=LLAMA_32_1B, quantization="nf4", pairs=2, tokens=128),
    Case(name="135M-answers", kind="llama", shape=SMOLLM2_135M, quantization="none", pairs=8, tokens=512, response=32),
    Case(name="0.6B-answers", kind="qwen3", shape=QWEN3_06B, quantization="none", pairs=8, tokens=256, response=32),
    Case(name="1B-nf4-answers", kind="llama", shape=LLAMA_32_1B, quantization="nf4", pairs=4, tokens=128, response=16),
]


def make(case: Case, folder: Path) -> None:
    """Write a model of the case's shape; all its weights are the same small number, which fits any format."""
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(case.kind, **case.shape), dtype=torch.bfloat16)
    model.to_empty(device="cpu")
    for weight in [*model.parameters(), *model.buffers()]:
        weight.data.fill_(0.01)
    model.tie_weights()
    model.save_pretrained(folder)


def settings_of(case: Case) -> Migration:
    from engine.settings.schema import Migration

    return Migration.model_validate(
        {
            "coverage": {"source": "-"},
            "service": {"model": "sandbox"},
            "local": {
                "model": case.name,
                "quantization": case.quantization,
                "adapter": {"r": 16, "alpha": 32, "dropout": case.dropout},
            },
            "inference": {"batch_size": case.pairs, "max_new_tokens": case.response or 1},
        }
    )


class Watch(threading.Thread):
    """The most memory that this process needs while a model is loaded and works, in bytes."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._own, before = _resident()
        self._libraries, self._known, self._done = before, 0, threading.Event()
        self.start()

    def run(self) -> None:
        while not self._done.wait(0.02):
            self._own = max(self._own, _resident()[0])

    def loaded(self, model: torch.nn.Module) -> int:
        """The bytes so far. Weights that are not quantised may be pages of their file, which stay needed."""
        maps = (line.split() for line in Path("/proc/self/maps").read_text().splitlines() if ".safetensors" in line)
        places = [tuple(int(end, 16) for end in line[0].split("-")) for line in maps]
        weights = [weight for weight in model.parameters() if weight.device.type == "cpu"]
        self._known = sum(w.nbytes for w in weights if any(low <= w.data_ptr() < high for low, high in places))
        return self._needed()

    def peak(self, device: Device) -> int:
        """The bytes at the most, on a GPU those of torch's allocator."""
        self._done.set()
        self._own = max(self._own, _resident()[0])
        return self._needed() if device.kind == "cpu" else peak_memory(device)

    def _needed(self) -> int:
        mapped = max(0, _resident()[1] - self._libraries)
        return self._own + self._libraries + min(mapped, self._known)


def _resident() -> tuple[int, int]:
    """The bytes of this process that are in memory: its own, and pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {
        name: int(rest.split()[0]) * 1024 for name, _, rest in (line.partition(":") for line in lines) if "Rss" in name
    }
    return found["RssAnon"] + found["RssShmem"], found["RssFile"]


def measure_answering(case: Case, folder: Path) -> dict[str, float]:
    """Answer a batch in this process: estimated and measured bytes."""
    from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

    from engine.estimate.machine import answering_memory
    from engine.local.inference.decoder import Decoder
    from engine.local.load import load_model
    from engine.local.lora import add_adapter
    from engine.local.resolve import ResolvedModel

    settings, device = settings_of(case), find_device()
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
        needed = answering_memory(add_adapter(skeleton, settings.local.adapter), settings, device, case.tokens)
    watch = Watch()
    model = load_model(ResolvedModel(case.name, folder, None, ""), settings.local, device, None)
    loaded = watch.loaded(model)
    # All logits are the same, so the first token is always chosen, and never the one that ends a response.
    config = GenerationConfig(do_sample=False, max_new_tokens=case.response, eos_token_id=[1], pad_token_id=0)
    prompts = [[(start + token) % 1000 for token in range(case.tokens)] for start in range(case.pairs)]
    rows = Decoder(model, config, 0).rows(prompts, list(range(case.pairs)), lambda _: None)
    assert all(len(row.tokens) == case.response for row in rows)
    return {"estimated": needed, "measured": watch.peak(device), "loaded": loaded}


def measure(case: Case, folder: Path) -> dict[str, float]:
    """Train two steps in this process: estimated and measured bytes."""
    from transformers import AutoConfig, AutoModelForCausalLM

    from engine.local.load import load_base
    from engine.local.lora import add_adapter
    from engine.local.resolve import ResolvedModel
    from engine.local.training.arguments import Plan, arguments
    from engine.local.training.checkpoints import Checkpoints
    from engine.local.training.fit import Fit
    from engine.local.training.memory import memory
    from engine.local.training.reporting import no_words
    from engine.local.training.rows import TokenRow
    from engine.local.training.trainer import ResponseTrainer

    settings = settings_of(case)
    device, fit = find_device(), Fit(case.pairs, case.recompute)
    with torch.device("meta"):
        skeleton = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
        needed = memory(add_adapter(skeleton, settings.local.adapter), settings, device)
    watch = Watch()
    model = add_adapter(
        load_base(ResolvedModel(case.name, folder, None, ""), settings.local, device), settings.local.adapter
    )
    rows = [TokenRow([token % 1000 for token in range(case.tokens)], case.tokens // 2) for _ in range(case.pairs)]
    plan = Plan(total=2, warmup=0, decay=1, between=2, patience=0)
    args = arguments(settings, device, plan, fit, folder / "checkpoints", dev=False, known=False)
    trainer = ResponseTrainer(
        model, args, rows, [], case.pairs, Checkpoints(60), fit, False, no_words, lambda _: None,
        processing_class=_tokenizer(), callbacks=[],
    )  # fmt: skip
    loaded = watch.loaded(model)
    trainer.train()
    return {"estimated": needed.bytes(fit, case.tokens), "measured": watch.peak(device), "loaded": loaded}


def _tokenizer() -> Any:
    """One that pads, which is all that a training on tokens asks of it."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    pad = "<pad>"
    words = Tokenizer(models.WordLevel({pad: 0}, unk_token=pad))
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token=pad, eos_token=pad)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where an estimate misses the bar")
    parser.add_argument("--case", action="append", help="measure this one alone")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    chosen = [case for case in CASES if not args.case or case.name in args.case]
    if args.folder:
        work = measure_answering if chosen[0].response else measure
        print(json.dumps(work(chosen[0], args.folder)))
        return 0
    table, met = Table("model", "pass", "bar", "estimated", "measured", ""), True
    for case in chosen:
        found = _in_a_process(case)
        off = found["estimated"] / found["measured"] - 1
        met &= abs(off) <= BAR
        print(f"{case.name}: {json.dumps(found)}", file=sys.stderr, flush=True)
        table.add_row(
            case.name + (", recomputed" if case.recompute else ""),
            f"{case.pairs} × {case.tokens}" + (f" + {case.response}" if case.response else ""),
            f"within {BAR:.0%}",
            f"{found['estimated'] / 2**30:.2f} GiB ({off:+.0%})",
            f"{found['measured'] / 2**30:.2f} GiB ({found['loaded'] / 2**30:.2f} after loading)",
            "met" if abs(off) <= BAR else "MISSED",
        )
    Console().print(table)
    return int(args.check and not met)


def _in_a_process(case: Case) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        make(case, Path(folder))
        command = [sys.executable, __file__, "--case", case.name, "--folder", folder]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    sys.exit(main())
