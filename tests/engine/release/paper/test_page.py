"""The paper of a whole run: what it says, that nothing in it runs, and that the run's record still holds."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from msgspec.structs import replace

from engine.protocol import jsonl, records
from engine.protocol.decision import FinalDecision, Interval, Part, Rule
from engine.protocol.release import HEADING, Cause, Check, Difference, Gate, Result, report_text
from engine.protocol.rows import RESPONSES_FILE, VERDICTS_FILE
from engine.protocol.run_dir import Run
from engine.release.paper.facts import facts_of
from engine.release.paper.page import paper, write_pages
from engine.verify import checks
from engine.verify.verification import verify
from tests.engine.release.paper.test_html import Reader

HOSTILE = "</pre></bdi><script>alert(1)</script>\"'><img src=x onerror=alert(2)>\N{RIGHT-TO-LEFT OVERRIDE}&lt;\x1b[31m"
LOADING = {"script", "img", "iframe", "link", "object", "embed", "base", "form", "a", "image", "use"}


def gate(name: str, *, passed: bool = True, detail: str = "fine") -> Gate:
    bad = Check(cause=Cause.TEMPLATE, result=Result.PASSED if passed else Result.FAILED, detail=detail)
    found = Interval(mean=0.0 if passed else -3.0, low=-0.5 if passed else -6.0, high=0.5)
    return Gate(
        artefact=name,
        engine="llama.cpp",
        passed=passed,
        reason=f"as it is: {detail}",
        checks=(bad, Check(cause=Cause.MODELFILE, result=Result.DOES_NOT_APPLY, detail="none")),
        margin=1.0,
        risk=0.05,
        prompts=40,
        families=40,
        identical=40 if passed else 30,
        precision=found,
        similarity=found,
        differences=() if passed else (Difference(id="p", adapter=detail, served=detail, adapter_score=90.0),),
    )


def release(run: Run, *gates: Gate) -> None:
    for one in gates:
        folder = run.release / one.artefact
        folder.mkdir(parents=True)
        jsonl.write_json(folder / "gate.json", one.to_row())


def said(page: str) -> str:
    return " ".join(" ".join(Reader(page).words).split())


def test_the_run_still_holds_and_the_report_has_the_release_behind_it(finished: Run) -> None:
    release(finished, gate("gguf-q8_0"), gate("safetensors", passed=False))
    before = {path: path.read_bytes() for path in finished.final.rglob("*") if path.is_file()}
    write_pages(finished)
    first = {path: path.read_bytes() for path in finished.release.iterdir() if path.is_file()}
    write_pages(finished)
    assert {path: path.read_bytes() for path in finished.release.iterdir() if path.is_file()} == first
    assert {path: path.read_bytes() for path in finished.final.rglob("*") if path.is_file()} == before
    assert verify(finished).holds
    text = report_text(finished)
    assert text.startswith(finished.report_file.read_text().partition(HEADING)[0].rstrip())
    assert text.count(f"\n{HEADING}\n") == 1 and "### gguf-q8_0: released" in text and "llamaduo-tui serve" not in text


def test_a_changed_page_is_noticed(finished: Run) -> None:
    release(finished, gate("gguf-q8_0"))
    write_pages(finished)
    done = subprocess.run(["sha256sum", "--check", "SHA256SUMS"], cwd=finished.release, capture_output=True)
    assert done.returncode == 0 and done.stdout.count(b": OK") == 2
    page = finished.release / "REPORT.html"
    page.write_text(page.read_text().replace("target not reached", "target reached"))
    verified = verify(finished)
    assert [problem.file for problem in verified.problems] == ["release/REPORT.html"]
    assert {check.name for check in verified.checks if check.problems} == {checks.RELEASE}


def test_it_says_what_the_report_says(finished: Run) -> None:
    release(finished, gate("gguf-q8_0"), gate("safetensors", passed=False, detail="another template"))
    worth = (("1,000 requests by the service", "$2.40", "list price"), ("break-even", "9 days", "12,000 a day"))
    facts = facts_of(finished, worth)
    page = paper(facts)
    words, report = said(page), finished.report_file.read_text()
    for one in facts.rounds:
        figure = f"{one.precision.mean:.1f} ({one.precision.low:.1f} to {one.precision.high:.1f})"
        assert figure in words and figure in report
    assert facts.final.told in words and "target not reached" in words
    assert all(row.name in words for row in facts.kinds) and len(facts.kinds) > 1
    assert "$2.40 list price" in words and "1 of 2 artefacts released" in words
    assert "safetensors was refused As it is: another template" in words and "✗ failed another template" in words
    assert "takeover mini --roll-back" in words and facts.status.record in words
    assert facts.worst and all(one.prompt.split("\n")[0] in words for one in facts.worst)
    assert "Read this first The service was the sandbox" in words
    assert page.count("<svg") == page.count("</svg>") >= 5 + 2 * 2 + len(facts.kinds)


def test_nothing_hostile_runs_or_loads(finished: Run, tmp_path: Path) -> None:
    run = Run(Path(shutil.copytree(finished.folder, tmp_path / 'a"><script>')))
    for path in (run.final / "infer" / RESPONSES_FILE, run.final / "judge" / VERDICTS_FILE):
        rows = list(jsonl.read(path))
        for row in rows:
            row |= {key: HOSTILE for key in ("target", "response", "precision_reason") if key in row}
            row |= {"prompt": [{"role": "user", "content": HOSTILE}]} if "prompt" in row else {}
        jsonl.write(path, rows)
    release(run, gate("gguf-q8_0"), gate("lora", passed=False, detail=HOSTILE))
    facts = replace(facts_of(run, ((HOSTILE, HOSTILE, HOSTILE),)), kinds=[])
    service = facts.settings.service.model_copy(update={"model": HOSTILE})
    page = paper(replace(facts, settings=facts.settings.model_copy(update={"service": service})))
    read = Reader(page)
    assert not LOADING & set(read.tags)
    assert not [name for name, _ in read.attributes if name.startswith("on") or name in ("href", "src", "style")]
    assert "alert(1)" in said(page) and "\x1b" not in page and "\N{RIGHT-TO-LEFT OVERRIDE}" not in page
    assert "http" not in page.replace("http-equiv", "").replace("over HTTP", "")


def test_a_part_that_may_move_is_shown_as_such(finished: Run) -> None:
    facts = facts_of(finished)
    points = Interval(mean=96.0, low=91.0, high=99.0)
    part = Part(
        rule=Rule(signal="contract", threshold=1.0), share=0.62, share_low=0.5, precision=points, similarity=points,
        relative=False, answers=40, moved=25, prompts=40, families=40, risk=0.05, certified=True, reason="A part may.",
    )  # fmt: skip
    final: FinalDecision = replace(facts.final, part=part)
    words = said(paper(replace(facts, final=final)))
    assert "62% of the answers may move certified part" in words
    assert "■ local model 62% □ service 38%" in words and "least share for prompts like these, 50%" in words
    assert "The local model gives answers that keep the contract; the service gives the others." in words
    not_shown = said(paper(replace(facts, final=replace(final, part=replace(part, certified=False)))))
    assert "0% of the answers may move" in not_shown and "Nothing is released yet." in not_shown


def test_rows_of_a_run_survive_what_older_versions_left_out(finished: Run) -> None:
    """As in a run of format 1: no record, no manifests, no verdicts."""
    for path in [*finished.folder.rglob("manifest.json"), finished.folder / "record.json"]:
        path.unlink()
    shutil.rmtree(finished.final / "judge")
    release(finished, gate("gguf-q8_0"))
    write_pages(finished)
    assert "<h2>Worst answers</h2>" not in (finished.release / "REPORT.html").read_text()
    assert records.to_row(facts_of(finished).final) == records.to_row(finished.final_decision())
