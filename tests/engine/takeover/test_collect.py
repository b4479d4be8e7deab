"""Rows for the next run from a door's journal: what becomes one, what never does, and the settings that use them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from door_sides import Opened, Side, door

from engine.dataset.prepare import open_sealed, prepare, read_dev, read_train
from engine.protocol import jsonl
from engine.protocol.errors import InputError
from engine.protocol.manifest import finish
from engine.protocol.run_dir import Run
from engine.protocol.takeover import Mode
from engine.settings.load import load_settings, settings_of
from engine.takeover import collect
from tests.engine.earlier_run import manifest_of, rows
from tests.engine.takeover.test_comparing import until  # type: ignore[import-not-found]

CONTRACT = 'format = "json"'
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}


def run_of(opened: Opened) -> Run:
    return Run(opened.at.folder.parent)


def with_data(run: Run) -> None:
    jsonl.write(run.folder / "rows.jsonl", rows(40))
    prepare(settings_of(run), run.coverage)
    finish(run.coverage, manifest_of("coverage"))


def collected(opened: Opened) -> collect.Collected:
    return collect.collect(run_of(opened), settings_of(run_of(opened)))


async def test_new_requests_become_rows_and_known_ones_do_not(tmp_path: Path) -> None:
    service = Side("service", text='{"a": 1}')
    async with door(tmp_path, Mode.LOCAL_FIRST, contract=CONTRACT, service=service, contents=True) as opened:
        run = run_of(opened)
        with_data(run)
        sealed = open_sealed(run.coverage)[0].prompt[0]["content"]
        known = [read_train(run.coverage)[0], read_dev(run.coverage)[0]]
        new = "Which of the seven lamps in the northern hall flickers at night, and since when does it?"
        for text in (sealed, f"{sealed} please", *(pair.prompt[0]["content"] for pair in known), new, new):
            await opened.ask(text)
        await opened.ask(new.replace("lamps", "pumps").replace("hall", "shed"), stream=True)
        opened.local.fault = "500"
        await opened.ask("Look at the roof of the old mill and tell its colour", tools=[TOOL])
        opened.local.fault = ""
        opened.local.text = '{"a": 2}'
        await opened.ask("A question that the local model answers by itself, as it should")
        found = collected(opened)
    assert (found.requests, found.fell_back, found.differed) == (8, 8, 0)
    assert found.dropped.pop("same prompt") == 2
    assert found.dropped == {collect.OF_SEALED: 2, collect.OF_DEV: 1}
    texts = [pair.prompt[0]["content"] for pair in found.rows]
    assert texts == [
        new,
        new.replace("lamps", "pumps").replace("hall", "shed"),
        "Look at the roof of the old mill and tell its colour",
    ]
    assert [pair.target for pair in found.rows[:2]] == ['{"a": 1}', '{"a": 1}']
    assert found.rows[2].target_calls and found.rows[2].tools == [TOOL]


async def test_a_canary_gives_the_services_answer_where_the_local_one_went_out(tmp_path: Path) -> None:
    """Also a call of a tool, which the journal has as text."""
    service = Side("service", text="Yes.\n{}", scores={"Yes.\n{}": 90, "local answers": 60})
    async with door(tmp_path, Mode.CANARY, compare=1.0, contents=True, service=service) as opened:
        with_data(run_of(opened))
        opened.parts.standing.state = opened.parts.standing.state.__class__(mode=Mode.CANARY, share=1.0)
        await opened.ask("Is the harbour open on the day after the spring festival this year?")
        await until(lambda: len(_compared(opened)) == 1)
        opened.local.fault = "500"
        await opened.ask("Where does the ferry to the small island wait while the storm lasts?", tools=[TOOL])
        await until(lambda: len(_compared(opened)) == 2)
        found = collected(opened)
    assert (found.requests, found.fell_back, found.differed) == (2, 1, 2)
    assert found.rows[0].target == "Yes.\n{}"
    assert found.rows[1].target_calls


def _compared(opened: Opened) -> list[Any]:
    from engine.takeover import journal

    return journal.rows(opened.at.journal, "SELECT same FROM compared")


async def test_without_contents_it_says_so_and_names_the_setting(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Side("service", text='{"a": 1}')
    async with door(tmp_path, Mode.LOCAL_FIRST, contract=CONTRACT, service=service) as opened:
        run = run_of(opened)
        with_data(run)
        await opened.ask("hello")
        opened.service.fault = "500"
        await opened.ask("hello")
    assert collect.main([str(run.folder)]) == 0
    said = capsys.readouterr().out
    assert "2 to learn from: 2 for which the local answer" in said and "kept none of 1 of them" in said
    assert "1 have none of the service" in said
    assert "takeover.contents" in said and "--contents" in said
    assert "no rows to collect" in said
    assert not (run.folder / "takeover" / "collected.jsonl").exists()


async def test_the_rows_and_the_next_settings_are_files_that_load(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    service = Side("service", text='{"a": 1}')
    async with door(tmp_path, Mode.LOCAL_FIRST, contract=CONTRACT, service=service, contents=True) as opened:
        run = run_of(opened)
        with_data(run)
        messages = [
            {"role": "user", "content": "How long does the bridge stay closed for cars?"},
            {"role": "assistant", "content": "Until May."},
        ]
        body = {"model": "m", "messages": [*messages, {"role": "user", "content": "And for bicycles on week days?"}]}
        async with opened.session.post(f"{opened.base}/chat/completions", json=body) as response:
            assert response.status == 200
    assert collect.main([str(run.folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rows"] == 1
    (row,) = jsonl.read(Path(told["rows_file"]))
    assert [message.get("weight") for message in row["messages"]] == [None, 0, None, None]
    assert Path(told["rows_file"]).stat().st_mode & 0o077 == 0
    following = load_settings(Path(told["settings_file"]))
    assert following.coverage.sources == [str(run.folder / "rows.jsonl"), told["rows_file"]]
    assert following.finetune.start_from is None, "the run has not ended"
    assert collect.main([str(run.folder)]) == 2
    assert "--force" in capsys.readouterr().err
    assert collect.main([str(run.folder), "--force"]) == 0


def test_a_run_without_a_take_over(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(InputError, match="no take-over yet") as error:
        collect.collect(run, load_settings_of(tmp_path))
    assert "--contents" in error.value.hint


def load_settings_of(folder: Path) -> Any:
    from tests.engine.earlier_run import settings

    return settings(str(folder / "x.jsonl"))
