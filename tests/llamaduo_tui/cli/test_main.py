"""The commands: what they print, for people and for scripts, and their exit statuses."""

from __future__ import annotations

import json
import re
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import frozen
import psutil
import pytest
import story
from click.testing import CliRunner, Result
from msgspec.structs import replace

from engine.protocol import jsonl, records
from engine.protocol.questions import Question
from engine.protocol.run_dir import Run
from engine.protocol.status import Dropped, Process, State, Status, Stopping
from engine.settings.load import load_settings, settings_of
from llamaduo_tui import paths
from llamaduo_tui.cli import runs as runs_commands
from llamaduo_tui.cli.main import main

MakeRun = Callable[..., Run]


def call(*args: str) -> Result:
    return CliRunner().invoke(main, list(args))


def test_every_command_teaches_with_an_example() -> None:
    for name, command in main.all().items():
        shown = call(name, "--help")
        assert shown.exit_code == 0
        assert "Example" in shown.output, name
        assert f"llamaduo-tui {name}" in shown.output or name == "locate"
        assert command.get_short_help_str(100)[-3:] != "..."


def test_the_version_names_the_format_of_runs() -> None:
    shown = call("--version")
    assert shown.exit_code == 0
    assert re.fullmatch(r"llamaduo-tui \S+, run format 3\n", shown.stdout)


def test_an_unknown_command_names_the_nearest() -> None:
    shown = call("doctr")
    assert shown.exit_code == 2
    assert "did you mean 'doctor'" in shown.stderr


@pytest.mark.parametrize(
    ("args", "error", "command"),
    [
        (["new"], "missing argument 'FILE'", "llamaduo-tui new"),
        (["--runs"], "no such option", "llamaduo-tui"),
        (["approve", "demo", "--pairs", "0"], "invalid value for '--pairs': 0 is not", "llamaduo-tui approve"),
        (
            ["approve", "demo", "--pairs", "x"],
            "invalid value for '--pairs': 'x' is not a whole number",
            "llamaduo-tui approve",
        ),
        (
            ["approve", "demo", "--budget", "$9"],
            "invalid value for '--budget': '$9' is not a number",
            "llamaduo-tui approve",
        ),
    ],
)
def test_bad_usage_is_a_line_and_a_hint(args: list[str], error: str, command: str) -> None:
    shown = CliRunner().invoke(main, args, prog_name="llamaduo-tui")
    said, hint = shown.stderr.splitlines()
    assert shown.exit_code == 2 and not shown.stdout
    assert said.startswith(f"error: {error}")
    assert hint == f"hint: see {command} --help"


def test_errors_are_a_line_and_a_hint(root: Path) -> None:
    shown = call("status", "nope")
    assert shown.exit_code == 2
    assert shown.stderr == f"error: no run 'nope' in {root}\nhint: start one: llamaduo-tui demo\n"
    assert "Traceback" in call("--debug", "status", "nope").stderr


