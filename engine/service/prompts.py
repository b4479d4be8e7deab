"""The judge's and the writer's prompts: ours, or the user's in LlamaDuo's form."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import tomli

from engine.protocol.errors import InputError
from engine.protocol.rows import Response, prompt_text

REQUIRED = {
    "eval": {"instruction", "human_response", "lm_response"},
    "synth_data_gen": {"instruction", "response"},
    "pair_eval": {"instruction", "response"},
}
OPTIONAL = {
    "eval": {"mark"},
    "synth_data_gen": {"topic", "count", "variation", "context"},
    "pair_eval": {"mark"},
}

CONTEXT = Template("""

The instruction stands under the following, and so will each new one, which must not repeat it. Where tools are defined,
the new instructions too are answered in words, without a call.

<context>
$context
</context>""")


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompt templates; `judge`, `synthesis` and `judge_pair` fill them in."""

    eval: Template
    synth_data_gen: Template
    pair_eval: Template

    def judge(self, *, instruction: str, reference: str, response: str) -> str:
        """The prompt for the scores of one response."""
        mark = _mark(instruction, reference, response)
        return self.eval.substitute(instruction=instruction, human_response=reference, lm_response=response, mark=mark)

    def judge_response(self, response: Response) -> str:
        """The prompt for the scores of a row of responses.jsonl."""
        return self.judge(
            instruction=prompt_text(response.prompt, response.tools),
            reference=response.expected,
            response=response.response,
        )

    @property
    def order(self) -> str:
        """The order in which the judge reads the texts: judges have position bias."""
        names = {"instruction": "instruction", "human_response": "reference", "lm_response": "response"}
        return ", ".join(names[name] for name in self.eval.get_identifiers() if name in names)

    def synthesis(
        self, *, instruction: str, response: str, topic: str, count: int, variation: str, context: str = ""
    ) -> str:
        """The prompt for `count` new pairs like one seed pair.

        `context` is the seed's system prompt and tools, which the new pairs share. A template without a placeholder for
        it gets it in front of the instruction.
        """
        if context and "context" not in self.synth_data_gen.get_identifiers():
            instruction = f"{context}\n\n[user]\n{instruction}"
        return self.synth_data_gen.substitute(
            instruction=instruction,
            response=response,
            topic=topic,
            count=count,
            variation=variation,
            context=CONTEXT.substitute(context=context) if context else "",
        )

    def judge_pair(self, *, instruction: str, response: str) -> str:
        """The prompt for the precision of a new pair's response."""
        mark = _mark(instruction, response)
        return self.pair_eval.substitute(instruction=instruction, response=response, mark=mark)


def _mark(*texts: str) -> str:
    """A suffix for a prompt's markers that none of the texts can contain, as it is a hash of them all."""
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:8]


def load(path: str | None) -> Prompts:
    """The user's prompts where there is a file, else ours; a file may have only some of them.

    Raises InputError that names the placeholder that is missing, unknown or malformed.
    """
    ours = tomli.loads(resources.files("engine.service").joinpath("prompts.toml").read_text(encoding="utf-8"))
    tables = ours if path is None else {**ours, **_read(Path(path))}
    where = path or "engine/service/prompts.toml"
    return Prompts(**{name: _template(tables.get(name), name, where) for name in REQUIRED})


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomli.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file", "set [judge] prompts to a TOML file of prompts") from None
    except (OSError, UnicodeDecodeError, tomli.TOMLDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None


def _template(table: Any, name: str, where: str) -> Template:
    prompt = table.get("prompt") if isinstance(table, dict) else None
    if not isinstance(prompt, str):
        raise InputError(f"{where}: [{name}] needs a string named prompt")
    template = Template(prompt)
    if not template.is_valid():
        raise InputError(f"{where}: [{name}] has a stray $", "write $$ for a literal dollar sign")
    placeholders = set(template.get_identifiers())
    missing = REQUIRED[name] - placeholders
    unknown = placeholders - REQUIRED[name] - OPTIONAL[name]
    if missing or unknown:
        problem = ", ".join(
            [f"${p} is missing" for p in sorted(missing)] + [f"${p} is unknown" for p in sorted(unknown)]
        )
        raise InputError(f"{where}: [{name}] {problem}", "write $$ for a literal dollar sign")
    return template
