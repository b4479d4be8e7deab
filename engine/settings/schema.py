"""The schema of migration.toml: each setting's type, bounds, default, and the text that explains it on every screen.

The tables for the local LLM are in `engine.settings.local`. Nothing here reads files: `engine.settings.load` does, and
`engine.settings.template` writes a file from the schema.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from engine.protocol.limits import (
    LONGEST_CALL_S,
    LONGEST_S,
    MOST_A_MINUTE,
    MOST_CALLS,
    MOST_PAIRS,
    MOST_ROWS,
    MOST_TOKENS,
    MOST_USD,
)
from engine.protocol.sharing import Readers
from engine.settings.local import Compute, Finetune, Inference, Local
from engine.settings.notify import Notify
from engine.settings.table import SECRET, Address, Table, Variable, no_secret_address

ContainerName = Literal["json", "csv", "parquet", "arrow"]

COVERAGE_FILES: dict[str, ContainerName] = {
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
}
"""The endings of coverage files, and how such a file is read."""

COMPRESSED = (".gz", ".zst", ".bz2", ".xz")
"""The endings of compressed coverage files, which may follow another ending."""

MODEL_FILE = ".gguf"
"""The ending of a model in one file."""

Share = Annotated[float, Field(gt=0.0, le=0.9)]
Score = Annotated[float, Field(ge=1.0, le=100.0)]

SANDBOX_MODEL = "sandbox"
"""The model name of the offline sandbox, which the worker starts."""

RESERVED_PARAMS = frozenset(
    {"model", "messages", "tools", "timeout", "stream", "n", "num_retries", "max_retries", "max_completion_tokens"}
)
"""Request parameters that other settings control, or that would break the budget or the parsing of responses."""


class Contract(Table):
    """Rules for every response. Checked locally, free, before judging; a violation scores 1 on both metrics."""

    format: Literal["text", "json"] = Field("text", description="json: the whole response must be valid JSON.")
    json_schema: str | dict[str, Any] | None = Field(
        None, description="A JSON schema for the response: a file, or an inline table."
    )
    pattern: str | None = Field(
        None, description="A regular expression for the whole response; no look-around, no back-references."
    )
    max_chars: int | None = Field(None, ge=1, le=MOST_ROWS, description="Maximum characters of the response.")
    language: str | None = Field(
        None,
        pattern="^[a-z]{2}$",
        description="Language of the response, as in ISO 639-1 (en, de); not checked below about 8 words.",
    )


class Task(Table):
    """The task to migrate."""

    name: str = Field("migration", pattern=r"^[\w][\w .-]{0,63}$", description="A short name; runs are named after it.")
    topic: str = Field("", description="The task in a few words; the service reads it when it writes new pairs.")
    contract: Contract = Contract()


class Columns(Table):
    """Names of the data's columns, if they are not the usual ones; a dot leads into a nested one (inputs.question)."""

    messages: str | None = Field(None, description="Column of the whole chat, or of the prompt's messages.")
    prompt: str | None = Field(None, description="Column of the prompt.")
    response: str | None = Field(None, description="Column of the response.")
    system: str | None = Field(None, description="Column of the system prompt, if any.")
    category: str | None = Field(None, description="Column of the category, if any.")
    group: str | None = Field(
        None, description="Column of the conversation's id (session, trace, thread): its rows stay in one split."
    )
    weight: str | None = Field(None, description="Column of a weight: rows of weight 0 are not learned.")


class Split(Table):
    """How the coverage dataset is split; the rest is for training."""

    dev: Share = Field(0.12, description="Share of the dev split, which steers the loop.")
    test: Share = Field(0.28, description="Share of the test split, which stays sealed until the end and then decides.")

    @model_validator(mode="after")
    def _leaves_data_to_train(self) -> Split:
        if self.dev + self.test >= 1:
            raise ValueError("dev + test must be below 1: the rest is for training")
        return self


def _no_secret_source(source: str | list[str]) -> str | list[str]:
    for one in [source] if isinstance(source, str) else source:
        if "://" in one:
            no_secret_address(one)
    return source


