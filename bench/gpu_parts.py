"""The parts of bench/gpu.py: each trains or generates with a model in a folder, and returns its figures.

Libraries are imported where they are needed: a part whose library is missing does not run, and the others do.
"""

from __future__ import annotations

import hashlib
import importlib.util
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = {"eos": "<|im_end|>", "pad": "<|im_end|>", "unk": "<|endoftext|>"}
BATCH, RANK, SEED = 8, 16, 7


@dataclass(frozen=True, slots=True)
class Plan:
    """Sizes of the work: models by name, rows of so many prompt and response tokens, batches and tokens to generate."""

    models: dict[str, dict[str, Any]]
    rows: int
    prompt: int
    response: int
    batches: tuple[int, ...]
    new_tokens: int


class NotRun(Exception):  # noqa: N818 - no error
    """Why a part could not run."""


# Models and rows


def make_model(config: dict[str, Any], folder: Path) -> None:
    """Write a model with random weights, and a tokenizer of one token a byte."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    names = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokens = Tokenizer(models.BPE({name: place for place, name in enumerate(names)}, []))
    tokens.pre_tokenizer, tokens.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=tokens, **{f"{kind}_token": name for kind, name in SPECIAL.items()},
        additional_special_tokens=["<|im_start|>"], chat_template=CHATML,
    ).save_pretrained(folder)  # fmt: skip
    torch.manual_seed(SEED)
    kind = {key: value for key, value in config.items() if key != "model_type"}
    shape = AutoConfig.for_model(config["model_type"], eos_token_id=2, pad_token_id=2, bos_token_id=None, **kind)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = AutoModelForCausalLM.from_config(shape, dtype=torch.bfloat16)
    model.save_pretrained(folder)


def chats(plan: Plan, rows: int) -> list[Any]:
    """Chats of random letters: a token is a byte, so all are nearly as long."""
    import random

    from engine.protocol.rows import Chat

    draw = random.Random(SEED)

    def text(length: int) -> str:
        return "".join(draw.choices("abcdefgh ", k=length))

    def turn(role: str, length: int) -> Any:
        return {"role": role, "content": text(length)}

    return [Chat([turn("user", plan.prompt), turn("assistant", plan.response)], []) for _ in range(rows)]


def settings(quantization: str, plan: Plan, **finetune: Any) -> Any:
    from engine.settings.local import Finetune
    from engine.settings.schema import Migration

    # What decides when training ends has other settings in other versions; a name that is unknown is left out.
    known = {key: value for key, value in finetune.items() if key in Finetune.model_fields}
    return Migration.model_validate(
        {
            "coverage": {"source": "-"},
            "service": {"model": "sandbox"},
            "local": {"quantization": quantization, "adapter": {"r": RANK, "alpha": 2 * RANK, "dropout": 0.0}},
            "finetune": {"epochs": 1, "batch_size": BATCH, "learning_rate": 1e-4, **known},
            "inference": {"temperature": 1.0, "max_new_tokens": plan.new_tokens},
        }
    )


def resolved(folder: Path) -> Any:
    from engine.local.resolve import ResolvedModel

    return ResolvedModel(folder.name, folder, None, "0" * 16)


def estimate(folder: Path, quantization: str, plan: Plan) -> int:
    """What `check` says that training takes, in bytes."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from engine.estimate.machine import training_memory
    from engine.local.device import find_device
    from engine.local.lora import add_adapter

    chosen = settings(quantization, plan)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
        return training_memory(add_adapter(model, chosen.local.adapter), chosen, find_device(), _longest(plan))


def _longest(plan: Plan) -> int:
    return plan.prompt + plan.response + 32


# Parts: each returns figures, or raises NotRun


def train_ours(folder: Path, quantization: str, plan: Plan) -> dict[str, Any]:
    """Tokens a second, and the peak against the estimate."""
    from engine.local.training import finetune

    _needs_bitsandbytes(quantization)
    expected = estimate(folder, quantization, plan)
    with tempfile.TemporaryDirectory() as place:
        done = finetune(
            chats(plan, plan.rows), [], resolved(folder), settings(quantization, plan), Path(place), lambda _: None
        )
    return {
        "tokens_per_second": done.tokens_per_second,
        "loss": done.train_loss,
        "peak_bytes": done.peak_memory_bytes if _cuda() else None,
        "estimated_bytes": expected,
    }


