import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engine.dataset.record import Dropped
from engine.preflight import check
from engine.protocol.rows import Message, Pair
from engine.sandbox import tickets
from engine.settings.schema import Migration
from tests.engine.preflight.estimates import estimate


def settings(**tables: Any) -> Migration:
    return Migration.model_validate({"coverage": {"source": "a.jsonl"}, "service": {"model": "sandbox"}, **tables})


def file_of(folder: Path, source: str, service: str = 'model = "sandbox"') -> Path:
    file = folder / "migration.toml"
    file.write_text(f'[coverage]\nsource = "{source}"\n[service]\n{service}\n')
    return file


def test_dropped_rows_are_counted_with_an_example() -> None:
    dropped = [Dropped(3, "empty prompt", "{}"), Dropped(5, "empty response", "{}")]

    assert list(check.dropped_note([])) == []
    assert list(check.dropped_note(dropped[:1])) == ["1 row would be dropped; the first is line 3: empty prompt"]
    assert list(check.dropped_note(dropped)) == ["2 rows would be dropped; the first is line 3: empty prompt"]


def test_coverage_responses_that_break_the_contract_are_counted() -> None:
    rows = tickets.rows(seed=1, count=5)
    pairs = [Pair(id=f"p{n}", messages=row["messages"], source=f"a.jsonl:{n}") for n, row in enumerate(rows, start=1)]
    plain = replace(pairs[2], messages=[pairs[2].messages[0], {"role": "assistant", "content": "Bug!"}])
    as_json = settings(task={"contract": {"format": "json"}})

    assert list(check.breach_note(as_json, pairs)) == []
    (note,) = check.breach_note(as_json, [*pairs, plain])
    assert note.startswith("1 of 6 coverage responses break the contract; the first is a.jsonl:3: not JSON")


def test_too_few_prompts_are_reported_before_they_cost() -> None:
    (dev,) = check.size_notes(settings(), 28, 10)
    assert dev.startswith("28 dev prompts are too few to show that the target is reached")
    assert list(check.size_notes(settings(), 29, 10)) == []
    assert list(check.size_notes(settings(), 29, 9)) == [
        "9 sealed prompts are too few to confirm that the target is reached: it takes 10"
    ]
    (never,) = check.size_notes(settings(target={"precision": 100}), 10_000, 10)
    assert never.startswith("no number of prompts can show that this target is reached")


def test_surprises_in_the_split_are_reported() -> None:
    def row(number: int, text: str, category: str) -> Pair:
        messages: list[Message] = [{"role": "user", "content": text}, {"role": "assistant", "content": "ok"}]
        return Pair(id=str(number), messages=messages, category=category, source=f"a.jsonl:{number}")

    rows = [row(number, f"case{number} item{number * 7}", "bug") for number in range(20)]
    assert list(check.split_notes(rows)) == []
    rows += [row(20, "Where is it", "rare"), row(21, "where is it?", "bug")]
    assert list(check.split_notes(rows)) == [
        "2 of 22 prompts are near-duplicates or continuations of another and stay in its split; "
        "the first are a.jsonl:20 and a.jsonl:21",
        "1 of 2 categories have fewer than 3 rows and are for training only, such as 'rare'",
    ]


def test_settings_that_cannot_be_read_are_the_only_problem(tmp_path: Path) -> None:
    report = check.check(tmp_path / "none.toml", print)

    assert [problem.error for problem in report.problems] == [f"{tmp_path / 'none.toml'}: no such file"]
    assert (report.notes, report.estimate, report.exit_status) == ((), None, 2)


def test_notes_survive_an_error_and_problems_are_reported_together(tmp_path: Path) -> None:
    good = {"prompt": "Where is it?", "response": "shipping"}
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(good)}\nbroken\n")
    report = check.check(file_of(tmp_path, "a.jsonl", 'model = "gpt-4o"'), print)

    (note,) = report.notes
    assert note == "1 row would be dropped; the first is line 2: invalid JSON: Expecting value (column 1)"
    key, split = [problem.error for problem in report.problems]
    assert "no API key" in key and "split is empty: 1 usable row is too few" in split
    assert report.estimate is None and report.exit_status == 2


@pytest.mark.parametrize("free, problems", [(1.5, 1), (3.0, 0)])
def test_a_model_that_does_not_fit_is_a_problem(free: float, problems: int) -> None:
    found = list(check.memory_problems(estimate(memory_free_bytes=int(free * 2**30))))

    assert len(found) == problems
    assert all("training needs about 2.0 GiB" in problem.message and "nf4" in problem.hint for problem in found)


@pytest.mark.parametrize(
    ("compute", "problems"), [({}, 0), ({"launcher": "torchrun"}, 1), ({"launcher": "torchrun", "processes": 2}, 0)]
)
def test_one_process_per_gpu_needs_a_gpu(
    compute: dict[str, object], problems: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("engine.local.device.find_device", lambda: SimpleNamespace(kind="cpu"))
    found = list(check.compute_problems(settings(compute=compute)))

    assert len(found) == problems and all("compute.processes" in problem.hint for problem in found)