class Coverage(Table):
    """Prompts with responses that you are happy with."""

    source: Annotated[str | list[str], AfterValidator(_no_secret_source)] = Field(
        description=f"A file ({', '.join(COVERAGE_FILES)}; also {', '.join(COMPRESSED)}), a folder or a pattern "
        "(logs/*.jsonl) of such files, an address (s3://...), a dataset id of the Hub, or a list of these."
    )
    turns: Literal["last", "all"] = Field(
        "last", description="last: learn the last answer of a conversation; all: learn each of its answers."
    )
    limit: int | None = Field(
        None,
        ge=3,
        le=MOST_ROWS,
        description="Maximum rows to use: a random sample, in equal shares of every category; not set: all.",
    )
    redact: bool = Field(
        False, description="Mask personal data (e-mail addresses, phone and card numbers ...) in all rows."
    )
    columns: Columns = Columns()
    split: Split = Split()

    @property
    def sources(self) -> list[str]:
        """The sources, in the order in which they are read."""
        return [self.source] if isinstance(self.source, str) else self.source


class ModelEndpoint(Table):
    """Address, key, limits and prices of one model: the keys of [service] by the same names."""

    api_base: Address = None
    api_key_env: Variable = None
    rpm: int | None = Field(None, ge=1, le=MOST_A_MINUTE)
    tpm: int | None = Field(None, ge=1, le=MOST_A_MINUTE)
    input_price: float | None = Field(None, ge=0, le=MOST_USD)
    output_price: float | None = Field(None, ge=0, le=MOST_USD)


class Service(Table):
    """The service LLM to migrate from: it judges responses and writes new pairs."""

    model: str = Field(
        description='A litellm model name ("gpt-4o", "gemini/gemini-2.5-pro"), or "sandbox" for an offline one.'
    )
    api_base: Address = Field(None, description="Address of an OpenAI-compatible endpoint, if not the provider's.")
    api_key_env: Variable = Field(None, description="Name of the environment variable with the API key.")
    rpm: int | None = Field(None, ge=1, le=MOST_A_MINUTE, description="Requests per minute that your account allows.")
    tpm: int | None = Field(None, ge=1, le=MOST_A_MINUTE, description="Tokens per minute that your account allows.")
    concurrency: int = Field(
        64, ge=1, le=256, description="Maximum calls in flight; fewer while the service is slow or busy."
    )
    timeout_s: float = Field(
        120.0, gt=0, le=LONGEST_CALL_S, description="Seconds to wait for one response; a stop waits as long."
    )
    patience_s: float = Field(
        3600.0, ge=0, le=LONGEST_S, description="Seconds to keep retrying while the service is down or busy."
    )
    budget_usd: float | None = Field(
        None, ge=0, le=MOST_USD, description="Maximum cost of the run in USD; not set: no cap."
    )
    budget_calls: int | None = Field(
        None, ge=0, le=MOST_CALLS, description="Maximum calls that the run pays for; not set: no cap."
    )
    batch: bool = Field(
        False, description="Use the batch API (OpenAI, Azure): half the price, but a batch takes up to 24 hours."
    )
    cache: bool = Field(True, description="Reuse responses in your later runs; they are kept in ~/.cache/llamaduo.")
    input_price: float | None = Field(
        None, ge=0, le=MOST_USD, description="USD per million input tokens, if litellm has no price."
    )
    output_price: float | None = Field(None, ge=0, le=MOST_USD, description="USD per million output tokens, likewise.")
    params: dict[str, Any] = Field({}, description="Further request parameters, such as {temperature = 0.7}.")
    models: dict[str, ModelEndpoint] = Field(
        {},
        description="Models with their own api_base, api_key_env, rpm, tpm, input_price or output_price:"
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
    def _not_reserved(cls, params: dict[str, Any]) -> dict[str, Any]:
        if reserved := [key for key in params if key in RESERVED_PARAMS or key.startswith("api_")]:
            raise ValueError(f"{reserved[0]!r} cannot be set here")
        most = params.get("max_tokens", 1)
        if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= MOST_TOKENS:
            raise ValueError(f"max_tokens must be a whole number from 1 to {MOST_TOKENS:,}")
        return params

    @property
    def key_names(self) -> set[str]:
        """The environment variables that are named for keys."""
        named = [self.api_key_env, *(terms.api_key_env for terms in self.models.values())]
        return {name for name in named if name}

    def endpoint(self, model: str) -> ModelEndpoint:
        """A model's own endpoint, completed by the limits of this table, and by all of it for the service model."""
        shared = set(ModelEndpoint.model_fields) if model == self.model else {"rpm", "tpm"}
        own = self.models.get(model, ModelEndpoint()).model_dump(exclude_none=True)
        return ModelEndpoint(**self.model_dump(include=shared) | own)


class Judge(Table):
    """How responses are scored, from 1 to 100: similarity to the reference, and precision."""

    models: list[str] = Field([], description="Judge models; empty: the service model.")
    repeats: int = Field(2, ge=1, le=50, description="Verdicts per response.")
    adaptive: bool = Field(
        True,
        description="From 4 repeats on: where a response's first two verdicts agree, ask for one more instead of all.",
    )
    drift: int = Field(
        20,
        ge=0,
        le=1000,
        description="Answers of round 0 that each judge judges again in every later round, to see whether it still "
        "scores alike; 0: none.",
    )
    prompts: str | None = Field(None, description="A TOML file with your own prompts, as in LlamaDuo.")


class Target(Table):
    """When the local LLM is good enough."""

    precision: Score = Field(85.0, description="Mean precision to reach on the sealed prompts.")
    similarity: Score = Field(75.0, description="Mean similarity to reach on the sealed prompts.")
    confidence: float = Field(
        0.95, ge=0.5, lt=1, description="Confidence of the lower bounds on the sealed prompts, which decide."
    )
    teacher: bool = Field(
        True, description="Also score the service's own new responses to the dev and test prompts: the ceiling."
    )
    relative_to_teacher: float | None = Field(
        None,
        ge=0,
        lt=99,
        description="Instead of the two scores above: allowed points below the service's own scores.",
    )
    max_regressed: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Share of dev prompts that may score lower than in the best earlier round; not set: any.",
    )

    @model_validator(mode="after")
    def _scores_the_teacher(self) -> Target:
        if self.relative_to_teacher is not None and not self.teacher:
            raise ValueError("relative_to_teacher needs teacher = true")
        return self


