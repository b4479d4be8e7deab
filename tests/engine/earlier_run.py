"""A run that has ended with a tuned model, as far as a later one that starts from it reads it."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from engine.dataset.prepare import open_sealed, prepare
from engine.evaluation.scores import plain, score
from engine.evaluation.sealed import settle
from engine.protocol import checksums, jsonl, records
from engine.protocol.decision import Decision
from engine.protocol.manifest import Manifest, finish
from engine.protocol.rows import Message, Pair, Response, Verdict, prompt_id
from engine.protocol.run_dir import Run, create
from engine.settings.load import settings_of
from engine.settings.schema import Migration
from engine.settings.template import render

DIGEST = "0123456789abcdef"
SYNTHETIC = "A synthetic ticket about zebras, hats and the long bridge over the quiet river"
PARTS = ("dent", "scratch", "colour", "size", "label", "weight", "smell", "sound", "taste", "shape", "age", "price")
TOPICS = ("invoice", "parcel", "router", "refund", "camera", "ticket", "ladder", "garden", "window", "kettle")


def question(number: int) -> str:
    """A prompt that shares few words with the others."""
    word = TOPICS[number % len(TOPICS)]
    about = ", ".join(f"{part}{number}" for part in PARTS)
    return f"My {word} number {number} arrived yesterday with {about}; why {word}{number}?"


def rows(count: int) -> list[dict[str, object]]:
    return [
        {
            "messages": [
                {"role": "user", "content": question(number)},
                {"role": "assistant", "content": f"answer {number}"},
            ]
        }
        for number in range(count)
    ]


def settings(source: object, **tables: dict[str, object]) -> Migration:
    given = {"coverage": {"source": source}, "service": {"model": "sandbox"}}
    return Migration.model_validate(given | tables)


def manifest_of(stage: str, **counts: object) -> Manifest:
    return Manifest(stage=stage, inputs={}, settings="", seed=1, counts=counts, seconds=10.0)


def verdict(id_: str, points: float) -> Verdict:
    return Verdict(
        id=id_,
        sample=0,
        repeat=0,
        judge="sandbox",
        similarity=points,
        precision=points,
        similarity_reason="",
        precision_reason="",
        error="",
    )


def answer(run: Run, pairs: list[Pair], points: dict[str, float]) -> list[Verdict]:
    """Write the sealed test's answers and their verdicts."""
    verdicts = [verdict(pair.id, points[pair.id]) for pair in pairs]
    responses = [
        Response(
            id=pair.id,
            sample=0,
            prompt=pair.prompt,
            target=pair.target,
            response="x",
            finish_reason="stop",
            prompt_tokens=30,
            completion_tokens=5,
            model="m",
            adapter="a",
        )
        for pair in pairs
    ]
    jsonl.write(run.final / "infer" / "responses.jsonl", (row.to_row() for row in responses))
    jsonl.write(run.final / "judge" / "verdicts.jsonl", (row.to_row() for row in verdicts))
    return verdicts


def ended_run(folder: Path, name: str = "first", count: int = 60, **tables: dict[str, object]) -> Run:
    """A run of `count` rows that was tuned in one round, with one synthetic pair after it, and 50 points in the end."""
    source = folder / f"{name}.jsonl"
    jsonl.write(source, rows(count))
    made = settings(str(source), **tables)
    run = create(folder / "runs", name, render(made))
    prepare(settings_of(run), run.coverage)
    finish(run.coverage, manifest_of("coverage"))
    adapter = run.round(1) / "finetune" / "adapter"
    adapter.mkdir(parents=True)
    save_file({"lora_A": torch.zeros(2, 2)}, adapter / "adapter_model.safetensors")
    finish(adapter.parent, manifest_of("finetune", pairs=30))
    prompt: list[Message] = [{"role": "user", "content": SYNTHETIC}]
    written = {
        "id": prompt_id(prompt),
        "messages": [*prompt, {"role": "assistant", "content": "answer"}],
        "category": "",
        "generator": "sandbox",
        "seed_id": "",
        "round": 1,
    }
    jsonl.write(run.round(1) / "synthesize" / "pairs.jsonl", [written])
    finish(run.round(1) / "synthesize", manifest_of("synthesize", accepted=1))
    checksums.write_json(run.model_file, {"revision": None, "digest": DIGEST, "day": "2026-11-27"})
    sealed = open_sealed(run.coverage)
    verdicts = answer(run, sealed, {pair.id: 50.0 for pair in sealed})
    scored = score(verdicts, 0.05)
    decision = Decision(round=1, outcome="gate", reason="", best_round=1, **plain(scored))
    final = settle(decision, scored, made.target)
    checksums.write_json(run.final_decision_file, records.to_row(final))
    return run
