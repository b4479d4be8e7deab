"""The settings of the run after a take-over: its rows beside the old ones, and the last adapter as the start."""

from __future__ import annotations

from pathlib import Path

from engine.dataset.convert import row_of
from engine.dataset.load import load
from engine.protocol import jsonl
from engine.protocol.errors import LlamaDuoError
from engine.protocol.run_dir import Run
from engine.settings import template
from engine.settings.schema import Columns, Coverage, Migration
from engine.stages.earlier import best_round


def next_settings(run: Run, settings: Migration, rows: Path, following: Path) -> str:
    """The text of a migration.toml like a run's own, which also reads `rows` and starts from the run's best adapter.

    Where the run's data has columns that are named by hand, these rows lack them: the data is then written as plain
    rows to a file beside `following`. Raises InputError where it can no longer be read.
    """
    coverage, finetune = settings.coverage, settings.finetune
    if coverage.columns != Columns():
        plain = following.with_name("coverage.jsonl")
        pairs = load(coverage).pairs
        jsonl.replace(plain, "".join(jsonl.dumps(row_of(pair)) + "\n" for pair in pairs), 0o600)
        coverage = Coverage(source=str(plain), turns="last", redact=coverage.redact, split=coverage.split)
    sources = [one for one in coverage.sources if one != str(rows)]
    coverage = coverage.model_copy(update={"source": [*sources, str(rows)]})
    finetune = finetune.model_copy(update={"start_from": str(run.folder) if _tuned(run) else None})
    return template.render(settings.model_copy(update={"coverage": coverage, "finetune": finetune}))


def _tuned(run: Run) -> bool:
    """Whether the run has ended with an adapter."""
    try:
        return bool(best_round(run))
    except LlamaDuoError:
        return False
