"""What the processes of bench/local.py do: train, answer and stop on made-up rows or on those of a file."""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

from engine.protocol import jsonl
from engine.protocol.rows import Chat
from engine.settings.schema import Migration

ROWS, DEV_ROWS, BATCH, SEED = 64, 32, 8, 1
PROMPTS, SAMPLES, NEW_TOKENS = 32, 4, 48
BETWEEN_S = 1.0
"""Between two checkpoints of the training that is killed, in place of ten minutes."""


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
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

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
TEXT = (
    "the customer writes that a parcel came late and the box was open while an invoice for last month still shows two "
    "items nobody ordered so she asks whether her money can be sent back or a new one is on its way to the old "
    "address because our agent said on Monday that this would be settled before the end of week"
)


def _made_up(number: int) -> Chat:
    dice = random.Random(number)
    kind = dice.choice(KINDS)
    text = " ".join(dice.choices([*TEXT.split(), kind], k=dice.randint(60, 180)))
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


CHILDREN: dict[str, Callable[[Path | None, Path], dict[str, Any]]] = {
    "ours": _ours,
    "stock": _stock,
    "same": lambda file, folder: _stock(file, folder, ordered=True),
    "generation": _generation,
    "epoch": _epoch,
    "stopping": _stopping,
}
