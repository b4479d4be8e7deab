import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from engine.local.template import ensure_chat_template
from engine.preflight import check
from engine.preflight.report import SplitSize
from engine.protocol.rows import Pair
from engine.sandbox import tickets
from engine.settings.load import load_settings
from engine.settings.schema import Migration
from engine.settings.template import render
from tests.engine.preflight.test_console import data_report
from tests.tiny import make_model, make_tokenizer


def settings(**tables: Any) -> Migration:
    return Migration.model_validate({"coverage": {"source": "a.jsonl"}, "service": {"model": "sandbox"}, **tables})


def file_of(folder: Path, source: str, service: str = 'model = "sandbox"') -> Path:
    file = folder / "migration.toml"
    file.write_text(f'[coverage]\nsource = "{source}"\n[service]\n{service}\n')
    return file


def test_coverage_responses_that_break_the_contract_are_counted() -> None:
    rows = tickets.rows(seed=1, count=5)
    pairs = [Pair(id=f"p{n}", messages=row["messages"], source=f"a.jsonl:{n}") for n, row in enumerate(rows, start=1)]
    plain = replace(pairs[2], messages=[pairs[2].messages[0], {"role": "assistant", "content": "Bug!"}])
    as_json = settings(task={"contract": {"format": "json"}})

    assert list(check.breach_note(as_json, pairs)) == []
    (note,) = check.breach_note(as_json, [*pairs, plain])
    assert note.startswith("1 of 6 coverage responses break the contract; the first is a.jsonl:3: not JSON")


def test_too_few_prompts_are_reported_before_they_cost() -> None:
    def notes(dev: int, sealed: int, unit: str = "prompt", **target: Any) -> list[str]:
        sizes = [
            SplitSize(name=name, rows=200, tokens=1, units=units, unit=unit)
            for name, units in (("train", 100), ("dev", dev), ("test", sealed))
        ]
        return list(check.size_notes(settings(target=target), replace(data_report(""), splits=tuple(sizes))))

    assert notes(29, 19) == []
    assert notes(28, 18) == [
        "18 sealed prompts are too few to show that the target is reached, even with perfect scores: it takes 19",
        "28 dev prompts are too few to open the sealed test before the last round, even with perfect scores: it takes "
        "29",
    ]
    assert notes(29, 1, "conversation") == [
        "1 sealed conversation is too few to show that the target is reached, even with perfect scores: it takes 19; "
        "add more conversations, as rows of the same one count once"
    ]
    (never,) = notes(10_000, 10, precision=100)
    assert never.startswith("no number of prompts can show that this target is reached")


def test_a_judge_that_is_the_service_is_named_with_another_way() -> None:
    def notes(service: str, *judges: str) -> list[str]:
        return list(check.judge_note(settings(service={"model": service}, judge={"models": list(judges)})))

    (own,) = notes("openai/gpt-4o")
    assert own == (
        "openai/gpt-4o judges answers against its own earlier ones, and judges favour their own style: name another "
        "model in [judge] models"
    )
    assert notes("openai/gpt-4o", "openai/gpt-4o", "gemini/gemini-2.5-pro") == [own]
    (elsewhere,) = notes("openai/gpt-4o", "azure/GPT-4o")
    assert elsewhere.startswith("azure/GPT-4o judges answers against its own")
    assert notes("openai/gpt-4o", "openai/gpt-4o-mini") == notes("sandbox") == []


def test_a_base_model_is_named_as_one() -> None:
    (note,) = check.base_note(settings(local={"model": "google/gemma-2b"}))
    assert note.startswith("google/gemma-2b is a base model")
    assert not list(check.base_note(settings(local={"model": "google/gemma-3-1b-it"})))
    assert not list(check.base_note(settings(local={"model": "somebody/else"})))


def test_what_a_new_file_waits_for_is_the_only_problem(tmp_path: Path) -> None:
    (tmp_path / "new.toml").write_text(render())
    report = check.check(tmp_path / "new.toml", lambda _: None)
    (problem,) = report.problems
    assert problem.error == "still to be filled in: coverage.source, service.model"
    assert not report.notes


