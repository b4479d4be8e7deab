"""The tables of migration.toml for the local LLM: which model, how it is trained, how it answers, and on what."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

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


def _text(device: object) -> object:
    """An index as the text that it is in lists of names."""
    return str(device) if isinstance(device, int) and not isinstance(device, bool) else device


Device = Annotated[str, BeforeValidator(_text), Field(pattern=r"^([0-9]+|(GPU|MIG)-\S+)$")]
"""A GPU: its index, or its UUID."""


class Compute(Table):
    """The processes, GPUs and machines that do the work."""

    launcher: Literal["direct", "torchrun", "ray"] = Field(
        "direct",
        description="direct: one process, one GPU; torchrun: several on this machine; ray: on the nodes of a cluster.",
    )
    processes: int | None = Field(
        None, ge=1, description="Processes for torchrun and ray; not set: one per free GPU, or per node without GPUs."
    )
    devices: list[Device] | None = Field(
        None,
        min_length=1,
        description="GPUs of this machine, by index or UUID (GPU-..., MIG-...); not set: those that nobody uses.",
    )
    strategy: Literal["ddp", "fsdp"] = Field(
        "ddp", description="How processes share a training: each with all weights (ddp), or with a part (fsdp)."
    )
    ray_address: str | None = Field(
        None, description="Address of the Ray cluster; not set: RAY_ADDRESS, or the cluster that this machine is in."
    )

    @model_validator(mode="after")
    def _launched(self) -> Compute:
        if self.launcher == "direct" and self.processes is not None:
            raise ValueError('processes needs launcher = "torchrun" or "ray"')
        if self.launcher == "direct" and self.strategy == "fsdp":
            raise ValueError('strategy = "fsdp" needs launcher = "torchrun" or "ray"')
        if self.launcher == "ray" and self.devices is not None:
            raise ValueError('devices are GPUs of this machine; with launcher = "ray" the cluster chooses them')
        if self.launcher != "ray" and self.ray_address is not None:
            raise ValueError('ray_address needs launcher = "ray"')
        return self