def train_theirs(folder: Path, quantization: str, plan: Plan) -> dict[str, Any]:
    """TRL where it is installed, else plain peft: the same rows, batch, rank and seed."""
    import torch
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    _needs_bitsandbytes(quantization)
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )  # fmt: skip
    quantised = {"quantization_config": nf4} if quantization == "nf4" else {}
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.bfloat16, device_map={"": "cuda" if _cuda() else "cpu"}, **quantised
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lora = LoraConfig(r=RANK, lora_alpha=2 * RANK, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    trl = all(importlib.util.find_spec(name) for name in ("trl", "datasets"))
    found = (_with_trl if trl else _with_peft)(model, tokenizer, lora, chats(plan, plan.rows))
    return {"with": "TRL" if trl else "peft", **found, "peak_bytes": _peak()}


def _with_trl(model: Any, tokenizer: Any, lora: Any, rows: list[Any]) -> dict[str, Any]:
    from datasets import Dataset  # type: ignore[import-untyped]
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    data = [{"prompt": chat.messages[:-1], "completion": chat.messages[-1:]} for chat in rows]
    tokens = sum(len(tokenizer.apply_chat_template(chat.messages, return_dict=False)) for chat in rows)
    with tempfile.TemporaryDirectory() as place:
        config = SFTConfig(
            output_dir=place, num_train_epochs=1, learning_rate=1e-4, per_device_train_batch_size=BATCH, seed=SEED,
            bf16=False, use_cpu=not _cuda(), save_strategy="no", report_to="none", disable_tqdm=True, max_length=None,
            gradient_checkpointing=False,
        )  # fmt: skip
        trainer = SFTTrainer(
            model, args=config, train_dataset=Dataset.from_list(data), processing_class=tokenizer, peft_config=lora
        )
        began = time.monotonic()
        done = trainer.train()
    return {"tokens_per_second": tokens / (time.monotonic() - began), "loss": done.training_loss}


def _with_peft(model: Any, tokenizer: Any, lora: Any, rows: list[Any]) -> dict[str, Any]:
    """The loop that peft's documentation has: padded batches, the loss by labels, AdamW."""
    import torch
    from peft import get_peft_model

    model = get_peft_model(model, lora)
    model.train()
    optimizer = torch.optim.AdamW((one for one in model.parameters() if one.requires_grad), lr=1e-4)
    losses, tokens, began = [], 0, time.monotonic()
    for start in range(0, len(rows), BATCH):
        texts = [tokenizer.apply_chat_template(chat.messages, tokenize=False) for chat in rows[start : start + BATCH]]
        inputs = tokenizer(texts, return_tensors="pt", padding=True).to(model.device)
        labels = inputs["input_ids"].masked_fill(inputs["attention_mask"] == 0, -100)
        for place, chat in enumerate(rows[start : start + BATCH]):
            prompt = tokenizer.apply_chat_template(chat.messages[:-1], add_generation_prompt=True, return_dict=False)
            labels[place, : len(prompt)] = -100
        loss = model(**inputs, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
        tokens += int(inputs["attention_mask"].sum())
    return {"tokens_per_second": tokens / (time.monotonic() - began), "loss": sum(losses) / len(losses)}


def generate(folder: Path, quantization: str, plan: Plan) -> dict[str, Any]:
    """New tokens a second by batch, up to the batch at which memory runs out."""
    import torch

    from engine.local.chat import encode_prompt
    from engine.local.device import find_device
    from engine.local.inference.base import Prompt, Sample
    from engine.local.inference.generate import Generator
    from engine.local.load import load_base
    from engine.local.tokenizer import load_tokenizer

    chosen, rates = settings(quantization, plan), dict[str, Any]()
    model, tokenizer = load_base(resolved(folder), chosen.local, find_device()), None
    tokenizer = load_tokenizer(resolved(folder), chosen.local)
    generator = Generator(model, tokenizer, chosen.inference)
    rows = chats(plan, max(plan.batches))
    for size in plan.batches:
        prompts = [Prompt(id=str(place), messages=chat.messages[:-1], tools=[]) for place, chat in enumerate(rows)]
        batch = [Sample(prompt, 0) for prompt in prompts[:size]]
        tokens = [encode_prompt(tokenizer, sample.prompt.messages, []) for sample in batch]
        try:
            began = time.monotonic()
            answers = generator.generate(batch, tokens, SEED, lambda _: None)
            seconds = time.monotonic() - began
        except torch.OutOfMemoryError:
            rates[str(size)] = "out of memory"
            break
        rates[str(size)] = sum(answer.completion_tokens for answer in answers) / seconds
    return {"tokens_per_second": rates, "peak_bytes": _peak()}


def out_of_memory(folder: Path, quantization: str, plan: Plan) -> dict[str, Any]:
    """Training under a quarter more memory than the weights take: the pass must be cut until it fits."""
    import torch

    from engine.local.training import finetune

    if not _cuda():
        raise NotRun("no CUDA GPU, whose memory could be limited")
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    torch.cuda.set_per_process_memory_fraction(
        min(1.0, 1.25 * weights / torch.cuda.get_device_properties(0).total_memory + 0.01)
    )
    said: list[str] = []
    few = settings(quantization, plan, micro_batch=BATCH, gradient_checkpointing="auto")
    with tempfile.TemporaryDirectory() as place:
        try:
            rows = chats(plan, 2 * BATCH)
            done = finetune(rows, [], resolved(folder), few, Path(place), lambda _: None, **_says(said))
        except Exception as error:  # noqa: BLE001 - the finding is that it failed
            return {"handled": False, "said": f"{type(error).__name__}: {error}"[:200]}
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
    return {"handled": True, "said": "; ".join(said)[:200], "loss": done.train_loss}


def _says(said: list[str]) -> dict[str, Any]:
    """The argument by which training says that it cuts its passes, in versions that have it."""
    import inspect

    from engine.local.training import finetune

    def say(_: str, line: str) -> None:
        said.append(line)

    return {"say": say} if "say" in inspect.signature(finetune).parameters else {}


def resume(folder: Path, quantization: str, plan: Plan) -> dict[str, Any]:
    """A training that ends after its first checkpoint, and is resumed, against one in one go: the same adapter?"""
    from engine.local.training import finetune

    class _Stopped(Exception):  # noqa: N818 - stands for a kill
        pass

    every = settings(quantization, plan, epochs=2, checkpoint_minutes=1e-6)
    rows = chats(plan, 3 * BATCH)
    train, dev = rows[: 2 * BATCH], rows[2 * BATCH :]

    def run(place: Path, emit: Callable[[Any], None]) -> str:
        finetune(train, dev, resolved(folder), every, place, emit)
        return hashlib.sha256((place / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest()

    with tempfile.TemporaryDirectory() as place:
        whole, cut = Path(place) / "whole", Path(place) / "cut"

        def stop(progress: Any) -> None:
            if progress.step >= 3 and any((cut / "checkpoints").rglob("*-[0-9]*")):
                raise _Stopped

        first = run(whole, lambda _: None)
        try:
            run(cut, stop)
            raise NotRun("the training ended before it could be stopped")
        except _Stopped:
            return {"exact": run(cut, lambda _: None) == first}


def _needs_bitsandbytes(quantization: str) -> None:
    if quantization == "nf4" and importlib.util.find_spec("bitsandbytes") is None:
        raise NotRun("bitsandbytes is not installed")


def _cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _peak() -> int | None:
    import torch

    return torch.cuda.max_memory_allocated() if _cuda() else None


PARTS: dict[str, Callable[[Path, str, Plan], dict[str, Any]]] = {
    part.__name__: part for part in (train_ours, train_theirs, generate, out_of_memory, resume)
}
