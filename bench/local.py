"""The local side: training and generation against the usual ways, in one run on this machine; kills; early stopping.

    python bench/local.py [FILE] [--check] [--only training|generation|kills|stopping]

FILE is a coverage file of prompts with responses (default: made-up ones of about 180 tokens). Bars: training at 3.5
times the tokens a second of TRL's SFTTrainer on the same rows, seed and batch, with a mean loss within 2 %; generation
of 4 samples a prompt at 3.5 times the published way, which is a pass a sample in batches of 4 in file order; a training
that is killed at 10 random moments of one epoch loses at most the time between two checkpoints, and ends with the same
curve and weights; training stops before its last epoch, and the state that is kept has the lowest dev loss.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from engine.protocol import jsonl
from engine.protocol.manifest import file_hash
from engine.protocol.rows import Chat
from engine.settings.schema import Migration

ROWS, DEV_ROWS, BATCH, SEED = 64, 32, 8, 1
PROMPTS, SAMPLES, NEW_TOKENS = 32, 4, 48
FASTER = 3.5
SAME_LOSS = 0.02
KILLS, BETWEEN_S = 10, 1.0
PARTS = ("training", "generation", "kills", "stopping")


class Row(NamedTuple):
    """A figure of the table."""

    figure: str
    bar: str
    measured: str
    met: bool


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="a coverage file")
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure this part alone")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(CHILDREN[args.child[0]](args.file, Path(args.child[1]))))
        return 0
    table, met = Table("figure", "bar", "measured", ""), True
    with tempfile.TemporaryDirectory() as folder:
        for part in args.only or PARTS:
            for row in MEASURES[part](args.file, Path(folder)):
                met &= row.met
                print(row.figure, row.measured, file=sys.stderr, flush=True)
                table.add_row(row.figure, row.bar, row.measured, "met" if row.met else "MISSED")
    Console().print(table)
    return int(args.check and not met)


def training(file: Path | None, folder: Path) -> Iterator[Row]:
    """Ours and TRL's trainer, each in a process of its own, one after the other.

    TRL draws batches at random, and learns the line break behind a turn's end, which is always right and nowhere read.
    For the loss, it trains once more on the same rows in each step and the same tokens of them as ours.
    """
    ours, stock, same = (_child(name, file, folder) for name in ("ours", "stock", "same"))
    faster, off = ours["speed"] / stock["speed"], ours["loss"] / same["loss"] - 1
    yield Row(
        f"training, {ROWS} rows, batch {BATCH}: tokens/s over TRL's SFTTrainer",
        f"{FASTER:g}",
        f"{ours['speed']:.0f} / {stock['speed']:.0f} = {faster:.1f}",
        faster >= FASTER,
    )
    yield Row(
        "mean loss on the same batches over TRL's", f"within {SAME_LOSS:.0%}", f"{off:+.1%}", abs(off) <= SAME_LOSS
    )
    yield Row("share of the processor's matrix rate", "", f"{ours['share']:.0%}", True)


def generation(file: Path | None, folder: Path) -> Iterator[Row]:
    """Ours and the published way, in one process on one model."""
    found = _child("generation", file, folder)
    faster = found["ours"] / found["published"]
    yield Row(
        f"generation, {PROMPTS} prompts, {SAMPLES} samples: tokens/s over the published way",
        f"{FASTER:g}",
        f"{found['ours']:.0f} / {found['published']:.0f} = {faster:.1f}",
        faster >= FASTER,
    )


def kills(file: Path | None, folder: Path) -> Iterator[Row]:
    """One epoch of a tiny model, left alone and killed, with checkpoints every second in place of ten minutes."""
    whole, killed = folder / "whole", folder / "killed"
    _child("epoch", file, whole)
    dice, lost, done = random.Random(SEED), [], 0
    while done < KILLS:
        process = subprocess.Popen(
            _command("epoch", file, killed), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        started = time.time()
        while process.poll() is None and not _written(killed / "metrics.jsonl", started):
            time.sleep(0.02)
        training_since = time.time()
        time.sleep(dice.uniform(0, 2 * BETWEEN_S))
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        saved = [path.stat().st_mtime for path in (killed / "checkpoints").rglob("trainer_state.json")]
        lost.append(time.time() - max([training_since, *saved]))
        process.wait()
        done += 1
        print(f"kill {done} after {_steps(killed)} steps", file=sys.stderr, flush=True)
    _child("epoch", file, killed)
    yield Row("kill -9 at random moments of one epoch", f"{KILLS}", f"{done}", done == KILLS)
    longest = BETWEEN_S + 0.5
    yield Row("work lost by a kill, at most", f"{longest:g} s", f"{max(lost):.1f} s", max(lost) <= longest)
    same = _curve(whole) == _curve(killed)
    yield Row("steps whose loss differs from the epoch left alone", "none", "none" if same else "some", same)
    adapters = [file_hash(path / "adapter" / "adapter_model.safetensors") for path in (whole, killed)]
    equal = adapters[0] == adapters[1]
    yield Row("adapter", "the same bytes", "the same" if equal else "differs", equal)


def stopping(file: Path | None, folder: Path) -> Iterator[Row]:
    """How training ends where the data is small: by itself, with the lowest dev loss kept."""
    found = _child("stopping", file, folder)
    over = found["kept"] / found["best"] - 1
    yield Row("dev loss of the kept state over the best one seen", "1 %", f"{over:.1%}", over <= 0.01)
    stopped = found["epochs"] < found["most"]
    yield Row(
        "epochs until training stopped; the best; its dev loss, untuned and tuned",
        f"under {found['most']}",
        f"{found['epochs']:.2f}; {found['best_epoch']:.2f}; {found['untuned']:.3f}, {found['kept']:.3f}",
        stopped,
    )


def _ours(file: Path | None, folder: Path) -> dict[str, float]:
    result = _finetune(_chats(file, ROWS), [], _settings(epochs=1, scheduler="cosine"), folder / "ours")
    rows = [row for row in jsonl.read(folder / "ours" / "metrics.jsonl") if "loss" in row]
    share = 4 * _parameters() * result["tokens_per_second"] / _matrix_rate()
    loss = sum(row["loss"] for row in rows) / len(rows)
    return {"speed": result["tokens_per_second"], "loss": loss, "share": share}


def _stock(file: Path | None, folder: Path, ordered: bool = False) -> dict[str, float]:
    """TRL's trainer as its documentation shows it, with the same adapter, format, rate and rows.

    Where they are `ordered`, it has the rows in tokens, in the order and with the labels that ours has.
    """
    from datasets import Dataset  # type: ignore[import-untyped]
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    from engine.local.tokenizer import load_tokenizer
    from engine.local.training.batches import Batches
    from engine.local.training.rows import token_rows
    from engine.local.training.trainer import IGNORED

    settings = _settings(epochs=1, scheduler="cosine")
    adapter, device = settings.local.adapter, _device()
    chats = _chats(file, ROWS)
    rows: list[dict[str, Any]] = [{"prompt": chat.messages[:-1], "completion": chat.messages[-1:]} for chat in chats]
    if ordered:
        encoded, _ = token_rows(load_tokenizer(_model(), settings.local), chats, settings.finetune.max_length)
        labels = [[IGNORED] * row.prompt + row.tokens[row.prompt :] for row in encoded]
        rows = [{"input_ids": row.tokens, "labels": given} for row, given in zip(encoded, labels, strict=True)]
        order = chain.from_iterable(Batches([len(row.tokens) for row in encoded], BATCH, SEED, 0, 1))
        rows = [rows[place] for place in order]
    config = SFTConfig(
        output_dir=str(folder / "stock"),
        num_train_epochs=1,
        per_device_train_batch_size=BATCH,
        learning_rate=settings.finetune.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=settings.finetune.warmup,
        max_length=settings.finetune.max_length,
        seed=settings.loop.seed,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        use_cpu=device.kind == "cpu",
        train_sampling_strategy="sequential" if ordered else "random",
        bf16=device.dtype == "bfloat16",
        model_init_kwargs={"dtype": device.dtype},
    )
    trainer = SFTTrainer(
        str(_model().path),
        args=config,
        train_dataset=Dataset.from_list(rows),
        peft_config=LoraConfig(
            r=adapter.r,
            lora_alpha=adapter.alpha,
            lora_dropout=adapter.dropout,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        ),
    )
    lengths = [len(row["input_ids"]) for row in trainer.train_dataset]
    began = time.monotonic()
    trainer.train()
    seconds = time.monotonic() - began
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    return {"speed": sum(lengths) / seconds, "loss": sum(losses) / len(losses)}


def _generation(file: Path | None, folder: Path) -> dict[str, float]:
    import torch

    from engine.local.chat import encode_prompt
    from engine.local.inference.base import Place, Prompt
    from engine.local.inference.transformers import Transformers
    from engine.local.tokenizer import load_tokenizer

    settings = _settings(epochs=1)
    chats = _chats(file, PROMPTS)
    prompts = [
        Prompt(id=str(number), messages=chat.messages[:-1], tools=chat.tools) for number, chat in enumerate(chats)
    ]
    place = Place(folder=folder, adapter=None, tell=_to_stderr, warn=_to_stderr)
    backend = Transformers(settings, _model(), place)
    plan = backend.plan(prompts, SAMPLES)
    backend.complete(plan.batches[-1][:1], lambda _: None)  # torch chooses its kernels when it needs them first
    began, tokens = time.monotonic(), 0
    for batch in plan.batches:
        tokens += sum(answer.completion_tokens for answer in backend.complete(batch, lambda _: None))
    ours = tokens / (time.monotonic() - began)

    tokenizer = load_tokenizer(_model(), settings.local)
    model: Any = backend._model
    encoded = [encode_prompt(tokenizer, prompt.messages, prompt.tools) for prompt in prompts]
    began, tokens = time.monotonic(), 0
    for _sample in range(SAMPLES):
        for start in range(0, len(encoded), 4):
            four = encoded[start : start + 4]
            inputs = tokenizer.pad({"input_ids": four}, padding_side="left", return_tensors="pt")
            with torch.inference_mode():
                given = model.generate(
                    **inputs,
                    do_sample=True,
                    temperature=0.8,
                    max_new_tokens=NEW_TOKENS,
                    pad_token_id=tokenizer.pad_token_id,
                )
            answers = given[:, inputs["input_ids"].shape[1] :]
            tokens += int((answers != tokenizer.pad_token_id).sum())
    return {"ours": ours, "published": tokens / (time.monotonic() - began)}


def _to_stderr(message: str) -> None:
    print(message, file=sys.stderr)


def _epoch(_: Path | None, folder: Path) -> dict[str, float]:
    """One epoch of a tiny model on made-up rows, from where a kill left it."""
    settings = _settings(epochs=1, patience=0, checkpoint_minutes=BETWEEN_S / 60)
    chats = _chats(None, 40 * ROWS)
    tiny = folder.parent / "tiny"
    if not tiny.exists():
        _make_tiny(tiny)
    from engine.local.resolve import ResolvedModel

    return _finetune(chats, chats[:DEV_ROWS], settings, folder, ResolvedModel("tiny", tiny, None, ""))


def _make_tiny(folder: Path) -> None:
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(_model().path)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(SEED)
    shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape)).to(torch.bfloat16).save_pretrained(folder)


def _stopping(file: Path | None, folder: Path) -> dict[str, float]:
    chats = _chats(file, ROWS + DEV_ROWS)
    settings = _settings()
    result = _finetune(chats[DEV_ROWS:], chats[:DEV_ROWS], settings, folder / "stopping")
    rows = jsonl.read(folder / "stopping" / "metrics.jsonl")
    seen = [row["dev_loss"] for row in rows if row["step"] and "dev_loss" in row]
    return {
        "kept": result["dev_loss"],
        "best": min(seen),
        "untuned": result["dev_loss_untuned"],
        "epochs": result["epochs"],
        "best_epoch": result["best_epoch"],
        "most": settings.finetune.epochs,
    }


def _finetune(
    chats: Sequence[Chat], dev: Sequence[Chat], settings: Migration, folder: Path, model: Any = None
) -> dict[str, Any]:
    from engine.local.training import finetune

    return asdict(finetune(chats, dev, model or _model(), settings, folder, lambda _: None))


def _settings(**finetune: object) -> Migration:
    return Migration.model_validate(
        {
            "coverage": {"source": "-"},
            "service": {"model": "sandbox"},
            "local": {"adapter": {"r": 16, "alpha": 32, "dropout": 0}},
            "finetune": {"learning_rate": 1e-3, "batch_size": BATCH, "max_length": 768, **finetune},
            "inference": {"max_new_tokens": NEW_TOKENS, "samples": SAMPLES},
            "loop": {"seed": SEED},
        }
    )


def _chats(file: Path | None, count: int) -> list[Chat]:
    """The first pairs of a coverage file that are short enough, or made-up ones."""
    if file is None:
        return [_made_up(number) for number in range(count)]
    from engine.dataset.load import load
    from engine.settings.schema import Coverage

    pairs = load(Coverage(source=str(file.resolve()))).pairs
    short = [pair for pair in pairs if sum(len(message["content"]) for message in pair.messages) < 2000]
    return [Chat(pair.messages, pair.tools) for pair in short[:count]]


KINDS = ("billing", "delivery", "quality", "returns", "account", "praise")
WORDS = [
    "the",
    "customer",
    "writes",
    "that",
    "a",
    "parcel",
    "came",
    "late",
    "and",
    "the",
    "box",
    "was",
    "open",
    "while",
    "an",
    "invoice",
    "for",
    "last",
    "month",
    "still",
    "shows",
    "two",
    "items",
    "nobody",
    "ordered",
    "so",
    "she",
    "asks",
    "whether",
    "her",
    "money",
    "can",
    "be",
    "sent",
    "back",
    "or",
    "a",
    "new",
    "one",
    "is",
    "on",
    "its",
    "way",
    "to",
    "the",
    "old",
    "address",
    "because",
    "our",
    "agent",
    "said",
    "on",
    "Monday",
    "that",
    "this",
    "would",
    "be",
    "settled",
    "before",
    "the",
    "end",
    "of",
    "week",
]


def _made_up(number: int) -> Chat:
    dice = random.Random(number)
    kind = dice.choice(KINDS)
    text = " ".join(dice.choices([*WORDS, kind], k=dice.randint(60, 180)))
    return Chat(
        [
            {"role": "user", "content": f"Which of {', '.join(KINDS)} is this about, and why?\n\n{text}"},
            {"role": "assistant", "content": f"It is about {kind}: it says {' '.join(text.split()[:12])}."},
        ],
        [],
    )


def _model() -> Any:
    from engine.local.resolve import resolve
    from engine.protocol.paths import cache_dir
    from engine.settings.local import Local

    return resolve(Local().model, None, cache_dir(), lambda _: None)


def _device() -> Any:
    from engine.local.device import find_device

    return find_device()


def _parameters() -> int:
    from safetensors import safe_open

    with safe_open(_model().path / "model.safetensors", "pt") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    return sum(shape[0] * (shape[1] if len(shape) > 1 else 1) for shape in shapes)


def _matrix_rate() -> float:
    """Operations a second of a large matrix product in the device's format: the best of a few."""
    import torch

    size, best = 2048, float("inf")
    left = torch.randn(size, size, dtype=_device().torch_dtype)
    for _ in range(5):
        began = time.monotonic()
        left @ left
        best = min(best, time.monotonic() - began)
    return 2 * size**3 / best


