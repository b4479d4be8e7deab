import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from aiohttp import web
from calling import MODEL, asking
from scripted import Service, completion

from engine.service.answerers import Answerer, answerers

COLUMNS = "model TEXT NOT NULL, answered REAL, answered_by TEXT, fingerprint TEXT, prompt_tokens INTEGER NOT NULL"


def ledger(folder: Path, *rows: tuple[str, float | None, str | None, str | None, int]) -> Path:
    path = folder / "a run?" / "ledger.sqlite"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(f"CREATE TABLE calls ({COLUMNS})")
        database.executemany("INSERT INTO calls VALUES (?, ?, ?, ?, ?)", rows)
    return path


def test_answers_are_counted_by_the_names_that_gave_them(tmp_path: Path) -> None:
    path = ledger(
        tmp_path,
        ("j", 20.0, "new", "fp2", 9),
        ("j", 10.0, "old", "fp1", 9),
        ("j", 12.0, "old", "fp1", 9),
        ("j", 13.0, "old", "fp1", 0),
        ("j", 5.0, None, None, 0),
        ("j", None, None, None, 0),
        ("a", 30.0, "a-1", None, 9),
    )

    assert answerers(path) == [
        Answerer("a", "a-1", "", 1, 30, 30),
        Answerer("j", "", "", 1, 5, 5),
        Answerer("j", "old", "fp1", 2, 10, 12),
        Answerer("j", "new", "fp2", 1, 20, 20),
    ]


def test_a_run_without_a_ledger_has_none(tmp_path: Path) -> None:
    assert answerers(tmp_path / "ledger.sqlite") == []
    assert not (tmp_path / "ledger.sqlite").exists()


async def test_the_ledger_of_a_run_says_who_answered(tmp_path: Path) -> None:
    names = iter([("old", "fp_1"), ("old", "fp_1"), ("new", None)])

    async def answer(_service: Service, _request: web.Request) -> web.StreamResponse:
        name, fingerprint = next(names)
        return completion("yes", model=name, system_fingerprint=fingerprint)

    async with asking(answer, tmp_path) as (_, client), asyncio.timeout(60):
        for question in ("one", "two", "three", "two"):
            said = await client.ask(
                [{"role": "user", "content": question}],
                model=MODEL,
                read=lambda reply: reply.text,
                max_tokens=50,
                temperature=0.0,
            )
            assert said == "yes"
        found = answerers(tmp_path / "ledger.sqlite")

    assert [(row.model, row.answered_by, row.fingerprint, row.calls) for row in found] == [
        (MODEL, "old", "fp_1", 2),
        (MODEL, "new", "", 1),
    ]
    assert found[0].first <= found[0].last <= found[1].first
