"""The settings of a migration: typed, checked all at once, and the one place of their defaults."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

Share = Annotated[float, Field(gt=0.0, le=0.9)]
Score = Annotated[float, Field(ge=1.0, le=100.0)]

SANDBOX_MODEL = "sandbox"
"""The service model's name that stands for the offline sandbox, started by the worker."""

SECRET = re.compile(r"key|secret|password|credential|authorization|(^|[-_])token$", re.IGNORECASE)
OURS = {"model", "messages", "tools", "timeout", "stream", "n", "num_retries", "max_retries", "max_completion_tokens"}
"""Request parameters that other settings stand for, or that would break the budget or the reading of replies."""


class Table(BaseModel):
    """A table of migration.toml: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Contract(Table):
    """What every response must keep to; checked for nothing, before a judge is paid. Broken, it scores 1 and 1."""

    format: Literal["text", "json"] = Field("text", description="json: the whole response must parse.")
    json_schema: str | dict[str, Any] | None = Field(
        None, description="A JSON schema that it keeps to: a file, or an inline table."
    )
    pattern: str | None = Field(
        None, description="A regular expression that matches all of it, without look-around and back-references."
    )
    max_chars: int | None = Field(None, ge=1, description="Characters that it has at most.")
    language: str | None = Field(
        None,
        pattern="^[a-z]{2}$",
        description="Its language, as in ISO 639-1 (en, de). Below about 8 words none is told, and it passes.",
    )


class Task(Table):
    """What is being migrated."""

    name: str = Field("migration", pattern=r"^[\w][\w .-]{0,63}$", description="A short name; runs are named after it.")
    topic: str = Field("", description="The task in a few words; told to the service when it writes new pairs.")
    contract: Contract = Contract()


class Columns(Table):
    """The columns of a CSV, Parquet or JSONL coverage file, where their names are unusual."""

    prompt: str | None = Field(None, description="Column of the prompt.")
    response: str | None = Field(None, description="Column of the response.")
    system: str | None = Field(None, description="Column of a system prompt, if any.")
    category: str | None = Field(None, description="Column of the category, if any.")


class Split(Table):
    """Shares of the coverage dataset; the rest trains."""

    dev: Share = Field(0.2, description="Share that steers the loop.")
    test: Share = Field(0.2, description="Share that stays sealed until the end.")

    @model_validator(mode="after")
    def _leaves_data_to_train(self) -> Split:
        if self.dev + self.test >= 1:
            raise ValueError("dev + test must be below 1, the rest trains")
        return self


class Coverage(Table):
    """The prompts with responses that you were happy with."""

    source: str = Field(description="A file (.jsonl, .json, .csv, .parquet) or a dataset id of the Hub.")
    columns: Columns = Columns()
    split: Split = Split()


def _no_secret_address(address: str | None) -> str | None:
    if address and re.search(r"//[^/]*@|[?]", address):
        raise PydanticCustomError("secret", "an address with a password or a query may hold a key: leave that out")
    return address


Address = Annotated[str | None, AfterValidator(_no_secret_address)]
Variable = Annotated[str | None, Field(pattern=r"^[A-Za-z_]\w*$")]


class Terms(Table):
    """Where one model is asked, within which limits and at which prices, as the keys of [service] say it for all."""

    api_base: Address = None
    api_key_env: Variable = None
    rpm: int | None = Field(None, ge=1)
    tpm: int | None = Field(None, ge=1)
    input_price: float | None = Field(None, ge=0)
    output_price: float | None = Field(None, ge=0)


class Service(Table):
    """The service LLM that you are leaving: it judges, and writes new pairs."""

    model: str = Field(description='A litellm model name ("gpt-4o", "gemini/gemini-2.5-pro"), or "sandbox".')
    api_base: Address = Field(None, description="Address of an OpenAI-compatible endpoint, if not the provider's.")
    api_key_env: Variable = Field(None, description="Name of the environment variable that holds the key.")
    rpm: int | None = Field(None, ge=1, description="Requests a minute that your account allows.")
    tpm: int | None = Field(None, ge=1, description="Tokens a minute that your account allows.")
    concurrency: int = Field(64, ge=1, le=256, description="Calls in flight at once, at most; it adapts below that.")
    timeout_s: float = Field(120.0, gt=0, description="Seconds to wait for one answer.")
    patience_s: float = Field(3600.0, ge=0, description="Seconds to keep retrying while the service is down or busy.")
    budget_usd: float | None = Field(None, ge=0, description="The run never spends more than this; none: no cap.")
    budget_calls: int | None = Field(None, ge=0, description="The run never pays for more calls than this.")
    batch: bool = Field(
        False, description="Ask in batches (OpenAI, Azure): half the price, but each takes up to 24 hours."
    )
    cache: bool = Field(True, description="Keep replies for later runs of yours, in ~/.cache/llamaduo.")
    input_price: float | None = Field(None, ge=0, description="USD per million input tokens, if litellm has no price.")
    output_price: float | None = Field(None, ge=0, description="USD per million output tokens, likewise.")
    params: dict[str, Any] = Field({}, description="More request parameters, such as {temperature = 0.7}.")
    models: dict[str, Terms] = Field(
        {},
        description="Judge models with an api_base, api_key_env, rpm, tpm, input_price or output_price of their own:"
        ' {"gpt-4o" = {rpm = 60}}.',
    )

    @field_validator("params")
    @classmethod
    def _no_secrets(cls, params: dict[str, Any]) -> dict[str, Any]:
        if any(SECRET.search(key) for key in _keys(params)):
            raise PydanticCustomError("secret", "keys come from the environment: name the variable in api_key_env")
        return params

    @field_validator("params")
    @classmethod
    def _none_of_ours(cls, params: dict[str, Any]) -> dict[str, Any]:
        if ours := [key for key in params if key in OURS or key.startswith("api_")]:
            raise ValueError(f"{ours[0]!r} cannot be given here")
        most = params.get("max_tokens", 1)
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            raise ValueError("max_tokens is a whole number above 0")
        return params

    def terms(self, model: str) -> Terms:
        """What holds for a model: its own terms, then the limits of this table, and all of it for the service model."""
        shared = set(Terms.model_fields) if model == self.model else {"rpm", "tpm"}
        own = self.models.get(model, Terms()).model_dump(exclude_none=True)
        return Terms(**self.model_dump(include=shared) | own)


class Judge(Table):
    """How responses are scored, 1 to 100, for similarity to the reference and for precision."""

    models: list[str] = Field([], description="Judge models; empty: the service model.")
    repeats: int = Field(2, ge=1, le=50, description="Verdicts for each response.")
    adaptive: bool = Field(True, description="Repeat no further for a response once its verdicts agree.")
    prompts: str | None = Field(None, description="A TOML file with your own prompts, as in LlamaDuo.")


class Adapter(Table):
    """The LoRA adapter that is trained."""

    r: int = Field(16, ge=1, le=512, description="Rank.")
    alpha: int = Field(32, ge=1, description="Scale; 2r is the paper's choice.")
    dropout: float = Field(0.05, ge=0, lt=1, description="Dropout on the adapter's input.")


class Local(Table):
    """The local LLM that takes over."""

    model: str = Field("SmolLM2-135M-Instruct", description="A Hub id, a folder of safetensors, or a .gguf file.")
    revision: str | None = Field(None, description="Branch, tag or commit of a Hub model.")
    quantization: Literal["none", "nf4"] = Field("none", description="nf4 trains on a 4-bit base (QLoRA).")
    adapter: Adapter = Adapter()
    trust_remote_code: str | None = Field(
        None, description="Runs code that comes with a model: repeat the model's name to allow it."
    )

    @model_validator(mode="after")
    def _trusts_this_model(self) -> Local:
        if self.trust_remote_code not in (None, self.model):
            raise ValueError(f"to allow trust_remote_code, repeat the model's name in it: {self.model!r}")
        return self


class Finetune(Table):
    """How the adapter is trained; each round starts from the base model on all data so far."""

    epochs: int = Field(3, ge=1, le=100, description="Passes over the data, at most: the best by dev loss is kept.")
    learning_rate: float = Field(2e-4, gt=0, lt=1, description="Peak, reached after the warm-up; then cosine.")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the steps that warm up.")
    batch_size: int = Field(8, ge=1, description="Pairs per optimizer step, over all devices.")
    max_length: int = Field(2048, ge=32, description="Tokens of prompt and response; longer pairs are left out.")


class Inference(Table):
    """How the local LLM answers."""

    samples: int = Field(2, ge=1, le=64, description="Answers for each prompt.")
    temperature: float = Field(0.8, ge=0, le=2, description="0 answers greedily, then more samples are the same.")
    max_new_tokens: int = Field(1024, ge=1, description="An answer is cut here.")
    backend: Literal["transformers"] = Field("transformers", description="What runs the local LLM.")


class Target(Table):
    """When the small model is good enough."""

    precision: Score = Field(85.0, description="Mean precision on dev prompts to reach, 1 to 100.")
    similarity: Score = Field(75.0, description="Mean similarity on dev prompts to reach, 1 to 100.")
    confidence: float = Field(
        0.95, ge=0.5, lt=1, description="How sure to be, over all rounds together, that a reached target is no luck."
    )
    teacher: bool = Field(
        True, description="Ask the service for the dev and test prompts again: what it gets itself is the ceiling."
    )
    relative_to_teacher: float | None = Field(
        None,
        ge=0,
        lt=99,
        description="Instead of the two scores above: at most so many points below what the service itself gets.",
    )
    max_regressed: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Share of dev prompts that may be worse than in the best earlier round; none: any share.",
    )

    @model_validator(mode="after")
    def _asks_whom_it_compares_with(self) -> Target:
        if self.relative_to_teacher is not None and not self.teacher:
            raise ValueError("relative_to_teacher needs teacher = true")
        return self


class Synthesis(Table):
    """The new pairs that the service writes after a round that falls short."""

    pairs_per_round: int = Field(200, ge=1, description="Pairs to add in a round.")
    pairs_per_call: int = Field(5, ge=1, le=50, description="Pairs to ask for in one call.")
    strategy: Literal["failures", "uniform"] = Field(
        "failures", description="Model new pairs on what the local LLM gets wrong, or on all alike (the paper)."
    )
    min_score: Score | None = Field(
        None, description="Have the judges score each new pair, and keep those at or above this; none: not judged."
    )
    review: bool = Field(False, description="Wait for a person to look at new pairs before they are trained on.")
    duplicate_prompt: float = Field(
        0.9, ge=0.5, le=1, description="Refuse a new pair whose prompt is this similar to a known one (Jaccard)."
    )
    duplicate_response: float = Field(
        0.9, ge=0.5, le=1, description="Refuse a new pair whose response, if long, is this similar to a known one."
    )
    duplicate_response_words: int = Field(
        50, ge=1, description="Shorter responses may repeat: labels, JSON and stock phrases rightly do."
    )
    contamination: float = Field(
        0.65,
        ge=0.3,
        le=1,
        description="Refuse a new pair that holds this share of a dev or test prompt, reworded or not.",
    )


class Loop(Table):
    """When to go on, and when to stop."""

    max_rounds: int = Field(4, ge=1, le=100, description="Rounds of fine-tuning, at most.")
    patience: int = Field(2, ge=1, description="Rounds without a gain after which the loop ends.")
    min_gain: float = Field(1.0, ge=0, description="Points of mean score that count as a gain.")
    approval: Literal["ask", "auto"] = Field("ask", description="Whether a person approves each synthesis.")
    max_hours: float | None = Field(None, gt=0, description="Begin no further round after this many hours of work.")
    seed: int = Field(42, ge=0, description="Seed of everything random.")


class Compute(Table):
    """The processes that work is done by on this machine."""

    launcher: Literal["direct", "torchrun"] = Field(
        "direct", description="direct trains in one process, torchrun in several that share each batch."
    )
    processes: int | None = Field(None, ge=1, description="Processes for torchrun; none: one for each GPU.")

    @model_validator(mode="after")
    def _shared_by_a_launcher(self) -> Compute:
        if self.launcher == "direct" and self.processes is not None:
            raise ValueError('processes needs launcher = "torchrun"')
        return self


class Migration(Table):
    """A whole migration.toml."""

    task: Task = Task()
    coverage: Coverage
    service: Service
    judge: Judge = Judge()
    local: Local = Local()
    finetune: Finetune = Finetune()
    inference: Inference = Inference()
    target: Target = Target()
    synthesis: Synthesis = Synthesis()
    loop: Loop = Loop()
    compute: Compute = Compute()

    @model_validator(mode="after")
    def _terms_of_its_models(self) -> Migration:
        models = (self.service.model, *self.judge_models)
        if strange := [model for model in self.service.models if model not in models]:
            raise ValueError(f"service.models: {strange[0]!r} is no model of this run")
        for model in models:
            terms = self.service.terms(model)
            if (terms.input_price is None) != (terms.output_price is None):
                raise ValueError(f"service: input_price and output_price of {model} are given together, or neither")
        return self

    @property
    def judge_models(self) -> list[str]:
        return self.judge.models or [self.service.model]

    @property
    def uses_sandbox(self) -> bool:
        return SANDBOX_MODEL in (self.service.model, *self.judge_models)

    def digest(self, *tables: str) -> str:
        """16 hex digits that change when a setting does, of these tables or of all."""
        canonical = json.dumps(self.model_dump(mode="json", include=set(tables) or None), sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _keys(table: Any) -> Iterator[str]:
    """The keys of a table and of those in it."""
    for value in table.values() if isinstance(table, dict) else table if isinstance(table, list) else ():
        yield from _keys(value)
    if isinstance(table, dict):
        yield from table
