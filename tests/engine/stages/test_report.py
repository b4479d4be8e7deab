import asyncio
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from engine.evaluation.prompt_scores import by_prompt
from engine.evaluation.scores import SplitScores, plain
from engine.evaluation.sealed import settle
from engine.protocol import jsonl, records
from engine.protocol.decision import Decision, Drift, GroupScore, Interval, Reviews, Shares
from engine.protocol.manifest import Manifest, finish, manifest
from engine.protocol.rows import Response, SecondVerdict, Verdict
from engine.protocol.run_dir import Run
from engine.protocol.stages import REPORT
from engine.service.client import Usage
from engine.settings.schema import Migration
from engine.stages import report
from engine.stages.base import Job, Recorder

SHARE = Shares(precision=0.75, similarity=0.5)


def scores(precision: float, similarity: float) -> SplitScores:
    precision_, similarity_ = (Interval(mean=x, low=x - 2, high=x + 2) for x in (precision, similarity))
    return SplitScores(
        precision=precision_,
        similarity=similarity_,
        coverage_50=SHARE,
        coverage_70=SHARE,
        prompts=20,
        verdicts=40,
        errors=0,
    )


GOOD, BAD = scores(90, 80), scores(60, 50)
REACHED = Decision(round=1, outcome="gate", reason="Both pass.", **plain(GOOD), best_round=1, next=None)


def settings(**tables: Any) -> Migration:
    base = {"coverage": {"source": "a.jsonl"}, "service": {"model": "gpt-4o"}, "local": {"model": "my_model"}}
    return Migration.model_validate(base | tables)


def respond(id_: str, prompt: str, target: str, response: str) -> Response:
    return Response(
        id=id_,
        sample=0,
        prompt=[{"role": "user", "content": prompt}],
        target=target,
        response=response,
        finish_reason="stop",
        prompt_tokens=3,
        completion_tokens=2,
        model="m",
        adapter="",
    )


def judged(id_: str, score: float | None, reason: str = "fine") -> Verdict:
    return Verdict(
        id=id_,
        sample=0,
        repeat=0,
        judge="j",
        similarity=score,
        precision=score,
        similarity_reason="",
        precision_reason=reason,
        error="" if score is not None else "unreadable",
    )


def write(
    folder: Path,
    responses: list[Response],
    verdicts: list[Verdict],
    groups: tuple[tuple[GroupScore, ...], ...] = ((), ()),
    without: Collection[str] = (),
    decision: Decision = REACHED,
    **tables: Any,
) -> str:
    run = Run(folder / "demo")
    jsonl.write(run.final / "infer" / "responses.jsonl", (row.to_row() for row in responses))
    jsonl.write(run.final / "judge" / "verdicts.jsonl", (row.to_row() for row in verdicts))
    first = Decision(
        round=0, outcome="continue", reason="Short.", **plain(BAD), best_round=0, next=None, groups=groups[0]
    )
    for number, known in enumerate((first, replace(decision, groups=groups[1]))):
        jsonl.write_json(run.decision_file(number), records.to_row(known))
    counts = {"pairs": 120, "dev_loss": 0.51234}
    trained = Manifest(
        stage="finetune", inputs={}, settings="", seed=1, counts=counts, seconds=125, peak_memory_bytes=2**31
    )
    finish(run.round(1) / "finetune", trained)
    found = settings(**tables)
    sealed = replace(GOOD, by_prompt=tuple(by_prompt([row for row in verdicts if row.id not in without])))
    usage = Usage(calls=1234, cached_calls=5, prompt_tokens=1_000_000, completion_tokens=2_000, cost_usd=3.456)
    job = Job(run=run, settings=found, round=None, folder=run.final, emit=lambda _: None)
    final = settle(decision, sealed, found.target)
    done = Recorder(REPORT, job).finish(
        asyncio.run(report.run(job, usage=usage, decision=decision, final=final, sealed=sealed))
    )
    assert manifest(run.final) == done and done.counts == {"rounds": 1, "best_round": 1, "state": "reached"}
    assert set(done.inputs) == {"round-00/decision.json", "round-01/decision.json", "final/judge/verdicts.jsonl"}
    return run.report_file.read_text()


