"""The tables of migration.toml for the local LLM: which model, how it is trained, how it answers, and on what."""

from __future__ import annotations

import shlex
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from engine.settings.table import Address, Table, Variable

THINKING_OFF: dict[str, Any] = {"enable_thinking": False}
"""What chat templates are given unless the user says otherwise."""

RENDERED = ("messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "chat_template")
"""Arguments of chat templates that each chat decides."""


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


def _splits(line: str) -> str:
    try:
        shlex.split(line)
    except ValueError as error:
        raise ValueError(f"is no command line: {error}") from None
    return line


CommandLine = Annotated[str, AfterValidator(_splits)]
"""Words as a shell splits them, quotes included; nothing else of a shell's is understood."""


class Inference(Table):
    """How the local LLM generates responses."""

    samples: int = Field(2, ge=1, le=64, description="Responses per prompt.")
    temperature: float = Field(
        0.8, ge=0, le=2, description="Sampling temperature; at 0 all samples of a prompt are the same."
    )
    max_new_tokens: int = Field(1024, ge=1, description="Maximum tokens of a response; a longer one is cut.")
    batch_size: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Responses to generate at once; not set: as many as free memory takes, 256 for vllm, 16 for an "
        "endpoint.",
    )
    backend: Literal["transformers", "vllm", "endpoint"] = Field(
        "transformers",
        description="What runs the local LLM: this program, a vLLM that it starts, or any server with OpenAI's API.",
    )
    vllm: str = Field("vllm", min_length=1, description="The vllm executable, in a virtual environment of its own.")
    vllm_args: CommandLine = Field(
        "", description="Further arguments of `vllm serve`, such as --gpu-memory-utilization 0.8."
    )
    api_base: Address = Field(
        None, description="Address of the endpoint (http://...:8000/v1); not set: the server that `serve` starts."
    )
    api_key_env: Variable = Field(None, description="Name of the environment variable with the endpoint's API key.")
    serve: CommandLine = Field(
        "",
        description="The command that gets each round's model to the endpoint: a server, or a step that ends. It may "
        "hold {model} {adapter} {merged} (folders), {name}, {port} and {folder} (for its own files).",
    )
    model: str = Field(
        "{name}", min_length=1, description="The model's name at the endpoint, with the same placeholders."
    )
    untuned_model: str | None = Field(
        None,
        min_length=1,
        description="Name of the untuned model at the endpoint; set: `serve` doesn't run for it; not set: it does.",
    )

    @model_validator(mode="after")
    def _serves_each_round(self) -> Inference:
        if self.backend != "endpoint":
            return self
        if not self.serve:
            raise ValueError("an endpoint needs serve: each round has new weights, and this command gets them there")
        if self.api_base is None and "{port}" not in self.serve:
            raise ValueError("serve must contain {port}, or api_base must be set")
        if self.untuned_model is not None and self.api_base is None:
            raise ValueError("untuned_model needs api_base: a server that runs already")
        return self


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
