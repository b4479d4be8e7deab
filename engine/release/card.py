"""The model card of an artefact, README.md: what it is, how it scored, its limits, and the commands that serve it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from engine.dataset.prepare import read_dev, read_test, read_train
from engine.protocol.decision import percent
from engine.protocol.manifest import manifest
from engine.protocol.release import Gate
from engine.protocol.run_dir import Run
from engine.protocol.stages import SYNTHESIZE
from engine.release.artefact import Artefact
from engine.release.gate_markdown import served
from engine.release.source import Source
from engine.stages.markdown import inline, interval

CARD_FILE = "README.md"

LICENCE = re.compile(r"^license(?:_name)?:\s*[\"']?([\w. -]+)", re.MULTILINE)

KNOWN_LICENCES = {"SmolLM2-135M-Instruct": "apache-2.0", "HuggingFaceTB/SmolLM2-135M-Instruct": "apache-2.0"}
"""Of models whose folder has no card: the default one comes as a GGUF file."""

UNKNOWN_LICENCE = "unknown"


def card(source: Source, artefact: Artefact, gate: Gate, commands: Mapping[str, str]) -> str:
    """The card as Markdown, with the front matter that the Hub reads."""
    return "\n\n".join(
        [
            _front(source, artefact),
            f"# {artefact.model}",
            _summary(source, artefact, gate),
            "## Serve it\n\nIn this folder:",
            *(f"**{name}**\n\n    {command}" for name, command in commands.items()),
            f"A server needs room for {artefact.context:,} tokens a request. Set the temperature to "
            f"{artefact.temperature:g} where it has a default of its own: that is how the model was judged.",
            "## Scores",
            _scores(source),
            "## As served",
            served(gate),
            "## Data",
            _data(source.run),
            "## Limits",
            *_limits(source, artefact),
        ]
    )


def _front(source: Source, artefact: Artefact) -> str:
    licence = licence_of(source)
    hub_id = (
        f"\nbase_model: {_yaml(artefact.base)}" if "/" in artefact.base and not Path(artefact.base).exists() else ""
    )
    relation = {"lora": "adapter", "safetensors": "finetune", "gguf": "quantized"}[artefact.format]
    library = "gguf" if artefact.format == "gguf" else "peft" if artefact.format == "lora" else "transformers"
    return (
        f"---\nlicense: {licence if licence != UNKNOWN_LICENCE else 'other'}{hub_id}"
        f"{f'{chr(10)}base_model_relation: {relation}' if hub_id else ''}\nlibrary_name: {library}\n"
        "pipeline_tag: text-generation\ntags: [llamaduo-tui]\n---"
    )


def _yaml(name: str) -> str:
    """A name as YAML has it, quoted where it is no plain one of the Hub."""
    return name if re.fullmatch(r"\w[\w./-]*", name) else json.dumps(name)


def licence_of(source: Source) -> str:
    """The base model's licence, by its card; "unknown" where that doesn't tell."""
    readme = source.base.path / CARD_FILE
    found = LICENCE.search(readme.read_text(encoding="utf-8", errors="replace")[:4096]) if readme.is_file() else None
    return found[1].strip() if found else KNOWN_LICENCES.get(source.base.name, UNKNOWN_LICENCE)


def _summary(source: Source, artefact: Artefact, gate: Gate) -> str:
    base = f"{inline(artefact.base)}{f' at {artefact.base_revision}' if artefact.base_revision else ''}"
    local = source.settings.local
    task = inline(source.settings.task.topic or source.settings.task.name)
    licence = licence_of(source)
    known = f"Its licence is {licence}" if licence != UNKNOWN_LICENCE else "Its licence is not in its files: look it up"
    made = f"LoRA of rank {local.adapter.r}" + (", on a 4-bit base (NF4)" if local.quantization != "none" else "")
    verdict = "released" if gate.passed else "**refused**: do not serve it"
    return (
        f"A fine-tune of {base} for one task: {task}. {known}, which also holds for this model. "
        f"Trained in round {source.decision.best_round} of a migration from {inline(source.settings.service.model)} "
        f"({made}). As served it was {verdict}: {inline(gate.reason)}"
    )


def _scores(source: Source) -> str:
    final = source.decision
    sealed, risk = final.sealed, percent(final.risk)
    reached = "The target was reached." if final.reached else "**The target was not reached.**"
    part = f" {inline(final.part.reason)}" if final.part and not final.reached else ""
    service = (
        f"\n| the service itself | {interval(final.service.precision)} | {interval(final.service.similarity)} |"
        if final.service
        else ""
    )
    return (
        f"{reached}{part} On {sealed.evidence} that were sealed until the end, out of 100, with bounds that the true "
        f"mean passes with a chance of {risk} each:\n\n| | precision | similarity |\n|---|---|---|\n"
        f"| this model | {interval(sealed.precision)} | {interval(sealed.similarity)} |{service}"
    )


def _data(run: Run) -> str:
    coverage = run.coverage
    counts = [len(read(coverage)) for read in (read_train, read_dev, read_test)]
    written = [manifest(folder) for folder in sorted(run.folder.glob(f"round-*/{SYNTHESIZE.name}"))]
    pairs = sum(done.count("accepted") for done in written if done is not None)
    return (
        f"{counts[0]:,} recorded pairs for training, and {pairs:,} new ones by the service; {counts[1]:,} steered the "
        f"rounds, {counts[2]:,} were sealed."
    )


def _limits(source: Source, artefact: Artefact) -> Iterator[str]:
    yield (
        "- It is for prompts like those of the task above. Elsewhere it was not tried, and may be worse than its base."
        f"\n- The scores are those of {', '.join(map(inline, source.settings.judge_models))}, which compared answers "
        "with recorded responses."
    )
    if source.settings.uses_sandbox:
        yield "- **The service was the sandbox**, an offline stand-in: the scores only show that the loop works."
    if artefact.format == "lora":
        yield (
            f"- It needs its base, {inline(artefact.base)} ({artefact.base_digest}), in 16 bits. Ollama takes such "
            "adapters of Llama, Mistral and Gemma models only."
        )
    if source.settings.local.quantization != "none" and artefact.format != "lora":
        yield "- It was trained on a 4-bit base: the weights have the values of the 4-bit ones, written with 16 bits."
