import json

import pytest
from msgspec.structs import replace

from engine.evaluation.power import sealed_power
from engine.preflight import console
from engine.preflight.report import DataReport, Finding, ModelChoice, Problem, Report, SplitSize
from engine.protocol import records
from engine.protocol.errors import InputError
from engine.protocol.estimate import PhaseEstimate
from engine.settings.schema import Target
from tests.engine.preflight.estimates import estimate


def data_report(sample: str) -> DataReport:
    sizes = [("train", 6, 1200), ("dev", 2, 400), ("test", 2, 400)]
    return DataReport(
        sources=("a.jsonl",), formats={"chats, JSONL": 12}, rows=12, used=10, dropped=2, duplicates=1,
        reasons=(), notes={}, concerns=(),
        splits=tuple(SplitSize(name=name, rows=rows, tokens=tokens) for name, rows, tokens in sizes),
        categories=3, families=1, related=2, sample=sample,
    )  # fmt: skip


def test_an_estimate_is_a_few_lines() -> None:
    lines = list(console.estimate_lines(estimate()))

    assert lines[1] == "model     135 million parameters; training needs about 2.0 GiB"
    assert lines[2] == "round 0            40 calls        9,000 tokens         $1.50   3 min 5 s"
    assert [line.split("  ")[0] for line in lines[7:11]] == ["round 5", "round 9", "sealed test", "at most"]
    assert lines[10].endswith("$16.50   2 h 10 min, with all 9 rounds")
    assert lines[11] == "a day     at most 440 calls within 24 hours"


def test_calls_a_day_are_those_of_the_busiest_24_hours() -> None:
    hours = (("round 0", 40, 10), ("round 1", 90, 20), ("round 2", 80, 20), ("sealed test", 50, 1))
    phases = tuple(
        PhaseEstimate(name=name, calls=calls, tokens=1, usd=None, seconds=3600 * taken) for name, calls, taken in hours
    )
    assert replace(estimate(), phases=phases).calls_a_day == 90 + 80, "round 2 begins 20 hours after round 1"
    assert replace(estimate(), phases=phases[:1]).calls_a_day == 40
    assert replace(estimate(), phases=()).calls_a_day == 0


def test_a_price_may_be_unknown_and_batches_take_longer() -> None:
    text = "\n".join(console.estimate_lines(estimate(usd=None, batch=True)))

    assert text.count("unknown price") == 9 and "$" not in text
    assert "batches   half the price" in text


def test_a_report_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(
        problems=(Problem(error="no key", hint="export it"), Problem(error="no data", hint="")),
        notes=("a note",),
        estimate=None,
    )
    console.print_report(report, as_json=False)

    assert capsys.readouterr() == ("note      a note\n", "error: no key\nhint: export it\nerror: no data\n")


def test_errors_come_before_the_advice_on_other_models(capsys: pytest.CaptureFixture[str]) -> None:
    choice = ModelChoice(machine="a GPU", data="", models=())
    for problems in ((), (Problem(error="the tensor a is missing", hint="download it"),)):
        console.print_report(Report(problems=problems, notes=(), estimate=None, choice=choice), as_json=False)
        out, err = capsys.readouterr()
        advice = f"presets   {choice.sentences[0]}\n"
        expected = ("", f"error: the tensor a is missing\nhint: download it\n{advice}") if problems else (advice, "")
        assert (out, err) == expected


def test_a_report_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_report(
        Report(problems=(Problem.of(InputError("no key")),), notes=("a",), estimate=estimate()), as_json=True
    )
    out = capsys.readouterr().out
    row = json.loads(out)

    assert records.parse(Report, out.encode()).estimate == estimate(), "the app reads it back"

    assert row["problems"] == [{"error": "no key", "hint": "", "exit_status": 2}] and row["notes"] == ["a"]
    assert row["estimate"]["phases"][0] == {
        "name": "round 0", "calls": 40, "tokens": 9000, "usd": 1.5, "seconds": 185, "stages": [],
    }  # fmt: skip


def test_the_data_is_shown_with_a_sample(capsys: pytest.CaptureFixture[str]) -> None:
    data = data_report(sample="\n".join(["[user]", "\x1b[2J" + "x" * 200, *map(str, range(30)), "[assistant]", "bug"]))
    console.print_report(Report(problems=(), notes=(), estimate=None, data=data), as_json=False)
    lines = capsys.readouterr().out.splitlines()

    assert lines[:2] == ["source    a.jsonl", "format    chats, JSONL: 12 rows"]
    assert "train     6 rows, about 1,200 tokens" in lines and "sealed    2 rows, about 400 tokens" in lines
    sample = lines[lines.index("sample    a pair as the local model will see it:") + 1 :]
    assert len(sample) == console.SAMPLE_LINES and sample[0] == "  | [user]" and sample[-1] == "  | bug"
    assert sample[1].startswith("  | ␛[2Jx") and len(sample[1]) < 110
    assert "  | … 23 more lines …" in sample


def test_scripts_get_the_data_too(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(problems=(), notes=(), estimate=None, data=data_report(sample="x"))
    console.print_report(report, as_json=True)
    out = capsys.readouterr().out

    assert records.parse(Report, out.encode()) == report
    assert json.loads(out)["data"]["splits"][0] == {
        "name": "train", "rows": 6, "tokens": 1200, "units": 0, "unit": "prompt",
    }  # fmt: skip


def test_findings_for_people_and_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [Finding(name="torch", state="missing", detail="pip install torch")]
    console.print_findings(findings, as_json=False)
    console.print_findings(findings, as_json=True)
    lines = capsys.readouterr().out.splitlines()

    assert lines[0] == "missing  torch         pip install torch"
    assert json.loads("".join(lines[1:])) == [{"name": "torch", "state": "missing", "detail": "pip install torch"}]


def test_what_the_sealed_test_can_show_is_said_before_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    told = sealed_power(Target(), 8, unit="conversation", rows_per_unit=20)
    size = SplitSize(name="test", rows=40, tokens=9, units=8, unit="conversation")
    data = replace(data_report(sample=""), splits=(size,))
    report = Report(problems=(), notes=(), estimate=None, data=data, power=told)
    console.print_report(report, as_json=False)
    lines = capsys.readouterr().out.splitlines()

    assert "sealed    40 prompts of 8 conversations, about 9 tokens" in lines
    first, second = [line for line in lines if line.startswith("power     ")]
    assert first.startswith(
        "power     With 8 sealed conversations, not even the best model is recognised in 80% of runs"
    )
    assert "more sealed conversations" in second
    console.print_report(report, as_json=True)
    assert records.parse(Report, capsys.readouterr().out.encode()) == report, "scripts and the app get it, too"