def test_a_report_for_somebody_who_did_not_watch(tmp_path: Path) -> None:
    ids = [f"p{n}" for n in range(8)]
    responses = [respond(id_, f"prompt of {id_}", f"target of {id_}", f"answer to {id_}") for id_ in ids]
    text = write(tmp_path, responses, [judged(id_, 10.0 * n + 10) for n, id_ in enumerate(ids)])

    assert text.startswith("# demo: target reached\n")
    assert "**Target reached**: my\\_model, tuned in round 1, can take over this task." in text
    for command in ("release demo ", "serve demo ", "takeover demo --mode shadow ", "drill demo "):
        assert f"    llamaduo-tui {command}" in text
    assert "On 20 prompts that were sealed until the end, it scored 90.0 (88.0 to 92.0) in precision" in text
    assert "| 0 | untuned | 60.0 (58.0 to 62.0) | 50.0 (48.0 to 52.0) | 75% | 75% |  |  |" in text
    assert "| 1 | 120 | 90.0 (88.0 to 92.0) | 80.0 (78.0 to 82.0) | 75% | 75% | 0.512 | best |" in text
    order = [text.index(f"prompt of {id_}") for id_ in ("p7", "p6", "p5", "p0", "p1", "p2")]
    assert order == sorted(order) and "prompt of p3" not in text and "prompt of p4" not in text
    assert "<td><pre>target of p7</pre></td><td><pre>answer to p7</pre></td>" in text
    assert "1,234 service calls were paid, 5 more were answered from the ledger, free;" in text
    assert "; 1,000,000 tokens in, 2,000 out; $3.46." in text
    assert "| fine-tuning | 2 min 5 s |" in text and "2.0 GiB" in text
    assert "sandbox" not in text


def test_the_sandbox_is_never_passed_off_as_a_service(tmp_path: Path) -> None:
    text = write(tmp_path, [respond("a", "p", "t", "r")], [judged("a", 50)], service={"model": "sandbox"})

    assert "**The service was the sandbox**" in text
    assert "### Best 1" in text and "### Worst" not in text


def test_unreadable_verdicts_are_no_examples(tmp_path: Path) -> None:
    responses = [respond("a", "prompt a", "t", "r"), respond("b", "prompt b", "t", "r")]
    text = write(tmp_path, responses, [judged("a", None), judged("b", 50)])

    assert "prompt b" in text and "prompt a" not in text


def test_prompts_that_left_the_scores_are_no_examples(tmp_path: Path) -> None:
    responses = [respond("a", "prompt a", "t", "r"), respond("b", "prompt b", "t", "r")]
    text = write(tmp_path, responses, [judged("a", 50), judged("b", 50)], without={"a"})

    assert "prompt b" in text and "prompt a" not in text


def test_a_judge_that_people_disagree_with_is_told_beside_the_verdict(tmp_path: Path) -> None:
    doubted = Reviews(
        n=20,
        agreed=3,
        scored=20,
        kappa_precision=0.2,
        kappa_similarity=0.3,
        warning="judge and reviewers agree too little (kappa 0.20)",
        precision=None,
        similarity=None,
    )
    text = write(tmp_path, [respond("a", "p", "t", "r")], [judged("a", 50)], decision=replace(REACHED, reviews=doubted))

    told = text.splitlines()[2]
    assert told.endswith(
        "**Careful**: judge and reviewers agree too little (kappa 0.20); all scores in this report are the judge's."
    )


def test_the_bounds_are_called_what_they_are(tmp_path: Path) -> None:
    text = write(tmp_path, [respond("a", "p", "t", "r")], [judged("a", 50)], target={"confidence": 0.9})

    assert (
        "Brackets show a lower and an upper bound of the mean on prompts like these; each bound has a risk of 10%."
        in text
    )
    assert "precision 85 and similarity 75; the lower bounds on sealed prompts decide. Brackets show bounds" in text
    assert "at most 10% are reported to reach it, if the 20 prompts are independent draws of the task" in text


HOSTILE = "``` ````\n# Not a heading\n</pre></td><script>alert(1)</script>\n\n[x](http://y)"
HOSTILE += " \x1b]52;c;aGk=\x07 \u202eevil \ud83d"


def test_hostile_text_stays_in_its_place(tmp_path: Path) -> None:
    text = write(tmp_path, [respond("a", HOSTILE, HOSTILE, HOSTILE)], [judged("a", 50, HOSTILE)])

    assert not set("\x1b\x07\u202e\ud83d\r") & set(text)
    before, fenced = text.split("`````text\n")
    prompt, after = fenced.split("\n`````\n")
    assert "<script>" not in before + after
    assert prompt.startswith("``` ````\n# Not a heading\n</pre>")
    (table,) = [line for line in text.splitlines() if line.startswith("<table>")]
    assert table.endswith("</table>") and "&lt;script&gt;" in table and table.count("</pre>") == 2
    (reason,) = [line for line in text.splitlines() if line.startswith("Judge: ")]
    assert r"\`\`\`" in reason and r"\<script\>" in reason and r"\[x\]" in reason


def test_long_texts_are_cut_and_other_scripts_kept(tmp_path: Path) -> None:
    wide = "日本\u3000語 e\u0301 👩\u200d🔬\u00a0!\r\nnext"
    text = write(tmp_path, [respond("a", wide, "y" * 10_000, "r")], [judged("a", 50)])

    assert "日本\u3000語 e\u0301 👩\u200d🔬\u00a0!\nnext" in text
    assert "y" * 1500 + " …</pre>" in text and "y" * 1501 not in text


