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


class Finetune(Table):
    """How the adapter is trained; each round starts from the base model and uses all data so far."""

    epochs: int = Field(3, ge=1, le=100, description="Maximum passes over the data; the best by dev loss is kept.")
    learning_rate: float = Field(
        2e-4, gt=0, lt=1, description="Peak learning rate after the warm-up; then a cosine decay."
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps for the warm-up.")
    batch_size: int = Field(8, ge=1, description="Pairs per optimizer step, over all devices.")
    max_length: int = Field(2048, ge=32, description="Maximum tokens of a pair; longer pairs are left out.")


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