class Synthesis(Table):
    """The new pairs that the service writes after a round that misses the target."""

    pairs_per_round: int = Field(200, ge=1, le=MOST_PAIRS, description="Pairs to add per round.")
    pairs_per_call: int = Field(5, ge=1, le=50, description="Pairs to request per call.")
    strategy: Literal["failures", "uniform"] = Field(
        "failures",
        description="failures: model new pairs on prompts that the local LLM gets wrong; uniform: on all alike.",
    )
    min_score: Score | None = Field(
        None, description="Judge each new pair, and keep those that score this or more; not set: no judging."
    )
    review: bool = Field(False, description="Wait for a person to review new pairs before training on them.")
    duplicate_prompt: float = Field(
        0.9, ge=0.5, le=1, description="Refuse a new pair if its prompt is this similar to a known one (Jaccard)."
    )
    duplicate_response: float = Field(
        0.9, ge=0.5, le=1, description="Refuse a new pair if its response is this similar to a known one (Jaccard)."
    )
    duplicate_response_words: int = Field(
        50,
        ge=1,
        le=MOST_ROWS,
        description="Responses below this length may repeat, as labels, JSON and stock phrases do.",
    )
    contamination: float = Field(
        0.65,
        ge=0.3,
        le=1,
        description="Refuse a new pair that contains this share of a dev or test prompt, reworded or not.",
    )


class Loop(Table):
    """When the loop continues, and when it stops."""

    max_rounds: int = Field(4, ge=1, le=100, description="Maximum rounds of fine-tuning.")
    patience: int = Field(2, ge=1, le=100, description="Rounds without a gain after which the loop stops.")
    min_gain: float = Field(
        1.0, ge=0, le=100, description="Increase of the mean score, in points, that counts as a gain."
    )
    approval: Literal["ask", "auto"] = Field(
        "ask", description="ask: a person approves each synthesis; auto: it starts at once."
    )
    max_hours: float | None = Field(
        None, gt=0, le=LONGEST_S / 3600, description="Start no further round after this many hours of work."
    )
    seed: int = Field(42, ge=0, lt=2**32, description="Random seed of the run.")


class RunFolder(Table):
    """The run's folder."""

    share: Readers = Field(
        "none",
        description="What the group of its folder may read: nothing, state and scores (group), or prompts, responses "
        "and logs as well (all).",
    )


class Takeover(Table):
    """The door through which the local model takes over: `llamaduo-tui takeover RUN`."""

    host: str = Field("127.0.0.1", description="Address to listen on; anything but this machine's own needs key_env.")
    port: int = Field(8790, ge=0, le=65535, description="Port of the door; 0: any free one.")
    key_env: Variable = Field(
        None, description="Name of the environment variable with the key that clients of the door must show."
    )
    local: Address = Field(
        None, description="Address of the local model's server, if another one than `serve` starts (http://.../v1)."
    )
    local_key_env: Variable = Field(
        None, description="Name of the environment variable with the key of the server at `local`."
    )
    timeout_s: float = Field(
        60.0, gt=0, le=3600, description="Seconds until an answer begins, before the other side is asked."
    )
    compare: float = Field(
        0.2, ge=0, le=1, description="Share of requests whose two answers are compared, in shadow and canary."
    )
    margin: float = Field(
        2.0, ge=0.1, le=50, description="Points that the local model's answers may be worse, before a roll-back."
    )
    budget_usd: float | None = Field(
        10.0, ge=0, le=MOST_USD, description="Maximum cost of the judge in the comparisons, in USD; not set: no cap."
    )
    contents: bool = Field(
        False, description="Keep requests and answers in the journal, for collect; they stay on this machine."
    )


