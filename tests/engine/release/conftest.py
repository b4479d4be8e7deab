"""A finished run with the tiny model: its adapter, its sealed prompts, and its answers to them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from engine.local.resolve import ResolvedModel
from engine.local.served_template import save_tokenizer
from engine.local.tokenizer import load_tokenizer
from engine.protocol import checksums, jsonl, records
from engine.protocol.decision import FinalDecision, Interval, Scores, Shares
from engine.protocol.rows import Pair, Response
from engine.protocol.run_dir import Run
from engine.release.gate import answers_at_zero
from engine.release.source import Source
from engine.settings import template
from engine.settings.schema import Migration
from tests.tiny import make_model

PROMPTS = 12


def settings(base: Path, **tables: dict[str, object]) -> Migration:
    rows = {
        "task": {"name": "tiny task", "topic": "tickets"},
        "coverage": {"source": "rows.jsonl"},
        "service": {"model": "sandbox"},
        "local": {"model": str(base), "adapter": {"r": 4, "alpha": 8}},
        "inference": {"samples": 1, "temperature": 0.0, "max_new_tokens": 12},
    }
    return Migration.model_validate(rows | tables)


def decision() -> FinalDecision:
    interval, shares = Interval(mean=97.0, low=92.0, high=99.0), Shares(precision=1.0, similarity=1.0)
    sealed = Scores(
        precision=interval,
        similarity=interval,
        coverage_50=shares,
        coverage_70=shares,
        prompts=PROMPTS,
        verdicts=12,
        errors=0,
    )
    return FinalDecision(reached=True, reason="Good.", best_round=1, outcome="gate", risk=0.05, sealed=sealed)


def pairs(start: int, count: int) -> list[Pair]:
    return [
        Pair(
            id=f"p{number}",
            messages=[
                {"role": "user", "content": f"Ticket {number}: it is broken"},
                {"role": "assistant", "content": "ok"},
            ],
        )
        for number in range(start, start + count)
    ]


def make_run(folder: Path) -> Source:
    """The run, with the answers of its adapter at temperature 0."""
    base = folder / "base"
    make_model(base)
    run = Run(folder / "runs" / "tiny")
    adapter = run.round(1) / "finetune" / "adapter"
    torch.manual_seed(1)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16), config).save_pretrained(adapter)
    chosen = settings(base)
    resolved = ResolvedModel("tiny", base, None, "0" * 16, date(2026, 1, 1))
    save_tokenizer(load_tokenizer(resolved, chosen.local), adapter)
    jsonl.replace(run.settings_file, template.render(chosen))
    checksums.write_json(run.final_decision_file, records.to_row(decision()))
    sealed = pairs(100, PROMPTS)
    for name, rows in (("train", pairs(0, 6)), ("dev", pairs(50, 3)), ("test", sealed)):
        jsonl.write(run.coverage / f"{name}.jsonl", [row.to_row() for row in rows])
    empty = [
        Response(
            id=row.id, sample=0, prompt=row.prompt, target=row.target, response="", finish_reason="stop",
            prompt_tokens=1, completion_tokens=1, model="tiny", adapter="a",
        )
        for row in sealed
    ]  # fmt: skip
    answers = run.final / "infer" / "responses.jsonl"
    jsonl.write(answers, [row.to_row() for row in empty])
    source = Source(
        run=run,
        settings=chosen,
        decision=decision(),
        base=resolved,
        adapter=adapter,
        work=run.releasing,
        tell=lambda _: None,
        prompts=sealed,
    )
    answered = answers_at_zero(source)
    answers.unlink()
    jsonl.write(answers, [row.to_row() for row in answered])
    return source


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make_run(tmp_path_factory.mktemp("release"))