def test_what_nobody_expected_is_one_line(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("llamaduo_tui.cli.overview.details", broken)
    make_run()
    shown = call("status", "demo")
    assert shown.exit_code == 1
    assert shown.stderr.startswith("unexpected: RuntimeError: a fault of ours")
    assert shown.stderr.count("\n") == 1


def test_one_broken_run_hides_no_other(make_run: MakeRun) -> None:
    make_run().status_file.write_text("{")
    make_run(name="other")
    rows = {row["run"]: row["state"] for row in json.loads(call("runs", "--json").stdout)}
    assert rows == {"demo": "unreadable", "other": "new"}


def test_status_for_scripts(make_run: MakeRun) -> None:
    run = make_run()
    decision = story.decision(1, 64.3, 51.2)
    jsonl.write_json(run.decision_file(1), records.to_row(decision))
    question = story.another_round().question
    waiting = Status(state=State.WAITING, question=question, process=Process.of(1), heartbeat=time.time(), round=1)
    run.write_status(replace(waiting, calls=9, cached_calls=2, tokens=70))
    status = json.loads(call("status", "de", "--json").stdout)
    assert {key: status[key] for key in ("run", "state", "round", "stage", "rounds", "calls", "pid")} == {
        "run": "demo",
        "state": "waiting",
        "round": 1,
        "stage": None,
        "rounds": [json.loads(jsonl.dumps(records.to_row(decision)))],
        "calls": 9,
        "pid": 1,
    }
    assert (status["cached_calls"], status["tokens"], status["cost_usd"]) == (2, 70, 0.0)
    assert (status["waits_for"], status["question"]["pairs"], status["format"]) == ("round", 120, 3)
    assert "llamaduo-tui approve demo" in call("status", "demo").stdout
    assert "64.3" in call("runs").stdout
    assert json.loads(call("runs", "--json").stdout) == [status]


def test_a_service_that_does_not_answer_is_shown(make_run: MakeRun) -> None:
    run = make_run()
    silent = Status(state=State.RUNNING, process=Process.of(1), heartbeat=time.time(), silent_since=1_000_000_000.0)
    run.write_status(silent)
    at = time.strftime("%H:%M:%S", time.localtime(1_000_000_000))
    assert f"the service has not answered since {at}: the run waits for it" in call("status", "demo").stdout
    assert json.loads(call("status", "demo", "--json").stdout)["silent_since"] == 1_000_000_000
    assert "waits for the service" in call("runs").stdout
    for other in (replace(silent, state=State.FAILED), replace(silent, silent_since=time.time())):  # a single retry
        run.write_status(other)
        assert "has not answered" not in call("status", "demo").stdout
        assert "waits for the service" not in call("runs").stdout


def test_a_run_that_stops_counts_down_and_says_how_to_drop_its_calls(make_run: MakeRun) -> None:
    run = make_run()
    now = time.time()
    waits = Stopping(calls=8, until=now + 45)
    run.write_status(Status(state=State.RUNNING, process=Process.of(1), heartbeat=now, stopping=waits))
    shown = call("status", "demo").stdout
    assert "demo: stopping" in shown and "stopping: waits for 8 calls in flight, at most 4" in shown
    assert "llamaduo-tui stop demo --now" in shown and "stopping" in call("runs").stdout
    row = json.loads(call("status", "demo", "--json").stdout)
    assert (row["state"], row["stopping"]) == ("stopping", {"calls": 8, "until": now + 45})
    assert "demo is stopping: it waits for calls in flight" in call("resume", "demo").stderr


def test_dropped_calls_are_in_the_status_after_the_end(make_run: MakeRun) -> None:
    run = make_run()
    lost = Status(state=State.STOPPED, calls=8, cost_usd=0.01, interrupted_calls=4, interrupted_usd=0.36)
    run.write_status(replace(lost, dropped=Dropped(calls=4, usd=0.36)))
    shown = call("status", "demo").stdout
    assert "$0.01, and up to $0.36 of 4 interrupted calls" in shown
    assert "4 calls were dropped; they may be billed, up to $0.3600" in shown
    row = json.loads(call("status", "demo", "--json").stdout)
    assert (row["interrupted_calls"], row["interrupted_usd"], row["stopping"]) == (4, 0.36, None)


def test_a_worker_that_was_killed_waits_for_nothing(make_run: MakeRun) -> None:
    run = make_run()
    gone = replace(Process.of(1), started=1.0)
    stops = Stopping(calls=8, until=time.time() + 45)
    run.write_status(Status(state=State.RUNNING, process=gone, heartbeat=time.time(), stopping=stops, silent_since=9.0))
    shown = call("status", "demo").stdout
    assert "crashed" in shown and "waits for" not in shown and "has not answered" not in shown
    row = json.loads(call("status", "demo", "--json").stdout)
    assert (row["stopping"], row["silent_since"]) == (None, None)


def used_up(cap: str = "usd", least: float = 6.504) -> Question:
    reason = "$4.90 of $5.00 are spent, and the next call may cost $1.6040"
    return story.used_up(cap, used=4.9, least=least, reason=reason).question


def test_a_run_that_waits_for_the_full_price_says_so_and_how_to_answer(make_run: MakeRun) -> None:
    run = make_run()
    question = story.full_price().question
    run.write_status(Status(state=State.WAITING, question=question, process=Process.of(1), heartbeat=time.time()))
    assert json.loads(call("status", "demo", "--json").stdout)["waits_for"] == "batch"
    shown = call("status", "demo").stdout
    assert "demo: waiting for approval of the full price" in shown and "Send 40 calls directly (about $0.34)?" in shown
    assert "llamaduo-tui approve demo" in shown and "reject for another batch job" in shown
    assert call("reject", "demo").stdout == "round 1: rejected; its calls stay in batch jobs\n"


def test_a_run_that_waits_for_its_budget_says_so_and_how_to_raise_it(make_run: MakeRun) -> None:
    run = make_run()
    waiting = Status(state=State.WAITING, question=used_up(), process=Process.of(1), cost_usd=4.9, calls=30)
    run.write_status(replace(waiting, heartbeat=time.time()))
    assert json.loads(call("status", "demo", "--json").stdout)["waits_for"] == "budget"
    assert "demo: waiting for budget" in call("status", "demo").stdout
    assert "llamaduo-tui approve demo --budget USD" in call("status", "demo").stdout
    assert "waiting for budget" in call("runs").stdout

    shown = call("approve", "demo")
    assert shown.exit_code == 2 and "waits for budget, not for approval: $4.90 of $5.00" in shown.stderr
    assert "hint: llamaduo-tui approve demo --budget USD   (USD at least 6.51)" in shown.stderr
    for amount, said in (("6.5", "give at least 6.51"), ("nan", "is not a number"), ("inf", "is not in the range")):
        assert said in call("approve", "demo", "--budget", amount).stderr, amount
    assert settings_of(run).service.budget_usd is None

    raised = call("approve", "demo", "--budget", "6.51")
    assert raised.stdout == "demo: spent $4.90 and 30 calls so far; the budget is now $6.51; the run continues\n"
    assert settings_of(run).service.budget_usd == 6.51
    run.write_status(replace(waiting, heartbeat=time.time(), state=State.RUNNING, question=None))
    assert "doesn't wait for an answer" in call("approve", "demo").stderr


def test_calls_may_be_too_few_as_well(make_run: MakeRun) -> None:
    run = make_run()
    waiting = Status(state=State.WAITING, question=used_up("calls", 31), process=Process.of(1), calls=30)
    run.write_status(replace(waiting, heartbeat=time.time()))
    assert "--budget-calls N   (N at least 31)" in call("approve", "demo").stderr
    assert "give at least 31" in call("approve", "demo", "--budget-calls", "30").stderr
    assert "the budget is now 60 calls; the run continues" in call("approve", "demo", "--budget-calls", "60").stdout
    assert settings_of(run).service.budget_calls == 60


def test_the_budget_of_a_run_that_stopped_is_raised_for_when_it_goes_on(make_run: MakeRun) -> None:
    run = make_run()
    run.write_status(Status(state=State.STOPPED, cost_usd=4.9))
    assert "resume it: llamaduo-tui resume demo" in call("approve", "demo", "--budget", "7").stdout
    assert call("approve", "demo", "--budget", "7", "--pairs", "9").exit_code == 2
    ended = make_run(name="ended")
    ended.write_status(Status(state=State.REACHED))
    assert "has ended" in call("approve", ended.name, "--budget", "7").stderr


def test_kept_replies_are_shown_and_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMADUO_CACHE", str(tmp_path))
    assert "the reply cache is empty" in call("cache").stdout
    with sqlite3.connect(tmp_path / "replies.sqlite") as database:
        database.execute("CREATE TABLE replies (key, model, stored REAL)")
        database.execute("INSERT INTO replies VALUES ('k', 'gpt-4o', 1.0), ('l', 'gpt-4o', ?)", (time.time(),))
    assert "2  gpt-4o, since 1970-01-01" in call("cache").stdout
    assert call("cache", "--days", "3").exit_code == 2
    assert call("cache", "--prune", "--days", "3").stdout == "1 reply deleted\n"


def test_a_beginning_must_be_of_one_run(make_run: MakeRun) -> None:
    make_run(name="alpha")
    make_run(name="alps")
    assert call("status", "alpha").exit_code == 0
    shown = call("status", "al")
    assert shown.exit_code == 2
    assert "alpha, alps" in shown.stderr
    assert call("status", "../alpha").exit_code == 2


def test_no_runs_say_how_to_start_one(root: Path) -> None:
    assert "llamaduo-tui demo" in call("runs").stdout
    assert json.loads(call("runs", "--json").stdout) == []


def test_logs_read_like_the_run_did(make_run: MakeRun) -> None:
    run = make_run([*story.to_approval(), *story.to_end()])
    run.log_file.write_bytes(b"torch says \x1b[31mred\xff\n")
    assert "round 1 finetune  done" in call("logs", "demo").stdout
    assert call("logs", "demo", "--raw").stdout == "torch says ␛[31mred\ufffd\n"
    assert call("logs", "demo", "-f").exit_code == 0


def test_an_interrupt_before_the_worker_says_anything_ends_it(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "llamaduo_tui.control.launch.worker_command", lambda *_: [sys.executable, "-c", "import time; time.sleep(60)"]
    )
    monkeypatch.setattr("llamaduo_tui.control.launch.time", SimpleNamespace(sleep=interrupt))
    file = tmp_path / "mine.toml"
    (tmp_path / "a.jsonl").touch()
    file.write_text('[task]\nname = "mine"\n[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n')
    shown = call("run", str(file), "--headless")
    assert (shown.exit_code, shown.stdout) == (130, "mine has not started; start it: llamaduo-tui resume mine\n")
    assert not psutil.Process().children()


def test_stop_of_a_run_that_does_not_run(make_run: MakeRun) -> None:
    make_run()
    shown = call("stop", "demo")
    assert (shown.exit_code, shown.stdout) == (0, "demo isn't running: it is new\n")


def test_the_report_is_printed_once_there_is_one(make_run: MakeRun) -> None:
    run = make_run()
    early = call("report", "demo")
    assert (early.exit_code, early.stdout) == (2, "")
    assert early.stderr == "error: demo has no report yet: it is written at the end\nhint: llamaduo-tui status demo\n"
    run.report_file.parent.mkdir()
    run.report_file.write_text("# demo: target reached\n\n\x1b[31mred\n")
    shown = call("report", "demo")
    assert (shown.exit_code, shown.stdout) == (0, "# demo: target reached\n\n␛[31mred\n")


def test_a_run_is_deleted_after_a_question_alone(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    (run.folder / "notes.txt").write_text("mine")
    unasked = call("delete", "demo")
    assert unasked.exit_code == 2
    assert "hint: add --yes" in unasked.stderr
    monkeypatch.setattr(runs_commands, "sys", SimpleNamespace(stdin=SimpleNamespace(isatty=lambda: True)))
    asked = CliRunner().invoke(main, ["delete", "demo"], input="n\n")
    assert asked.exit_code == 1
    assert "keeps files that a run does not make: notes.txt" in asked.output
    assert run.settings_file.exists()
    assert "demo is deleted; kept" in CliRunner().invoke(main, ["delete", "demo"], input="y\n").output
    assert [path.name for path in run.folder.iterdir()] == ["notes.txt"]
    make_run(name="other")
    assert call("delete", "other", "--yes").stdout == "other is deleted\n"
    assert call("delete", "other", "--yes").exit_code == 2


def test_new_writes_what_it_never_overwrites(tmp_path: Path) -> None:
    file = tmp_path / "migration.toml"
    assert call("new", str(file)).exit_code == 0
    assert load_settings(file).service.model == "provider/model"
    file.write_text("mine")
    shown = call("new", str(file))
    assert shown.exit_code == 2
    assert file.read_text() == "mine"
    assert call("new", str(tmp_path / "other.toml"), "--preset", "no-such").exit_code == 2


def test_new_takes_a_preset_and_recipes_over(tmp_path: Path) -> None:
    file, yaml = tmp_path / "migration.toml", tmp_path / "recipe.yaml"
    yaml.write_text("model_name_or_path: google/gemma-2b\nlora_r: 8\nlora_alpha: 16\nhub_model_id: \x1b[31mmine\n")
    shown = call("new", str(file), "--preset", "qwen3-1.7b", "--from", str(yaml))
    assert shown.exit_code == 2 and "\x1b" not in shown.output
    yaml.write_text("model_name_or_path: google/gemma-2b\nlora_r: 8\nlora_alpha: 16\nhub_model_id: mine\n")
    shown = call("new", str(file), "--preset", "qwen3-1.7b", "--from", str(yaml))
    assert shown.exit_code == 0
    assert "lora_r -> local.adapter.r = 8" in shown.stdout
    assert "Left out, without a counterpart: hub_model_id" in shown.stdout
    settings = load_settings(file)
    assert (settings.local.model, settings.local.adapter.r, settings.local.adapter.alpha) == ("google/gemma-2b", 8, 16)
    assert settings.finetune.learning_rate == 3e-4  # of the preset
    yaml.write_text("a: &a [1]\nb: *a\n")
    shown = call("new", str(tmp_path / "other.toml"), "--from", str(yaml))
    assert shown.exit_code == 2 and "aliases" in shown.stderr
    assert not (tmp_path / "other.toml").exists()


def test_bad_settings_start_nothing(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "migration.toml"
    file.write_text('[coverage]\nsource = "a.jsonl"\nsorce = 1\n')
    shown = call("run", str(file))
    assert shown.exit_code == 2
    assert "did you mean 'source'" in shown.stderr
    assert "service: is required" in shown.stderr
    assert not root.exists()


@pytest.mark.parametrize(
    "environment, runs, cache",
    [
        ({}, "home/.local/state/llamaduo/runs", "home/.cache/llamaduo"),
        ({"XDG_STATE_HOME": "s", "XDG_CACHE_HOME": "c"}, "s/llamaduo/runs", "c/llamaduo"),
        ({"LLAMADUO_RUNS": "r", "LLAMADUO_CACHE": "k", "XDG_STATE_HOME": "s"}, "r", "k"),
    ],
)
def test_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], runs: str, cache: str
) -> None:
    for name in ("LLAMADUO_RUNS", "LLAMADUO_CACHE", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, value in environment.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    assert paths.runs_dir() == tmp_path / runs
    assert paths.runs_dir(tmp_path / "mine") == tmp_path / "mine"
    located = json.loads(call("locate", "--json").stdout)
    assert (located["runs"], located["cache"]) == (str(tmp_path / runs), str(tmp_path / cache))


def test_runs_and_rounds_are_compared(root: Path) -> None:
    frozen.make(root, "one", "reached", frozen.REACHED)
    found = CliRunner().invoke(main, ["--runs-dir", str(root), "compare", "one@1", "one@2"])
    assert found.exit_code == 0 and re.search(r"^round +1 of 2 +2 of 2$", found.output, re.MULTILINE)
    assert CliRunner().invoke(main, ["--runs-dir", str(root), "compare", "one"]).exit_code == 2
    row = json.loads(CliRunner().invoke(main, ["--runs-dir", str(root), "compare", "one", "one@1", "--json"]).output)
    assert [run["round"] for run in row["runs"]] == [2, 1] and row["settings"] == {}
