"""The tables of migration.toml for the local LLM: which model, how it is trained, how it answers, and on what."""

from __future__ import annotations

import difflib
import re
import shlex
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from engine.protocol.limits import LONGEST_S, MOST_PROCESSES, MOST_TOKENS
from engine.settings.table import Address, Table, Variable

MODEL_FILE = ".gguf"
"""The ending of a model in one file."""

THINKING_OFF: dict[str, Any] = {"enable_thinking": False}
"""What chat templates are given unless the user says otherwise."""

RENDERED = ("messages", "tools", "documents", "add_generation_prompt", "continue_final_message", "chat_template")
"""Arguments of chat templates that each chat decides."""


class Adapter(Table):
    """The LoRA adapter that is trained."""

    r: int = Field(16, ge=1, le=512, description="Rank.")
    alpha: int = Field(32, ge=1, le=65_536, description="Scale; the paper uses 2r.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout on the adapter's input.")
    target_modules: str | list[str] = Field(
        "all-linear", description="Layers to train: all-linear, names or their ends, or a regular expression."
    )
    rslora: bool = Field(False, description="Scale by alpha / sqrt(r), for ranks of 64 and more (rsLoRA).")
    dora: bool = Field(False, description="Train each weight's length and direction apart (DoRA): slower.")


class Local(Table):
    """The local LLM to migrate to."""

    model: str = Field(
        "SmolLM2-135M-Instruct", min_length=1, description="A Hub id, a folder of safetensors, or a .gguf file."
    )
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


Scheduler = Literal["warmup_stable_decay", "cosine", "linear", "constant"]
Attention = Literal["auto", "sdpa", "eager", "flash_attention_2"]
Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


