"""The settings of a next run: they load, read both files, and start from the last adapter."""

from __future__ import annotations

from pathlib import Path

from engine.dataset.load import load
from engine.protocol import jsonl
from engine.settings.load import load_settings, settings_of
from engine.takeover.next_settings import next_settings
from tests.engine.earlier_run import ended_run, rows


def test_the_next_run_starts_from_this_ones_adapter(tmp_path: Path) -> None:
    run = ended_run(tmp_path)
    more, file = tmp_path / "collected.jsonl", tmp_path / "next.toml"
    file.write_text(next_settings(run, settings_of(run), more, file))
    following = load_settings(file)
    assert following.finetune.start_from == str(run.folder)
    assert following.coverage.sources == [str(tmp_path / "first.jsonl"), str(more)]
    again = following.model_copy(update={"finetune": settings_of(run).finetune})
    assert again.model_copy(update={"coverage": settings_of(run).coverage}) == settings_of(run)


def test_data_with_columns_of_its_own_becomes_plain_rows(tmp_path: Path) -> None:
    """The collected rows have no such columns, and would be dropped."""
    run = ended_run(tmp_path)
    source, more, file = tmp_path / "table.jsonl", tmp_path / "collected.jsonl", tmp_path / "next.toml"
    jsonl.write(source, ({"q": {"text": f"question {n}"}, "a": f"answer {n}"} for n in range(5)))
    jsonl.write(more, rows(2))
    made = settings_of(run)
    coverage = made.coverage.model_validate(
        {"source": str(source), "columns": {"prompt": "q.text", "response": "a"}, "limit": 1000, "turns": "all"}
    )
    file.write_text(next_settings(run, made.model_copy(update={"coverage": coverage}), more, file))
    following = load_settings(file)
    assert len(load(following.coverage).pairs) == 7
    assert following.coverage.limit is None