def test_settings_that_cannot_be_read_are_the_only_problem(tmp_path: Path) -> None:
    report = check.check(tmp_path / "none.toml", print)

    assert [problem.error for problem in report.problems] == [f"{tmp_path / 'none.toml'}: no such file"]
    assert (report.notes, report.estimate, report.exit_status) == ((), None, 2)


def test_a_missing_chat_template_is_noted() -> None:
    tokenizer = make_tokenizer(None)
    ensure_chat_template(tokenizer)
    (note,) = check.missing_template_note(tokenizer)
    assert "no chat template" in note and "chat_template.jinja" in note
    assert not list(check.missing_template_note(make_tokenizer()))


def test_notes_survive_an_error_and_problems_are_reported_together(tmp_path: Path) -> None:
    good = {"prompt": "Where is it?", "response": "shipping"}
    (tmp_path / "a.jsonl").write_text(f"{json.dumps(good)}\nbroken\n")
    report = check.check(file_of(tmp_path, "a.jsonl", 'model = "gpt-4o"'), print)

    assert report.data is not None and (report.data.rows, report.data.used, report.data.dropped) == (2, 1, 1)
    (reason,) = report.data.reasons
    assert (reason.kind, reason.detail) == ("invalid JSON", "Expecting value (column 1)")
    key, split = [problem.error for problem in report.problems]
    assert "no API key" in key and "split is empty: 1 usable row is too few" in split
    assert report.estimate is None and report.exit_status == 2
    assert report.choice is not None and report.choice.data.startswith("1 pair, the longest about ")


def test_rows_that_the_model_cannot_show_count_for_the_choice_of_another(tmp_path: Path) -> None:
    """Each row has a tool, which the tiny model's template leaves out: others are proposed for what was dropped."""
    make_model(tmp_path / "tiny")
    turns = [{"role": "user", "content": "Where is it?"}, {"role": "assistant", "content": "shipping"}]
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": turns, "tools": [tool]}))
    file = file_of(tmp_path, "a.jsonl")
    file.write_text(file.read_text() + f'[local]\nmodel = "{tmp_path / "tiny"}"\n')
    report = check.check(file, print)
    assert report.data is None and "choose a model in local.model" in report.problems[0].hint
    assert report.choice is not None and "1 with tools" in report.choice.data
    assert {model.name: model.advice for model in report.choice.models}["smollm2-1.7b"] == "unsuited"
    assert any(line.startswith("try first: ") for line in report.choice.sentences)


def test_wrong_data_is_reported_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": 1}\n' * 3)
    file = file_of(tmp_path, "a.jsonl")
    code = (
        "import sys\nfrom pathlib import Path\nfrom engine.preflight.check import check\n"
        f"report = check(Path({str(file)!r}), print)\n"
        "print([p.error for p in report.problems])\n"
        "print(sorted({'torch', 'transformers', 'datasets', 'accelerate', 'trl'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    problems, heavy = out.splitlines()
    assert "all 3 rows are unusable" in problems and heavy == "[]"


def test_ctrl_c_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(check, "check", interrupted)
    monkeypatch.setattr("sys.argv", ["check", "m.toml"])
    assert check.main() == 130
    assert capsys.readouterr() == ("", "stopped: nothing was started\n")


def test_a_test_message_is_sent_and_its_failure_is_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, said = file_of(tmp_path, "a.jsonl"), tmp_path / "said"
    assert check.send_test(file) == 0 and "no targets" in capsys.readouterr().out
    plain = file.read_text()
    file.write_text(f"{plain}[notify]\ncommand = \"sh -c 'cat > {said}'\"\n")
    assert check.send_test(file) == 0
    assert said.read_text().startswith("migration: a test message") and "command: sent" in capsys.readouterr().out
    file.write_text(f'{plain}[notify]\nwebhook = "http://127.0.0.1:1/$ABSENT_HOOK"\n')
    assert check.send_test(file) == 1 and "ABSENT_HOOK is not in the environment" in capsys.readouterr().err
    (note,) = check.notify_note(load_settings(file))
    assert note == "[notify]: ABSENT_HOOK is not in the environment: no message is sent there"
