"""The tables of migration.toml for the local LLM: which model, how it is trained, how it answers, and on what."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from engine.settings.table import Table

THINKING_OFF: dict[str, Any] = {"enable_thinking": False}
"""What chat templates are given unless the user says otherwise."""

RENDERED = ("messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "chat_template")
"""Arguments of chat templates that each chat decides."""


class Adapter(Table):
    """The LoRA adapter that is trained."""

    r: int = Field(16, ge=1, le=512, description="Rank.")
    alpha: int = Field(32, ge=1, description="Scale; the paper uses 2r.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout on the adapter's input.")
    target_modules: str | list[str] = Field(
        "all-linear", description="Layers to train: all-linear, names or their ends, or a regular expression."
    )
    rslora: bool = Field(False, description="Scale by alpha / sqrt(r), for ranks of 64 and more (rsLoRA).")
    dora: bool = Field(False, description="Train each weight's length and direction apart (DoRA): slower.")


class Local(Table):
    """The local LLM to migrate to."""

    model: str = Field("SmolLM2-135M-Instruct", description="A Hub id, a folder of safetensors, or a .gguf file.")
    revision: str | None = Field(None, description="Branch, tag or commit of a Hub model.")
    quantization: Literal["none", "nf4"] = Field("none", description="nf4: train on a 4-bit base model (QLoRA).")
    template: dict[str, Any] = Field(
        THINKING_OFF,
        description='Arguments for the chat template, such as {reasoning_effort = "low"}; unknown ones are ignored.',
    )
    adapter: Adapter = Adapter()
    trust_remote_code: str | None = Field(
        None, description="Allow the model to run code that comes with it: repeat its name here."
    )

    @field_validator("template")
    @classmethod
    def _not_rendered(cls, template: dict[str, Any]) -> dict[str, Any]:
        if taken := [name for name in template if name in RENDERED or not name.isidentifier()]:
            raise ValueError(f"{taken[0]!r} cannot be set here")
        return template

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
