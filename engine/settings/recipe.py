"""LlamaDuo's YAML files as settings: recipes of the alignment handbook, inference, evaluation, synthesis.

Each key is taken over, or is one that a run decides itself, or has no counterpart and is listed.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from engine.protocol.errors import InputError
from engine.settings.load import explain
from engine.settings.recipe_data import DATA_KEYS, coverage_source
from engine.settings.schema import Migration
from engine.settings.table import is_table, table_of
from engine.settings.yaml_file import read_yaml

Values = dict[str, Any]

_KEYS = {
    "model_revision": "local.revision",
    "lora_r": "local.adapter.r",
    "lora_alpha": "local.adapter.alpha",
    "lora_dropout": "local.adapter.dropout",
    "lora_target_modules": "local.adapter.target_modules",
    "use_rslora": "local.adapter.rslora",
    "use_dora": "local.adapter.dora",
    "learning_rate": "finetune.learning_rate",
    "num_train_epochs": "finetune.epochs",
    "warmup_ratio": "finetune.warmup",
    "max_seq_length": "finetune.max_length",
    "max_length": "finetune.max_length",
    "lr_scheduler_type": "finetune.scheduler",
    "weight_decay": "finetune.weight_decay",
    "early_stopping_patience": "finetune.patience",
    "seed": "loop.seed",
    "repeat": "inference.samples",
    "max_new_tokens": "inference.max_new_tokens",
    "inference_bs": "inference.batch_size",
    "eval_repeat": "judge.repeats",
    "eval_workers": "service.concurrency",
    "gen_workers": "service.concurrency",
    "avg_similarity_threshold": "target.similarity",
    "avg_precision_threshold": "target.precision",
    "topic": "task.topic",
    "max_tokens": "service.params.max_tokens",
    "max_output_tokens": "service.params.max_tokens",
}
"""Keys whose value is that of a setting."""

_DECIDED = {
    *("bf16", "fp16", "torch_dtype", "attn_implementation", "use_flash_attention_2", "gradient_checkpointing"),
    *("gradient_checkpointing_kwargs", "do_eval", "evaluation_strategy", "eval_strategy", "save_strategy"),
    *("save_steps", "save_total_limit", "output_dir", "overwrite_output_dir", "logging_steps", "logging_strategy"),
    *("logging_first_step", "log_level", "preprocessing_num_workers", "per_device_eval_batch_size", "padding_side"),
    *("batch_infer_data_preprocess_bs", "eval_data_preprocess_bs", "dataset_kwargs", "remove_unused_columns"),
}
"""Keys for what a run decides itself."""

_PROVIDERS = {
    "openai": "",
    "gemini": "gemini/",
    "gemini-vertex": "vertex_ai/",
    "anthropic": "anthropic/",
    "anthropic-vertex": "vertex_ai/",
    "anthropic-bedrock": "bedrock/",
}
"""litellm's prefix by the name of the provider in LlamaDuo's files."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings that were found, as a file of settings has them, and what to know about the rest, in lines."""

    values: Values
    notes: list[str]


def read(files: Iterable[Path]) -> Recipe:
    """Read LlamaDuo's files; a later one wins, with a note. Raises InputError where one cannot be used."""
    reader = _Reader()
    data: Values = {}
    for file in files:
        found = read_yaml(file)
        reader.take(found, file)
        data |= {key: found[key] for key in DATA_KEYS if key in found}
    source, notes = coverage_source(data)
    if source:
        reader.set("coverage.source", source, "the datasets")
    reader.notes += notes
    if not reader.values:
        raise InputError("no key of these files has a counterpart", "name a recipe of LlamaDuo")
    return Recipe(reader.values, reader.summary())


def merged(base: Values, over: Values) -> Values:
    """Settings with others over them, table by table."""
    result = copy.deepcopy(base)
    for key, value in over.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


