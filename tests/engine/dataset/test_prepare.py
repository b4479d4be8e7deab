from __future__ import annotations

import ast
import json
import zlib
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

import engine.dataset
from engine.dataset.data_filter import DataFilter
from engine.dataset.prepare import open_sealed, prepare, read_dev, read_fingerprints, read_train, unsealed
from engine.protocol import jsonl
from engine.protocol.errors import DamagedError, InputError
from engine.settings.schema import Migration, Synthesis


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
    source = tickets(tmp_path / "a.jsonl", 100, "broken", '{"prompt": " Ticket 5 is about 25\\n", "response": "x"}')
    folder = tmp_path / "coverage"
    counts = prepare(settings(source), folder)
    parts = {"train": read_train(folder), "dev": read_dev(folder), "test": open_sealed(folder)}
    found = {"rows": 102, "dropped": 2, "duplicates": 1, "never_sealed": 0}
    assert counts == found | {name: len(part) for name, part in parts.items()}
    assert sum(len(part) for part in parts.values()) == 100
    assert [len(part) for part in parts.values()] == [60, 12, 28]
    dropped = list(jsonl.read(folder / "dropped.jsonl"))
    assert [(row["line"], row["row"][:6]) for row in dropped] == [(101, "broken"), (102, '{"prom')]
    assert sorted(path.name for path in folder.iterdir()) == [
        "dev.jsonl",
        "dropped.jsonl",
        "fingerprints.jsonl",
        "test.jsonl",  # since it was opened here
        "test.sealed",
        "train.jsonl",
        "volume.json",
    ]


def test_preparing_again_gives_the_same_files(tmp_path: Path) -> None:
    source = tickets(tmp_path / "a.jsonl", 50)
    contents = []
    for name in ("one", "two"):
        prepare(settings(source), tmp_path / name)
        contents.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1]


def test_the_test_split_is_sealed_until_it_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "coverage"
    prepare(settings(tickets(tmp_path / "a.jsonl", 50)), folder)
    assert not (folder / "test.jsonl").exists()
    assert (folder / "test.sealed").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ValueError):
        list(jsonl.read(folder / "test.sealed"))
    assert not any(b"Ticket" in path.read_bytes() for path in folder.iterdir() if path.stem == "test")

    pairs = open_sealed(folder)
    assert len(pairs) == 14
    assert [pair.to_row() for pair in pairs] == list(jsonl.read(folder / "test.jsonl"))
    assert open_sealed(folder) == pairs, "a final stage that was interrupted begins anew"
    assert (folder / "test.jsonl").stat().st_mode & 0o777 == 0o600


def names_in(package: str, *names: str) -> set[str]:
    """Where in a package's code these names or texts stand, as file:function."""
    root = Path(engine.dataset.__path__[0]).parent.parent / package
    return {
        f"{path.name}:{function.name}"
        for path in root.rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if (isinstance(node, ast.Name) and node.id in names) or (isinstance(node, ast.Constant) and node.value in names)
    }


def test_only_the_final_stage_opens_the_test_split() -> None:
    hashed = {"infer.py:_sealed_by", "report_sections.py:seal", "verification.py:verify", "sharing.py:apply"}
    hashed.add("facts.py:seal")
    checked = {"rows.py:seal_problems"}
    own = {"prepare.py:open_sealed", "prepare.py:prepare"}
    assert names_in("engine", "SEALED", "test.sealed") == own | hashed | checked
    assert names_in("engine", "open_sealed") == {"infer.py:run"}
    assert names_in("engine", "unsealed") == {"prepare.py:open_sealed"} | checked
    assert names_in("llamaduo_tui", "open_sealed", "test.sealed", "test.jsonl") == set()


def test_fingerprints_keep_out_dev_and_test_but_not_train(tmp_path: Path) -> None:
    folder = tmp_path / "coverage"
    prepare(settings(tickets(tmp_path / "a.jsonl", 60)), folder)
    data_filter = DataFilter(Synthesis(), read_fingerprints(folder), [])
    assert not (folder / "test.jsonl").exists()
    for pair in [*read_dev(folder), *open_sealed(folder)]:
        assert data_filter.refusals([pair]) == [{"reason": "same prompt", "twin": pair.id}]
    assert data_filter.refusals(read_train(folder)) == [None] * 36


def test_a_run_of_an_older_version_goes_on(tmp_path: Path) -> None:
    """Its test split was never sealed, and its fingerprints were minima."""
    folder = tmp_path / "coverage"
    prepare(settings(tickets(tmp_path / "a.jsonl", 60)), folder)
    written, test = read_fingerprints(folder), open_sealed(folder)
    (folder / "test.sealed").unlink()
    jsonl.write(folder / "fingerprints.jsonl", [{"id": row["id"], "minhash": [1, 2, 3]} for row in written])
    assert read_fingerprints(folder) == read_fingerprints(folder) == written
    assert open_sealed(folder) == test


@pytest.mark.parametrize(
    ("rows", "shares", "message", "hint"),
    [
        (2, (0.2, 0.2), "the dev split is empty: 2 usable rows are too few", "add rows, or raise coverage.split.dev"),
        (1, (0.9, 0.09), "the dev split is empty: 1 usable row is too few", "add rows, or raise coverage.split.dev"),
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


def test_rows_that_all_stay_together_are_not_called_too_few(tmp_path: Path) -> None:
    """Questions on two long documents, of which neither fits into dev or test."""
    documents = [" ".join(f"{name}{n}" for n in range(200)) for name in ("oak", "elm")]
    rows = [json.dumps({"prompt": f"{documents[n % 2]} question {n}", "response": "x"}) for n in range(60)]
    source = tmp_path / "a.jsonl"
    source.write_text("\n".join(rows))
    with pytest.raises(InputError, match="30 of 60 usable rows are near-duplicates or one conversation") as caught:
        prepare(settings(source), tmp_path / "coverage")
    assert "other documents" in caught.value.hint


@pytest.mark.parametrize("reader", [read_train, read_dev, open_sealed])
def test_reading_before_the_stage_has_run(reader: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        reader(tmp_path)


@pytest.mark.parametrize("text", ["", "e30=", "=", "\x80"])
def test_a_damaged_seal_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "test.sealed").write_text(text, encoding="latin-1")
    with pytest.raises(DamagedError, match=r"test\.sealed: damaged"):
        open_sealed(tmp_path)
    assert not (tmp_path / "test.jsonl").exists()


def test_a_seal_that_would_fill_the_memory_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.dataset.prepare.MOST_OPENED", 1000)
    for size, fits in ((1000, True), (1001, False)):
        (tmp_path / "test.sealed").write_bytes(b64encode(zlib.compress(b"\n" * size)))
        if fits:
            assert len(unsealed(tmp_path / "test.sealed")) == size
        else:
            with pytest.raises(DamagedError, match=r"test\.sealed: damaged"):
                unsealed(tmp_path / "test.sealed")
