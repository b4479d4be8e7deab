import json

import pytest

from engine.preflight import console
from engine.preflight.report import Finding, Problem, Report
from engine.protocol import records
from engine.protocol.errors import InputError
from tests.engine.preflight.estimates import estimate


def test_an_estimate_is_a_few_lines() -> None:
    lines = list(console.estimate_lines(estimate()))

    assert lines[0] == "data      40 train, 64 dev and 56 sealed test pairs"
    assert lines[2] == "model     135 million parameters; training needs about 2.0 GiB"
    assert lines[3] == "round 0            40 calls        9,000 tokens         $1.50   3 min 5 s"
    assert [line.split("  ")[0] for line in lines[8:12]] == ["round 5", "round 9", "sealed test", "at most"]
    assert lines[11].endswith("$16.50   2 h 10 min, with all 9 rounds")


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

    assert capsys.readouterr() == ("", "a note\nerror: no key\nhint: export it\nerror: no data\n")


def test_a_report_for_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    console.print_report(
        Report(problems=(Problem.of(InputError("no key")),), notes=("a",), estimate=estimate()), as_json=True
    )
    out = capsys.readouterr().out
    row = json.loads(out)

    assert records.parse(Report, out.encode()).estimate == estimate(), "the app reads it back"

    assert row["problems"] == [{"error": "no key", "hint": "", "exit_status": 2}] and row["notes"] == ["a"]
    assert row["estimate"]["phases"][0] == {
        "name": "round 0", "calls": 40, "tokens": 9000, "usd": 1.5, "seconds": 185,
    }  # fmt: skip


def test_findings_for_people_and_scripts(capsys: pytest.CaptureFixture[str]) -> None:
    findings = [Finding(name="torch", state="missing", detail="pip install torch")]
    console.print_findings(findings, as_json=False)
    console.print_findings(findings, as_json=True)
    lines = capsys.readouterr().out.splitlines()

    assert lines[0] == "missing  torch         pip install torch"
    assert json.loads("".join(lines[1:])) == [{"name": "torch", "state": "missing", "detail": "pip install torch"}]