def test_what_agreeing_verdicts_spared_is_told(tmp_path: Path) -> None:
    counts = {"verdicts": 70, "errors": 5, "spared": 25}
    judged_ = Manifest(stage="judge", inputs={}, settings="", seed=1, counts=counts, seconds=1)
    finish(tmp_path / "demo" / "round-01" / "judge", judged_)
    text = write(tmp_path, [respond("a", "p", "t", "r")], [judged("a", 50)])

    assert "25% of the planned verdicts were saved: the first ones agreed." in text


def test_broken_contracts_are_told_by_round(tmp_path: Path) -> None:
    for folder, broken in (("round-00", 7), ("round-01", 0), ("final", 2)):
        for stage, counts in (("infer", {"responses": 20}), ("judge", {"verdicts": 13, "errors": 0, "broken": broken})):
            done = Manifest(stage=stage, inputs={}, settings="", seed=1, counts=counts, seconds=1)
            finish(tmp_path / "demo" / folder / stage, done)
    text = write(tmp_path, [respond("a", "p", "t", "r")], [judged("a", 50)])

    assert "being judged: 7 of 20 in round 0, 0 of 20 in round 1, 2 of 20 in the sealed test." in text


def test_which_kinds_got_better_is_told_by_round(tmp_path: Path) -> None:
    broken = GroupScore(name="contract: not JSON", prompts=2, precision=1, similarity=1)
    before = (
        broken,
        GroupScore(name="bill|ing", prompts=4, precision=20, similarity=20),
        GroupScore(name="bug", prompts=9, precision=90, similarity=90),
    )
    after = (
        GroupScore(name="bug", prompts=9, precision=88, similarity=88),
        GroupScore(name="bill|ing", prompts=4, precision=75, similarity=75),
    )
    text = write(tmp_path, [respond("a", "p", "t", "r")], [judged("a", 50)], (before, after))

    lines = text.splitlines()
    assert "| kind of prompt | prompts | round 0 | round 1 | gain |" in lines
    assert lines.index("| bill\\|ing | 4 | 20.0 | 75.0 | +55.0 |") < lines.index("| bug | 9 | 90.0 | 88.0 | -2.0 |")
    assert "not JSON" not in text


def test_one_kind_is_no_table(tmp_path: Path) -> None:
    text = write(tmp_path, [respond("a", "p", "t", "r")], [judged("a", 50)])

    assert "kind of prompt" not in text


def test_the_judge_and_the_models_that_answered_are_told(tmp_path: Path) -> None:
    """As a run leaves it: two rounds and the sealed test, in which the judge scores three points less."""
    run = Run(tmp_path / "demo")
    again = [SecondVerdict(first=judged(f"p{n}", 60), again=judged(f"p{n}", 57)) for n in range(20)]
    jsonl.write(run.final / "judge" / "drift.jsonl", (row.to_row() for row in again))
    with closing(sqlite3.connect(run.ledger_file)) as ledger, ledger:
        ledger.execute(
            "CREATE TABLE calls (model TEXT, answered REAL, answered_by TEXT, fingerprint TEXT, prompt_tokens INT)"
        )
        rows = [("gpt-4o", 10.0, "gpt-4o-05", "fp_1", 9), ("gpt-4o", 90_000.0, "gpt-4o-08", "fp_2", 9)]
        ledger.executemany("INSERT INTO calls VALUES (?, ?, ?, ?, ?)", rows)
    even = Interval(mean=0.3, low=-0.5, high=1.1)
    same = Drift(judge="gpt-4o", answers=20, missing=0, precision=even, similarity=even, shifted=False)
    text = write(tmp_path, [respond("a", "p", "t", "r")], [judged("a", 50)], decision=replace(REACHED, drift=(same,)))

    own = "gpt-4o judged answers against its own earlier ones; judges favour their own style."
    assert f"gpt-4o compared its answers with the recorded responses. {own} Brackets show" in text
    assert "**Careful**: j scored otherwise than in round 0 when it judged this" in text
    assert "| round 1 | gpt-4o | 20 | +0.3 ± 0.8 | +0.3 ± 0.8 | no shift beyond noise |" in text
    assert "| the sealed test | j | 20 | -3.0 ± " in text and "| **a shift** |" in text
    assert (
        "| gpt-4o | gpt-4o-05 | fp\\_1 | 1 |" in text
        and "**Careful**: gpt-4o changed during the run: gpt-4o-05" in text
    )
    assert text.index("## Rounds") < text.index("Judge drift") < text.index("## Which models answered")


def test_answers_that_were_cut_are_told_by_round(tmp_path: Path) -> None:
    for folder, cut in (("round-00", 0), ("round-01", 3), ("final", 1)):
        done = Manifest(stage="infer", inputs={}, settings="", seed=1, counts={"responses": 20, "cut": cut}, seconds=1)
        finish(tmp_path / "demo" / folder / "infer", done)
    text = write(tmp_path, [respond("a", "p", "t", "r")], [judged("a", 50)])

    assert "token limit: 0 of 20 in round 0, 3 of 20 in round 1, 1 of 20 in the sealed test;" in text
    assert "raise inference.max_new_tokens" in text
