"""TRL's SFTTrainer with the loss at response tokens alone, in parts of a batch that fit into memory."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import torch
from accelerate.utils.memory import clear_device_cache  # type: ignore[import-untyped]
from datasets import Dataset  # type: ignore[import-untyped]
from peft import PeftModel
from torch.nn.functional import cross_entropy
from transformers.trainer_utils import EvalLoopOutput
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling, SFTTrainer

from engine.local.sharding import is_sharded
from engine.local.training.batches import Batches, Loader, share
from engine.local.training.checkpoints import Checkpoints
from engine.local.training.fit import Fit, is_out_of_memory
from engine.local.training.reporting import Say
from engine.local.training.rows import TokenRow
from engine.local.world import add_up, rank, world_size
from engine.protocol.errors import StageError

IGNORED = -100


class ResponseTrainer(SFTTrainer):
    """Trains a model on `rows` and measures it on `dev`, whose mean loss is in nats a response token.

    A step has a whole batch, shared between processes by rows. Each process cuts its share into passes as `fit` says,
    and gradients are added up once a step: so a process whose memory ran out can say so there, and all repeat the step
    in smaller passes. `remember` is told how steps are cut from then on.
    """

    def __init__(
        self,
        model: PeftModel,
        args: SFTConfig,
        rows: Sequence[TokenRow],
        dev: Sequence[TokenRow],
        batch_size: int,
        checkpoints: Checkpoints,
        fit: Fit,
        padding_free: bool,
        say: Say,
        remember: Callable[[Fit], None],
        **kwargs: Any,
    ) -> None:
        self._base = base = cast(Any, model.get_base_model())
        known = inspect.signature(base.forward).parameters
        self._keeps_logits = "logits_to_keep" in known
        # Models that see images, such as Gemma 3, want to be told in training that all tokens are text.
        config = base.config
        self._typed = "token_type_ids" in known and config.get_text_config() is not config
        # TRL rounds the adapter of a quantised model to bfloat16, which loses small updates.
        trained = [weight for weight in model.parameters() if weight.requires_grad]
        exact = [weight.data.float() for weight in trained]
        super().__init__(
            model,
            args=args,
            train_dataset=_dataset(rows),
            eval_dataset=_dataset(dev) if dev else None,
            callbacks=[*kwargs.pop("callbacks"), checkpoints],  # what others write belongs to a checkpoint
            **kwargs,
        )
        for weight, value in zip(trained, exact, strict=True):
            weight.data = value.to(weight.device)
        # Trainer counts the tokens of a step, and leaves it to `compute_loss` to divide by them.
        self.model_accepts_loss_kwargs = True  # type: ignore[has-type]
        self.loss_is_scaled_for_ga: Any = True
        # Not wrapped in DDP, which adds gradients up in the middle of a pass that may fail in one process.
        self.accelerator.prepare_model = partial(self.accelerator.prepare_model, evaluation_mode=True)
        self._rows, self._dev, self._batch_size = rows, dev, batch_size
        self._trained, self._sharded = trained, is_sharded(model)
        self._checkpoints, self._say, self._remember = checkpoints, say, remember
        self._fused = args.device.type == "cuda"
        self._collate_flat = _collator(self, padding_free=True) if padding_free else None
        self.fit = fit

    def get_train_dataloader(self) -> Loader:
        """This process's rows of each step."""
        lengths = [len(row.tokens) for row in self._rows]
        batches = Batches(lengths, self._batch_size, self.args.seed, rank(), world_size())
        return Loader(self.train_dataset, batch_sampler=batches, collate_fn=_collator(self))

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Loader:
        """This process's dev rows, the longest first."""
        order = sorted(range(len(self._dev)), key=lambda number: -len(self._dev[number].tokens))
        mine, size = share(order, len(order), rank(), world_size()), self.args.per_device_eval_batch_size
        batches: Any = [mine[start : start + size] for start in range(0, len(mine), size)]
        return Loader(self.eval_dataset, batch_sampler=batches, collate_fn=_collator(self))

    def training_step(
        self, model: torch.nn.Module, inputs: dict[str, torch.Tensor], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """The gradients of a batch, averaged over processes, and its mean loss.

        Raises StageError where not even one row fits into memory.
        """

        step: Callable[..., torch.Tensor] = super().training_step

        def passes() -> torch.Tensor:
            model.zero_grad()
            return torch.stack([step(model, part, num_items_in_batch) for part in self._parts(inputs)]).sum()

        return self._fitting(passes, gradients=True)

    def evaluation_loop(self, dataloader: Any, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> EvalLoopOutput:
        """The mean loss of the dev rows. Raises StageError where it is not finite, or as `training_step` does."""
        learned = sum(row.learned for row in self._dev)
        self.model.eval()

        def passes() -> torch.Tensor:
            total = torch.zeros((), device=self.args.device)
            with torch.no_grad():
                for batch in dataloader:
                    for part in self._parts(batch):
                        total += self.compute_loss(self.model, self._prepare_inputs(part), num_items_in_batch=learned)
            return total

        loss = self._fitting(passes, gradients=False)
        mean = add_up(loss.clone()).item() / world_size()
        if not math.isfinite(mean):
            step = self.state.global_step
            raise StageError(
                f"training diverged at step {step}: the dev loss is {mean}"
                if step
                else f"the untuned model's dev loss is {mean}",
                "lower finetune.learning_rate" if step else "choose another model in local.model",
            )
        metrics = {f"{metric_key_prefix}_loss": mean}
        return EvalLoopOutput(predictions=None, label_ids=None, metrics=metrics, num_samples=len(self._dev))

    def compute_loss(
        self,
        model: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> torch.Tensor:
        """The summed loss over the count of all processes' tokens, over which gradients are averaged then.

        On CUDA, TRL's fused output layer never holds all logits. Elsewhere it would score the prompt too, in float32:
        here the layer runs at the response's positions only, which takes a step on a processor 60 % of the time.
        """
        known = {name: value for name, value in inputs.items() if name != "labels"} | {"use_cache": False}
        if self._typed:
            known["token_type_ids"] = torch.zeros_like(inputs["input_ids"])
        if self._fused:
            total = -model(**known, labels=inputs["labels"], fused_lm_head=True).log_probs.sum()
        else:
            labels = inputs["labels"][:, 1:]
            columns = (labels != IGNORED).any(dim=0).nonzero().squeeze(1)
            kept = {"logits_to_keep": columns} if self._keeps_logits else {}
            logits = model(**known, **kept).logits
            logits, labels = logits if kept else logits[:, columns], labels[:, columns]
            wanted = labels != IGNORED
            total = cross_entropy(logits[wanted].float(), labels[wanted], reduction="sum")
        loss: torch.Tensor = total / num_items_in_batch * world_size()
        return loss

    def _parts(self, inputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """A batch in passes, without columns that are padding in all rows of one.

        No attention mask is needed: what fills a row up comes after it, where a causal model does not look. Without
        one, attention skips the half of all pairs of tokens that lie ahead.
        """
        lengths = inputs["attention_mask"].sum(dim=1).tolist()
        for start in range(0, len(lengths), self.fit.micro_batch):
            chosen = range(start, min(start + self.fit.micro_batch, len(lengths)))
            width = max(lengths[row] for row in chosen)
            part = {name: inputs[name][chosen.start : chosen.stop, :width] for name in ("input_ids", "labels")}
            if self._collate_flat is None:
                yield part
                continue
            rows = [
                {name: part[name][place, : lengths[row]].tolist() for name in part} for place, row in enumerate(chosen)
            ]
            yield self._collate_flat(rows)

    def _fitting(self, passes: Callable[[], torch.Tensor], gradients: bool) -> torch.Tensor:
        """What `passes` returns, and its averaged gradients in place, in passes that fit in all processes."""
        while True:
            try:
                loss, failed = passes(), False
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or self._sharded:  # the others wait in the pass that failed here
                    raise
                loss, failed = torch.zeros((), device=self.args.device), True
            if failed:  # behind the except clause, since an error holds on to the tensors of its frames
                self.model.zero_grad()
                clear_device_cache(garbage_collection=True)
            if not self._failed_anywhere(failed, gradients):
                return loss
            self._shrink()

    def _failed_anywhere(self, failed: bool, gradients: bool) -> bool:
        """Average gradients over processes, and share whether memory ran out or a checkpoint is due, in one go."""
        due = self._checkpoints.is_due
        if world_size() == 1:
            self._checkpoints.agreed = due
            return failed
        held = self._trained if gradients else []
        for weight in held:  # one that is missing in a process would be missing in the sum
            weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
        own = torch.tensor([float(failed), float(due)], device=self.args.device)
        summed = add_up(torch.cat([*(weight.grad.flatten() for weight in held if weight.grad is not None), own]))
        start = 0
        for weight in held:
            weight.grad = summed[start : start + weight.numel()].view_as(weight) / world_size()
            start += weight.numel()
        failures, asked = summed[start:].tolist()
        self._checkpoints.agreed = asked > 0
        return bool(failures > 0)

    def _shrink(self) -> None:
        smaller = self.fit.smaller()
        if smaller is None or (smaller.recompute and not self._base.supports_gradient_checkpointing):
            longest = max(len(row.tokens) for row in [*self._rows, *self._dev])
            raise StageError(
                f"out of memory: not even one pair fits (the longest has {longest:,} tokens)",
                "lower finetune.max_length, set local.quantization to nf4, or choose a smaller local.model",
            )
        self._say("warning", f"out of memory with {self.fit}: now {smaller}; the batches stay the same")
        if smaller.recompute and not self.fit.recompute:
            self._base.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        self.fit = smaller
        self._remember(smaller)


def _dataset(rows: Sequence[TokenRow]) -> Dataset:
    """Rows as SFTTrainer takes them, and behind them a blank one for processes that have fewer rows of a batch."""
    learned = [{"input_ids": row.tokens, "labels": [IGNORED] * row.prompt + row.tokens[row.prompt :]} for row in rows]
    return Dataset.from_list([*learned, {"input_ids": [0, 0], "labels": [IGNORED, IGNORED]}])


def _collator(trainer: SFTTrainer, padding_free: bool = False) -> DataCollatorForLanguageModeling:
    pad: int = trainer.processing_class.pad_token_id
    return DataCollatorForLanguageModeling(pad_token_id=pad, padding_free=padding_free)