@dataclass
class _Reader:
    values: Values = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    _taken: list[str] = field(default_factory=list)
    _decided: dict[str, None] = field(default_factory=dict)
    _left: dict[str, None] = field(default_factory=dict)

    def take(self, recipe: Values, file: Path) -> None:
        """Take over each key of a file that has a counterpart."""
        special: dict[str, Callable[[Any, Values, Path], None]] = {
            "model_name_or_path": self._model,
            "load_in_4bit": self._four_bits,
            "per_device_train_batch_size": self._batch,
            "service_model_name": self._service,
            "rate_limit_per_minute": self._rate,
            "prompt_tmpl_path": self._prompts,
            "temperature": self._temperature,
            "do_sample": self._sampling,
            "report_to": self._trackers,
        }
        helping = {"gradient_accumulation_steps", "service_llm_provider", "rate_limit_on", "tokenizer_name_or_path"}
        for key, value in recipe.items():
            if key in special:
                special[key](value, recipe, file)
            elif key in _KEYS:
                self.set(_KEYS[key], value, key)
            elif key in _DECIDED or (key, value) in _SAME:
                self._decided[key] = None
            elif key not in helping | DATA_KEYS:
                self._left[key] = None

    def set(self, path: str, value: Any, origin: str) -> None:
        """Set a setting, unless there is no such setting or its value is invalid: then say so."""
        names = path.split(".")
        if not _exists(names):
            self._left[origin] = None
            return
        value = value if isinstance(value, str) and _takes_text(names) else _number(value)
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            self.notes.append(f"not taken over: {origin}: a number of more than 64 bits")
            return
        if problem := _problem(names, value):
            self.notes.append(f"not taken over: {origin} = {value!r}: {problem}")
            return
        table = self.values
        for name in names[:-1]:
            table = table.setdefault(name, {})
        if names[-1] in table and table[names[-1]] != value:
            self.notes.append(f"{path} = {value!r} ({origin}) replaces {table[names[-1]]!r}")
        table[names[-1]] = value
        self._taken.append(f"{origin} -> {path} = {value!r}")

    def summary(self) -> list[str]:
        """What was taken over, and what was not, in lines."""
        lines = [f"  {line}" for line in self._taken]
        groups = {
            "Decided by the run itself": self._decided,
            "Left out, without a counterpart": self._left,
        }
        told = [f"{title}: {', '.join(keys)}" for title, keys in groups.items() if keys]
        return ["Taken over:", *lines, *told, *(f"Note: {note}" for note in self.notes)]

    def _model(self, value: Any, recipe: Values, _: Path) -> None:
        self.set("local.model", value, "model_name_or_path")
        other = recipe.get("tokenizer_name_or_path")
        if other not in (None, value):
            self.notes.append(f"tokenizer_name_or_path = {other!r}: the model's own tokenizer and template are used")

    def _four_bits(self, value: Any, *_: Any) -> None:
        wanted = str(value).lower()
        if wanted not in ("true", "false"):
            self.notes.append(f"not taken over: load_in_4bit = {value!r}: must be true or false")
            return
        self.set("local.quantization", "nf4" if wanted == "true" else "none", "load_in_4bit")

    def _batch(self, value: Any, recipe: Values, _: Path) -> None:
        rows, steps = _number(value), _number(recipe.get("gradient_accumulation_steps", 1))
        if not (isinstance(rows, int) and isinstance(steps, int)):
            self.notes.append(f"not taken over: per_device_train_batch_size = {value!r}: must be a whole number")
            return
        origin = "per_device_train_batch_size x gradient_accumulation_steps"
        self.set("finetune.batch_size", rows * steps, origin)
        self.notes.append(f"{origin} counts one GPU: on several, multiply finetune.batch_size by their number")

    def _service(self, value: Any, recipe: Values, _: Path) -> None:
        provider = recipe.get("service_llm_provider")
        prefix = _PROVIDERS.get(str(provider)) if provider else "gemini/" if str(value).startswith("gemini") else ""
        if prefix is None:
            self.notes.append(f"service_llm_provider = {provider!r} is unknown: check service.model")
        self.set("service.model", f"{prefix or ''}{value}", "service_model_name")

    def _rate(self, value: Any, recipe: Values, _: Path) -> None:
        if recipe.get("rate_limit_on") is False:
            self._left["rate_limit_per_minute"] = None
        else:
            self.set("service.rpm", value, "rate_limit_per_minute")

    def _prompts(self, value: Any, _: Values, file: Path) -> None:
        """LlamaDuo's paths count from its repository, which some folder above the recipe is."""
        places = [folder / str(value) for folder in file.resolve().parents]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            self.notes.append(f"prompt_tmpl_path = {value!r}: no such file here; set judge.prompts")
        else:
            self.set("judge.prompts", str(found), "prompt_tmpl_path")

    def _temperature(self, value: Any, recipe: Values, _: Path) -> None:
        """A file that samples says so for the local model; else it is about the service."""
        local = bool({"max_new_tokens", "do_sample", "padding_side", "stop_strings"} & recipe.keys())
        if recipe.get("do_sample") is not False:
            self.set("inference.temperature" if local else "service.params.temperature", value, "temperature")

    def _trackers(self, value: Any, *_: Any) -> None:
        names = value if isinstance(value, list) else [] if value in (None, "none") else [value]
        self.set("finetune.report_to", names, "report_to")

    def _sampling(self, value: Any, *_: Any) -> None:
        if value is False:
            self.set("inference.temperature", 0.0, "do_sample")


_SAME = (("use_peft", True), ("max_steps", -1), ("bnb_4bit_quant_type", "nf4"), ("load_in_8bit", False))
"""Keys with the value by which a run goes anyway."""


def _number(value: Any) -> Any:
    """A number that YAML reads as a text, such as 2e-4, and a whole one that is written as a fraction."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return value
    whole = isinstance(value, float) and math.isfinite(value) and value == int(value)
    return int(value) if whole else value


def _exists(names: list[str]) -> bool:
    """Whether the schema has a setting; any name goes into `service.params`."""
    table: Any = Migration
    for name in names[:-1]:
        if name == "params":
            return True
        table = table_of(table.model_fields[name]) if is_table(table.model_fields.get(name)) else None
        if table is None:
            return names[:2] == ["service", "params"]
    return names[-1] in table.model_fields


def _takes_text(names: list[str]) -> bool:
    """Whether a setting may be any text, such as a revision of digits."""
    table: Any = Migration
    for name in names[:-1]:
        table = table_of(table.model_fields[name]) if is_table(table.model_fields.get(name)) else None
        if table is None:
            return False
    kind = table.model_fields[names[-1]].annotation
    return kind is str or str in get_args(kind)


def _problem(names: list[str], value: Any) -> str:
    """Why a setting cannot have a value, "" where it can."""
    tables: Values = {"coverage": {"source": "rows.jsonl"}, "service": {"model": "model"}}
    place = tables
    for name in names[:-1]:
        place = place.setdefault(name, {})
    place[names[-1]] = value
    try:
        Migration.model_validate(tables)
    except ValidationError as error:
        return explain(error.errors()[0])
    return ""
