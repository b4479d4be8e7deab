"""The schema of migration.toml: each setting's type, bounds, default, and the text that explains it on every screen.

Each group of tables has a module beside this one; a whole file is a `Migration`, and all tables are known here. Nothing
here reads files: `engine.settings.load` does, and `engine.settings.template` writes a file from the schema.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import Field, model_validator

from engine.protocol.sharing import Readers
from engine.settings.coverage import COMPRESSED, COVERAGE_FILES, Columns, ContainerName, Coverage, Split
from engine.settings.local import MODEL_FILE, Compute, Finetune, Inference, Local
from engine.settings.loop import Loop, Synthesis, Target
from engine.settings.notify import Notify
from engine.settings.service import RESERVED_PARAMS, SANDBOX_MODEL, Judge, ModelEndpoint, Service
from engine.settings.table import Table
from engine.settings.takeover import Takeover
from engine.settings.task import Contract, Task
from engine.settings.worth import Worth

__all__ = [
    "COMPRESSED",
    "COVERAGE_FILES",
    "MODEL_FILE",
    "RESERVED_PARAMS",
    "SANDBOX_MODEL",
    "Columns",
    "Compute",
    "ContainerName",
    "Contract",
    "Coverage",
    "Finetune",
    "Inference",
    "Judge",
    "Local",
    "Loop",
    "Migration",
    "ModelEndpoint",
    "Notify",
    "RunFolder",
    "Service",
    "Split",
    "Synthesis",
    "Takeover",
    "Target",
    "Task",
    "Worth",
    "bare",
]


class RunFolder(Table):
    """The run's folder."""

    share: Readers = Field(
        "none",
        description="What the group of its folder may read: nothing, state and scores (group), or prompts, responses "
        "and logs as well (all).",
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
