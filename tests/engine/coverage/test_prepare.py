from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

import engine.coverage
from engine import jsonl
from engine.config import Migration
from engine.coverage.duplicates import NearDuplicates, comparable_text
from engine.coverage.prepare import open_sealed, prepare, read_dev, read_train
from engine.coverage.split import split_of
from engine.errors import InputError


def settings(source: Path, **shares: float) -> Migration:
    coverage: dict[str, Any] = {"source": str(source)}
    if shares:
        coverage["split"] = shares
    return Migration.model_validate({"coverage": coverage, "service": {"model": "sandbox"}})


def tickets(path: Path, count: int, *more: str) -> Path:
    rows = [json.dumps({"prompt": f"Ticket {n} is about {n * n}", "response": f"answer {n}"}) for n in range(count)]
    path.write_text("\n".join([*rows, *more]) + "\n")
    return path


def test_the_splits_hold_every_pair_and_the_counts_agree(tmp_path: Path) -> None:
    source = tickets(tmp_path / "a.jsonl", 100, "broken", '{"prompt": "TICKET 5 is about 25", "response": "x"}')
    folder = tmp_path / "coverage"
    counts = prepare(settings(source), folder)
    parts = {"train": read_train(folder), "dev": read_dev(folder), "test": open_sealed(folder)}
    assert counts == {"rows": 102, "dropped": 2, "duplicates": 1} | {name: len(part) for name, part in parts.items()}
    assert sum(len(part) for part in parts.values()) == 100
    assert all(split_of(pair.id, 0.2, 0.2) == name for name, part in parts.items() for pair in part)
    dropped = list(jsonl.read(folder / "dropped.jsonl"))
    assert [(row["line"], row["row"][:6]) for row in dropped] == [(101, "broken"), (102, '{"prom')]
    assert sorted(path.name for path in folder.iterdir()) == [
        "dev.jsonl",
        "dropped.jsonl",
        "fingerprints.jsonl",
        "test.jsonl",
        "train.jsonl",
    ]


def test_preparing_again_gives_the_same_files(tmp_path: Path) -> None:
    source = tickets(tmp_path / "a.jsonl", 50)
    contents = []
    for name in ("one", "two"):
        prepare(settings(source), tmp_path / name)
        contents.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1]


def test_the_test_split_is_for_its_owner_alone(tmp_path: Path) -> None:
    prepare(settings(tickets(tmp_path / "a.jsonl", 50)), tmp_path / "coverage")
    assert (tmp_path / "coverage" / "test.jsonl").stat().st_mode & 0o777 == 0o600


def test_only_one_function_opens_the_test_split() -> None:
    """Whoever reads it names `open_sealed`, which a search finds."""
    readers = [
        f"{path.name}:{function.name}"
        for path in Path(engine.coverage.__path__[0]).glob("*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if (isinstance(node, ast.Name) and node.id == "SEALED")
        or (isinstance(node, ast.Constant) and node.value == "test.jsonl")
    ]
    assert sorted(readers) == ["prepare.py:open_sealed", "prepare.py:prepare"]


def test_fingerprints_guard_dev_and_test_but_not_train(tmp_path: Path) -> None:
    folder = tmp_path / "coverage"
    prepare(settings(tickets(tmp_path / "a.jsonl", 60)), folder)
    seen = NearDuplicates()
    for row in jsonl.read(folder / "fingerprints.jsonl"):
        seen.add_fingerprint({"id": row["id"], "minhash": row["minhash"]})
    for pair in [*read_dev(folder), *open_sealed(folder)]:
        assert seen.twin(comparable_text(pair.prompt)) == pair.id
    assert [seen.twin(comparable_text(pair.prompt)) for pair in read_train(folder)] == [None] * len(read_train(folder))


@pytest.mark.parametrize(
    ("rows", "shares", "message", "hint"),
    [
        (4, (0.001, 0.2), "no prompt fell into dev: 4 usable rows are too few", "add rows or raise coverage.split.dev"),
        (
            9,
            (0.5, 0.001),
            "no prompt fell into test: 9 usable rows are too few",
            "add rows or raise coverage.split.test",
        ),
        (
            1,
            (0.9, 0.09),
            "no prompt fell into train: 1 usable row is too few",
            "add rows or lower coverage.split.dev and coverage.split.test",
        ),
    ],
)
def test_an_empty_split_is_an_error_that_says_what_to_do(
    tmp_path: Path, rows: int, shares: tuple[float, float], message: str, hint: str
) -> None:
    source = tickets(tmp_path / "a.jsonl", rows)
    with pytest.raises(InputError) as caught:
        prepare(settings(source, dev=shares[0], test=shares[1]), tmp_path / "coverage")
    assert (caught.value.message, caught.value.hint) == (message, hint)
    assert not (tmp_path / "coverage").exists()


@pytest.mark.parametrize("reader", [read_train, read_dev, open_sealed])
def test_reading_before_the_stage_has_run(reader: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        reader(tmp_path)