def _written(path: Path, since: float) -> bool:
    return path.exists() and path.stat().st_mtime > since


def _steps(folder: Path) -> int:
    return sum(1 for _ in jsonl.read(folder / "metrics.jsonl"))


def _curve(folder: Path) -> list[tuple[Any, ...]]:
    names = ("step", "loss", "dev_loss", "learning_rate", "grad_norm")
    return [tuple(row.get(name) for name in names) for row in jsonl.read(folder / "metrics.jsonl")]


def _command(child: str, file: Path | None, folder: Path) -> list[str]:
    return [sys.executable, __file__, *([str(file)] if file else []), "--child", child, str(folder)]


def _child(child: str, file: Path | None, folder: Path) -> dict[str, Any]:
    done = subprocess.run(_command(child, file, folder), stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


CHILDREN: dict[str, Callable[[Path | None, Path], dict[str, Any]]] = {
    "ours": _ours,
    "stock": _stock,
    "same": lambda file, folder: _stock(file, folder, ordered=True),
    "generation": _generation,
    "epoch": _epoch,
    "stopping": _stopping,
}
MEASURES: dict[str, Callable[[Path | None, Path], Iterator[Row]]] = {
    "training": training,
    "generation": generation,
    "kills": kills,
    "stopping": stopping,
}


if __name__ == "__main__":
    sys.exit(main())