class Finetune(Table):
    """How the adapter is trained; each round uses all data so far."""

    epochs: int = Field(
        10, ge=1, le=100, description="Maximum passes over the data; training stops where the dev loss stops falling."
    )
    patience: float = Field(
        1, ge=0, le=100, description="Epochs without a lower dev loss after which training stops; at 0 it never does."
    )
    learning_rate: float = Field(2e-4, gt=0, lt=1, description="Peak learning rate, after the warm-up.")
    scheduler: Scheduler = Field(
        "warmup_stable_decay",
        description="warmup_stable_decay: at its peak until the dev loss stops falling, then a decay from the best "
        "state; the others decay over all epochs, or not at all.",
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps, of three epochs at most, for the warm-up.")
    weight_decay: float = Field(0.0, ge=0, lt=1, description="AdamW's weight decay of the adapter.")
    batch_size: int = Field(8, ge=1, le=65_536, description="Pairs per optimizer step, over all devices.")
    max_length: int = Field(
        2048, ge=32, le=MOST_TOKENS, description="Maximum tokens of a pair; longer pairs are left out."
    )
    warm_start: bool = Field(
        False, description="Start from the adapter of the round before, instead of from the base model."
    )
    start_from: Annotated[str, AfterValidator(_not_blank)] | None = Field(
        None,
        description="Folder of an earlier run: each round starts from its best adapter instead of from the base model. "
        "What that was trained on stays for training.",
    )
    micro_batch: int | None = Field(
        None,
        ge=1,
        le=65_536,
        description="Pairs in memory at a time; not set: what fits, halved where memory runs out.",
    )
    gradient_checkpointing: Literal["auto", "on", "off"] = Field(
        "auto", description="Compute activations twice instead of keeping them; auto: where memory is short."
    )
    attention: Attention = Field(
        "auto", description="auto: flash attention, without padding, on CUDA where flash-attn is installed."
    )
    checkpoint_minutes: float = Field(
        10, gt=0, le=LONGEST_S / 60, description="Minutes between two checkpoints: a killed run loses no more."
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


def _splits(line: str) -> str:
    try:
        shlex.split(line)
    except ValueError as error:
        raise ValueError(f"invalid command line: {error}") from None
    return line


PLACEHOLDERS = ("model", "adapter", "merged", "name", "port", "folder")
"""What `inference.serve` and `inference.model` may hold in braces; other braces stay as they are."""

_BRACES = re.compile(r"(?<![${])\{(\w+)\}(?!\})")


def _no_near_placeholder(text: str) -> str:
    """Other programs have braces of their own, so that only names close to a placeholder's are mistakes."""
    for name in _BRACES.findall(text):
        near = difflib.get_close_matches(name.lower(), PLACEHOLDERS, n=1, cutoff=0.7)
        if near and name not in PLACEHOLDERS:
            raise ValueError(f"unknown placeholder {{{name}}}; did you mean {{{near[0]}}}?")
    return text


CommandLine = Annotated[str, AfterValidator(_splits)]
"""Words as a shell splits them, quotes included; nothing else of a shell's is understood."""


class Inference(Table):
    """How the local LLM generates responses."""

    samples: int = Field(2, ge=1, le=64, description="Responses per prompt.")
    temperature: float = Field(
        0.8, ge=0, le=2, description="Sampling temperature; at 0 all samples of a prompt are the same."
    )
    max_new_tokens: int = Field(
        1024, ge=1, le=MOST_TOKENS, description="Maximum tokens of a response; a longer one is cut."
    )
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
    vllm: Annotated[str, AfterValidator(_not_blank)] = Field(
        "vllm", description="The vllm executable, in a virtual environment of its own."
    )
    vllm_args: CommandLine = Field(
        "", description="Further arguments of `vllm serve`, such as --gpu-memory-utilization 0.8."
    )
    api_base: Address = Field(
        None, description="Address of the endpoint (http://...:8000/v1); not set: the server that `serve` starts."
    )
    api_key_env: Variable = Field(None, description="Name of the environment variable with the endpoint's API key.")
    serve: Annotated[CommandLine, AfterValidator(_no_near_placeholder)] = Field(
        "",
        description="The command that gets each round's model to the endpoint: a server, or a step that ends. It may "
        "hold {model} {adapter} {merged} (folders), {name}, {port} and {folder} (for its own files).",
    )
    model: Annotated[str, AfterValidator(_no_near_placeholder)] = Field(
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
        if not "".join(shlex.split(self.serve)[:1]).strip():
            raise ValueError("an endpoint needs serve: each round has new weights, and this command gets them there")
        if self.api_base is None and "{port}" not in self.serve:
            raise ValueError("serve must contain {port}, or api_base must be set")
        if self.untuned_model is not None and self.api_base is None:
            raise ValueError("untuned_model needs api_base: a server that runs already")
        return self


def _text(device: object) -> object:
    """An index as the text that it is in lists of names."""
    return str(device) if isinstance(device, int) and not isinstance(device, bool) else device


DEVICE_FORM = r"^([0-9]+(:[0-9]+)?|(GPU|MIG)-\S+)$"
Device = Annotated[str, BeforeValidator(_text), Field(pattern=DEVICE_FORM)]
"""A GPU: its index, as 0 or as 0:1 for an instance of MIG, or its UUID."""


class Compute(Table):
    """The processes, GPUs and machines that do the work."""

    launcher: Literal["direct", "torchrun", "ray"] = Field(
        "direct",
        description="direct: one process, one GPU; torchrun: several on this machine; ray: on the nodes of a cluster.",
    )
    processes: int | None = Field(
        None,
        ge=1,
        le=MOST_PROCESSES,
        description="Processes for torchrun and ray; not set: one per free GPU, or per node without GPUs.",
    )
    devices: list[Device] | None = Field(
        None,
        min_length=1,
        description="GPUs of this machine, by UUID (GPU-..., MIG-...) or by the index that nvidia-smi and "
        "`check` show; not set: those that nobody uses.",
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
        if len(set(self.devices or ())) < len(self.devices or ()):
            raise ValueError("devices names a GPU twice")
        if self.launcher != "ray" and self.ray_address is not None:
            raise ValueError('ray_address needs launcher = "ray"')
        return self
