"""What holds in a finished run, and what is said of one whose files are not as they were."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.protocol import checksums, commands, jsonl, records, sharing
from engine.protocol.commands import Label
from engine.protocol.errors import InputError
from engine.protocol.manifest import NAME, Manifest, finish, manifest
from engine.protocol.rows import VERDICTS_FILE
from engine.protocol.run_dir import Run
from engine.protocol.run_record import record_file, write_record
from engine.protocol.sharing import Readers
from engine.protocol.status import State
from engine.service.completion import Completion, Request
from engine.service.ledger import Ledger
from engine.verify import checks
from engine.verify.checks import Finding
from engine.verify.verification import verify

SUMMED = "final/judge/verdicts.jsonl"
NOBODY = 65534


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :]


def cut(content: bytes) -> bytes:
    return content[: len(content) * 6 // 10]


def empty(_: bytes) -> bytes:
    return b""


def double(content: bytes) -> bytes:
    return content * 2


def found(run: Run) -> dict[str, Finding]:
    return {check.name: check.finding for check in verify(run).checks}


def test_a_finished_run_holds(finished: Run) -> None:
    verified = verify(finished)
    assert verified.holds and verified.problems == []
    assert {check.name for check in verified.checks if check.finding is Finding.ABSENT} == {checks.RELEASE}
    assert [check.name for check in verified.checks] == list(checks.ALL)
    assert verified.record == finished.status().record and verified.sealed in finished.report_file.read_text()


def test_a_run_may_be_renamed_and_moved(finished: Run, tmp_path: Path) -> None:
    assert verify(Run(finished.folder.rename(tmp_path / "elsewhere"))).holds


@pytest.mark.parametrize(
    ("file", "claim", "damage"),
    [
        ("coverage/train.jsonl", checks.DATA, cut),
        ("coverage/test.sealed", checks.SEAL, flip),
        ("coverage/test.jsonl", checks.SEAL, flip),
        ("round-01/finetune/adapter/adapter_model.safetensors", checks.ADAPTERS, flip),
        ("round-01/infer/responses.jsonl", checks.ANSWERS, empty),
        ("round-01/infer/manifest.json", checks.ANSWERS, flip),
        (SUMMED, checks.VERDICTS, cut),
        (SUMMED, checks.VERDICTS, double),
        ("round-00/decision.json", checks.DECISION, flip),
        ("final/decision.json", checks.DECISION, empty),
        ("final/report.md", checks.REPORT, double),
        ("ledger.sqlite", checks.LEDGER, empty),
        ("events.jsonl", checks.LOG, cut),
        ("status.json", checks.LOG, flip),
        ("record.json", checks.LOG, flip),
        ("format", checks.SETTINGS, empty),
    ],
)
def test_damage_is_noticed_and_named(finished: Run, file: str, claim: str, damage: Callable[[bytes], bytes]) -> None:
    path = finished.folder / file
    path.write_bytes(damage(path.read_bytes()))
    verified = verify(finished)
    assert not verified.holds and [problem.file for problem in verified.problems] == [file]
    assert {check.name for check in verified.checks if check.finding is Finding.BROKEN} == {claim}


def test_without_its_end_the_manifests_vouch(finished: Run) -> None:
    """As after a crash: there is no record yet."""
    record_file(finished).unlink()
    finished.write_status(replace(finished.status(), state=State.FAILED, record=""))
    assert verify(finished).holds
    path = finished.folder / SUMMED
    rows = list(jsonl.read(path))
    jsonl.write(path, rows[:-6])
    told = [str(problem) for problem in verify(finished).problems]
    assert told == [f"{SUMMED} has {len(rows) - 6} of {len(rows)} lines"]


def rewrite(run: Run, change: Callable[[dict[str, object]], dict[str, object]]) -> None:
    """Change the sealed verdicts and every checksum that depends on them: as somebody would who wants to deceive."""
    path = run.folder / SUMMED
    jsonl.write(path, [change(row) for row in jsonl.read(path)])
    judged, final = manifest(run.final / "judge"), run.final_decision()
    assert judged is not None and final is not None
    finish(run.final / "judge", judged)
    sources = {**run.made_from(run.final_decision_file), SUMMED: checksums.file_sum(path).sha256}
    checksums.write_json(run.final_decision_file, {**records.to_row(final), "made_from": sources})
    report = json.loads((run.final / NAME).read_text())
    report["inputs"][SUMMED] = checksums.file_sum(path).sha256
    del report["sha256"]
    finish(run.final, records.build(Manifest, report))
    run.write_status(replace(run.status(), record=write_record(run)))


def test_verdicts_that_were_rewritten_with_all_checksums_give_another_decision(finished: Run) -> None:
    kept = finished.status().record
    rewrite(finished, lambda row: row)
    assert verify(finished).holds
    rewrite(finished, lambda row: {**row, "precision": 100, "similarity": 100})
    verified = verify(finished)
    assert [problem.file for problem in verified.problems] == ["final/decision.json"]
    assert "the sealed verdicts give reached" in str(verified.problems[0]) and verified.record != kept


@pytest.mark.parametrize(
    "change",
    [
        {"share_low": 0.9, "certified": True, "reason": "Of prompts like these at least 90 % can be answered locally."},
        {"reason": "Of prompts like these at least 90 % can be answered locally."},
        None,
    ],
)
def test_the_part_that_may_move_is_worked_out_again(finished: Run, change: dict[str, object] | None) -> None:
    path = finished.final_decision_file
    row = json.loads(path.read_text())
    assert row["part"] is not None
    checksums.write_json(path, {**row, "part": change and {**row["part"], **change}})
    report = json.loads((finished.final / NAME).read_text())
    del report["sha256"]
    if "final/decision.json" in report["inputs"]:
        report["inputs"]["final/decision.json"] = checksums.file_sum(path).sha256
    finish(finished.final, records.build(Manifest, report))
    finished.write_status(replace(finished.status(), record=write_record(finished)))
    (problem,) = verify(finished).problems
    assert problem.file == "final/decision.json" and "part" in problem.what


def test_the_target_of_the_sealed_test_has_to_be_there(finished: Run) -> None:
    finished.sealed_target_file.unlink()
    finished.write_status(replace(finished.status(), record=write_record(finished)))
    (problem,) = verify(finished).problems
    assert str(problem).startswith("final/target.json is missing")


def test_what_people_did_is_shown_as_that(finished: Run) -> None:
    path = finished.folder / "round-01" / "judge" / VERDICTS_FILE
    for row in list(jsonl.read(path))[:3]:
        commands.send(finished.commands_file, Label(round=1, responses=[(row["id"], 0)], agrees=True, flagged=True))
    verified = verify(finished)
    assert verified.holds
    assert any("3 answers reviewed" in note for note in verified.notes)
    assert any("3 references flagged" in note for note in verified.notes)


def test_files_that_came_later_are_told(finished: Run) -> None:
    (finished.folder / "notes.txt").write_text("mine")
    (finished.folder / "release").mkdir()
    verified = verify(finished)
    assert verified.holds and any("notes.txt" in note for note in verified.notes)


def test_an_earlier_version_is_never_guessed_at(finished: Run) -> None:
    """Manifests, decisions and status as format 2 had them."""
    record_file(finished).unlink()
    added = {"sha256", "outputs", "made_from", "record"}
    for path in [*finished.folder.rglob("*.json")]:
        row = {key: value for key, value in json.loads(path.read_text()).items() if key not in added}
        if "inputs" in row:
            row["inputs"] = {name: given[:16] for name, given in row["inputs"].items() if "decision" not in name}
        jsonl.write_json(path, row)
    finished.format_file.write_text("2\n")
    verified = verify(finished)
    assert not verified.holds and verified.problems == [] and verified.format == 2
    unknown = {check.name for check in verified.checks if check.finding is Finding.UNKNOWN}
    assert {checks.DATA, checks.SEAL, checks.ANSWERS, checks.VERDICTS, checks.REPORT} <= unknown
    assert found(finished)[checks.DECISION] is Finding.HOLDS


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run"):
        verify(Run(tmp_path))


def test_a_release_has_its_own_checksums(finished: Run) -> None:
    folder = finished.folder / "release" / "gguf"
    folder.mkdir(parents=True)
    (folder / "model.gguf").write_bytes(b"weights")
    digest = checksums.file_sum(folder / "model.gguf").sha256
    (folder / "SHA256SUMS").write_text(f"{digest}  model.gguf\n")
    assert found(finished)[checks.RELEASE] is Finding.HOLDS
    (folder / "model.gguf").write_bytes(b"other")
    assert [str(problem) for problem in verify(finished).problems] == [
        "release/gguf/model.gguf does not match its checksum"
    ]
    (folder / "SHA256SUMS").write_text(f"{digest}  ../../../migration.toml\n")
    assert found(finished)[checks.RELEASE] is Finding.BROKEN


def test_a_release_may_pay_for_calls_after_the_end(finished: Run) -> None:
    request = Request(model="sandbox", messages=[{"role": "user", "content": "Judge."}], max_tokens=9)
    with closing(Ledger(finished.ledger_file)) as ledger:
        asyncio.run(ledger.record(request, Completion("{}", "stop", 9, 1, 0.0), 1.0))
    verification = verify(finished)
    assert verification.holds and any("after the end" in note for note in verification.notes)

    with closing(sqlite3.connect(finished.ledger_file)) as database, database:
        database.execute("UPDATE calls SET reply = 'other' WHERE rowid = 1")
    assert [problem.file for problem in verify(finished).problems] == ["ledger.sqlite"]


def vacuum_into(ledger: Path, copy: Path) -> None:
    with closing(sqlite3.connect(ledger)) as database:
        database.execute("VACUUM INTO ?", (str(copy),))
    copy.replace(ledger)


def dump_and_read(ledger: Path, copy: Path) -> None:
    with closing(sqlite3.connect(ledger)) as database, closing(sqlite3.connect(copy)) as new:
        new.executescript("".join(database.iterdump()))
    copy.replace(ledger)


def vacuum(ledger: Path, _: Path) -> None:
    with closing(sqlite3.connect(ledger)) as database:
        database.execute("VACUUM")


@pytest.mark.parametrize("rewrite", [vacuum, vacuum_into, dump_and_read])
def test_a_ledger_that_sqlite_wrote_anew_has_the_same_calls(
    finished: Run, tmp_path: Path, rewrite: Callable[[Path, Path], None]
) -> None:
    rewrite(finished.ledger_file, tmp_path / "copy.sqlite")
    verification = verify(finished)
    assert verification.holds and any("written anew" in note for note in verification.notes)
    assert not any("were paid" in note for note in verification.notes)

    with closing(sqlite3.connect(finished.ledger_file)) as database, database:
        database.execute("DELETE FROM calls WHERE rowid = 1")
    assert [problem.file for problem in verify(finished).problems] == ["ledger.sqlite"]


def test_commands_that_cannot_be_read_end_no_check(finished: Run) -> None:
    """They came after the end, so that no record has them."""
    os.mkfifo(finished.commands_file)
    verified = verify(finished)
    assert verified.holds
    assert any(note.startswith("by hand: unknown, since commands.jsonl cannot be read") for note in verified.notes)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try it as another user")
@pytest.mark.parametrize(
    ("share", "told"),
    [
        ("all", "seal: coverage/test.jsonl is not for this user to read"),
        ("group", "InputError: mini is a run of root, and record.json is not for this user to read"),
    ],
)
def test_another_user_is_told_what_is_not_for_them(finished: Run, share: Readers, told: str) -> None:
    """What they may not read is unknown to them, and not broken."""
    before = os.umask(0o077)
    sharing.apply(finished, share)
    os.umask(before)
    modes = {path: path.stat().st_mode & 0o7777 for path in finished.folder.parents}
    closed = {path: mode for path, mode in modes.items() if mode & 0o011 != 0o011}
    for path, mode in closed.items():
        path.chmod(mode | 0o011)
    try:
        os.setegid(0)
        os.seteuid(NOBODY)
        verified = verify(finished)
        assert verified.problems == [] and not verified.holds
        said = [f"{check.name}: {check.text}" for check in verified.checks if check.finding is Finding.UNKNOWN]
    except InputError as error:
        said = [f"InputError: {error.message}"]
    finally:
        os.seteuid(0)
        for path, mode in closed.items():
            path.chmod(mode)
    assert told in said
