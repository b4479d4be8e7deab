"""The tables of migration.toml for the local LLM: which model, how it is trained, how it answers, and on what."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from engine.settings.table import Table


class Adapter(Table):
    """The LoRA adapter that is trained."""

    r: int = Field(16, ge=1, le=512, description="Rank.")
    alpha: int = Field(32, ge=1, description="Scale; the paper uses 2r.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout on the adapter's input.")


class Local(Table):
    """The local LLM to migrate to."""

    model: str = Field("SmolLM2-135M-Instruct", description="A Hub id, a folder of safetensors, or a .gguf file.")
    revision: str | None = Field(None, description="Branch, tag or commit of a Hub model.")
    quantization: Literal["none", "nf4"] = Field("none", description="nf4: train on a 4-bit base model (QLoRA).")
    adapter: Adapter = Adapter()
    trust_remote_code: str | None = Field(
        None, description="Allow the model to run code that comes with it: repeat its name here."
    )

    @model_validator(mode="after")
    def _trusts_this_model(self) -> Local:
        if self.trust_remote_code not in (None, self.model):
            raise ValueError(f"to allow trust_remote_code, set it to the model's name: {self.model!r}")
        return self


Scheduler = Literal["warmup_stable_decay", "cosine", "linear", "constant"]
Attention = Literal["auto", "sdpa", "eager", "flash_attention_2"]
Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]


class Finetune(Table):
    """How the adapter is trained; each round uses all data so far."""

    epochs: int = Field(
        10, ge=1, le=100, description="Maximum passes over the data; training stops where the dev loss stops falling."
    )
    patience: float = Field(
        1, ge=0, description="Epochs without a lower dev loss after which training stops; at 0 it never does."
    )
    learning_rate: float = Field(2e-4, gt=0, lt=1, description="Peak learning rate, after the warm-up.")
    scheduler: Scheduler = Field(
        "warmup_stable_decay",
        description="warmup_stable_decay: at its peak until the dev loss stops falling, then a decay from the best "
        "state; the others decay over all epochs, or not at all.",
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps, of three epochs at most, for the warm-up.")
    weight_decay: float = Field(0.0, ge=0, lt=1, description="AdamW's weight decay of the adapter.")
    batch_size: int = Field(8, ge=1, description="Pairs per optimizer step, over all devices.")
    max_length: int = Field(2048, ge=32, description="Maximum tokens of a pair; longer pairs are left out.")
    warm_start: bool = Field(
        False, description="Start from the adapter of the round before, instead of from the base model."
    )
    micro_batch: int | None = Field(
        None, ge=1, description="Pairs in memory at a time; not set: what fits, halved where memory runs out."
    )
    gradient_checkpointing: Literal["auto", "on", "off"] = Field(
        "auto", description="Compute activations twice instead of keeping them; auto: where memory is short."
    )
    attention: Attention = Field(
        "auto", description="auto: flash attention, without padding, on CUDA where flash-attn is installed."
    )
    checkpoint_minutes: float = Field(
        10, gt=0, description="Minutes between two checkpoints: a killed run loses no more."
    )
    report_to: list[Tracker] = Field(
        [], description="Trackers to report to as well; their addresses and keys are in the environment."
    )

    @property
    def learns(self) -> Finetune:
        """These settings with the defaults of those that change how training is done, not what is learned."""
        fields = type(self).model_fields
        return self.model_copy(update={name: fields[name].default for name in _HOW})


_HOW = ("micro_batch", "gradient_checkpointing", "attention", "checkpoint_minutes", "report_to")


class Inference(Table):
    """How the local LLM generates responses."""

    samples: int = Field(2, ge=1, le=64, description="Responses per prompt.")
    temperature: float = Field(
        0.8, ge=0, le=2, description="Sampling temperature; at 0 all samples of a prompt are the same."
    )
    max_new_tokens: int = Field(1024, ge=1, description="Maximum tokens of a response; a longer one is cut.")
    backend: Literal["transformers"] = Field("transformers", description="What runs the local LLM.")


class Compute(Table):
    """The processes that do the work on this machine."""

    launcher: Literal["direct", "torchrun"] = Field(
        "direct", description="direct: train in one process; torchrun: in several that share each batch."
    )
    processes: int | None = Field(None, ge=1, description="Processes for torchrun; not set: one per GPU.")

    @model_validator(mode="after")
    def _shared_by_a_launcher(self) -> Compute:
        if self.launcher == "direct" and self.processes is not None:
            raise ValueError('processes needs launcher = "torchrun"')
        return self
