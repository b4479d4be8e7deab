from pathlib import Path

from engine.settings.load import load_settings, settings_of
from llamaduo_tui.control import launch


def test_the_files_that_settings_name_are_frozen_into_the_run(tmp_path: Path) -> None:
    prompts, schema = tmp_path / "mine.toml", tmp_path / "ticket.json"
    prompts.write_text("[eval]\n")
    schema.write_text('{"type": "object"}')
    file = tmp_path / "migration.toml"
    file.write_text(
        '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n[judge]\nprompts = "mine.toml"\n'
        '[task.contract]\njson_schema = "ticket.json"\n'
    )

    run = launch.create(tmp_path / "runs", "mine", load_settings(file), yes=False)
    schema.write_text("{}")
    found = settings_of(run)

    assert found.judge.prompts == str(run.folder / "prompts.toml")
    assert found.task.contract.json_schema == str(run.folder / "schema.json")
    assert (run.folder / "schema.json").read_text() == '{"type": "object"}'


def test_a_file_that_cannot_be_read_stays_named(tmp_path: Path) -> None:
    file = tmp_path / "migration.toml"
    file.write_text(
        '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n[task.contract]\njson_schema = "none.json"\n'
    )
    run = launch.create(tmp_path / "runs", "mine", load_settings(file), yes=False)

    assert settings_of(run).task.contract.json_schema == str(tmp_path / "none.json")