class Worth(Table):
    """What the move is worth: your volume and your machine, for `llamaduo-tui worth RUN` and the report."""

    requests_per_day: float | None = Field(
        None,
        gt=0,
        le=MOST_ROWS,
        description="Requests a day; not set: by the dates of the coverage data, if it has any.",
    )
    input_tokens: float | None = Field(
        None, gt=0, le=MOST_TOKENS, description="Mean input tokens of a request; not set: as in the data."
    )
    output_tokens: float | None = Field(
        None, gt=0, le=MOST_TOKENS, description="Mean output tokens of a request; not set: as in the data."
    )
    box_usd_per_hour: float | None = Field(
        None, ge=0, le=MOST_USD, description="What the machine of the local model costs an hour, in USD."
    )
    box_hours_per_day: float = Field(
        24.0, ge=0, le=24, description="Hours a day that the machine is paid; 0: only those in which it works."
    )
    tokens_per_second: float | None = Field(
        None,
        gt=0,
        le=MOST_A_MINUTE,
        description="Output tokens a second of the local model, over all requests at once; not set: as measured.",
    )
    share: float | None = Field(
        None, gt=0, le=1, description="Share of the requests that moves; not set: what the run shows may move."
    )


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
    run: RunFolder = RunFolder()
    takeover: Takeover = Takeover()
    worth: Worth = Worth()
    notify: Notify = Notify()

    @model_validator(mode="after")
    def _has_whole_endpoints(self) -> Migration:
        models = (self.service.model, *self.judge_models)
        if unused := [model for model in self.service.models if model not in models]:
            raise ValueError(f"service.models: {unused[0]!r} is not a model of this run")
        for model in models:
            endpoint = self.service.endpoint(model)
            if (endpoint.input_price is None) != (endpoint.output_price is None):
                raise ValueError(f"service: set both input_price and output_price of {model}, or neither")
        return self

    @model_validator(mode="after")
    def _serves_what_was_trained(self) -> Migration:
        if self.local.quantization != "none" and self.inference.backend != "transformers":
            raise ValueError(
                f'inference.backend = "{self.inference.backend}" needs local.quantization = "none": it would serve '
                "other weights than those that the adapter is trained on"
            )
        if self.local.adapter.dora and self.inference.backend == "vllm":
            raise ValueError('inference.backend = "vllm" needs local.adapter.dora = false: vLLM cannot apply DoRA')
        return self

    @property
    def key_names(self) -> set[str]:
        """The environment variables that are named for secrets: keys of the service, of the local LLM's endpoint and
        of the take-over, and parts of the addresses of messages."""
        own = (self.inference.api_key_env, self.takeover.key_env, self.takeover.local_key_env)
        return self.service.key_names | self.notify.variables | {name for name in own if name}

    @property
    def judge_models(self) -> list[str]:
        return self.judge.models or [self.service.model]

    @property
    def own_judges(self) -> list[str]:
        """The judge models that are the service model, whatever provider serves it: they judge their own style."""
        return [model for model in dict.fromkeys(self.judge_models) if bare(model) == bare(self.service.model)]

    @property
    def uses_sandbox(self) -> bool:
        return SANDBOX_MODEL in (self.service.model, *self.judge_models)

    def digest(self, *tables: str) -> str:
        """16 hex digits that change with the settings in these tables, or in all of them."""
        values = self.model_dump(mode="json", include=set(tables) or None)
        for table, key in ((values.get("judge"), "prompts"), (values.get("task", {}).get("contract"), "json_schema")):
            if table is not None and isinstance(table[key], str):
                table[key] = Path(table[key]).name  # a run has its own copy, and may move
        canonical = json.dumps(values, sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def bare(model: str) -> str:
    """A model's name without its provider, in lower case."""
    return model.rsplit("/", 1)[-1].lower()


def _keys(table: Any) -> Iterator[str]:
    """The keys of a table and of those in it."""
    for value in table.values() if isinstance(table, dict) else table if isinstance(table, list) else ():
        yield from _keys(value)
    if isinstance(table, dict):
        yield from table
