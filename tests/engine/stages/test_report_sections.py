from dataclasses import replace
from pathlib import Path

from engine.protocol import jsonl
from engine.protocol.decision import Change, Changes, Decision, Interval, Reviews, Shares
from engine.protocol.rows import Response
from engine.protocol.run_dir import Run
from engine.settings.schema import Migration
from engine.stages import report_sections

SHARE = Shares(precision=1.0, similarity=1.0)
EVEN = Interval(mean=80, low=70, high=90)
DECISION = Decision(
    round=2,
    outcome="plateau",
    reason="No gain.",
    precision=EVEN,
    similarity=EVEN,
    coverage_50=SHARE,
    coverage_70=SHARE,
    prompts=20,
    verdicts=40,
    errors=0,
    best_round=1,
    next=None,
)
SETTINGS = Migration.model_validate({"coverage": {"source": "a.jsonl"}, "service": {"model": "gpt-4o"}})


def test_the_error_rate_is_told_in_full() -> None:
    text = report_sections.error_rate(SETTINGS, DECISION)

    assert "at most 5.0% of migrations like this one are reported to reach a target that they miss" in text
    assert "5 evaluations on the dev prompts" in text and "1.00% each; 3 took place, which used 3.0%" in text


def test_prompts_without_a_verdict_are_told() -> None:
    unread = replace(DECISION, unjudged=2)

    assert "2 prompts have no readable verdict; the intervals are valid" in report_sections.error_rate(SETTINGS, unread)
    assert "no readable verdict" not in report_sections.error_rate(SETTINGS, DECISION)


def test_prompts_that_are_missing_are_told_as_rows() -> None:
    assert report_sections.missing_rows(SETTINGS, DECISION) == []
    (text,) = report_sections.missing_rows(SETTINGS, replace(DECISION, more_prompts=9))

    assert "about 9 more dev prompts" in text and "20% of the coverage rows" in text and "add about 45 rows" in text


def test_flagged_prompts_are_named() -> None:
    assert report_sections.flagged(DECISION) == []
    (text,) = report_sections.flagged(replace(DECISION, flagged=("a1", "<b>")))
    assert text.startswith("2 dev prompts are excluded") and "as bad: a1, \\<b\\>. The error rate" in text


def test_what_got_worse_comes_first_with_its_prompt(tmp_path: Path) -> None:
    run = Run(tmp_path)
    rows = [
        Response(
            id=f"p{n}",
            sample=0,
            prompt=[{"role": "user", "content": f"[do] | {n}\n" + "y" * 200}],
            target="t",
            response="r",
            finish_reason="stop",
            prompt_tokens=1,
            completion_tokens=1,
            model="m",
            adapter="a",
        )
        for n in range(9)
    ]
    jsonl.write(run.round(2) / "infer" / "responses.jsonl", (row.to_row() for row in rows))
    worse = tuple(Change(id=f"p{n}", before=90, after=40) for n in range(7))
    changes = Changes(
        against=1,
        precision=Interval(mean=-3.5, low=-9, high=2),
        similarity=Interval(mean=1, low=0, high=2),
        improved=(Change(id="p8", before=10, after=95),),
        regressed=worse,
        prompts=20,
    )
    _, text, lost, won = report_sections.changes(run, replace(DECISION, changes=changes))

    assert "Compared with round 1, the best before it, round 2 changed precision by -3.5 (-9.0 to 2.0)" in text
    assert "1 of them improved and 7 regressed, by more than 10 points and by more than the judge's noise." in text
    assert lost.startswith("| regressed |") and "| \\[do\\] \\| 0 yyy" in lost and "| and 2 more | | |" in lost
    assert lost.count("\n") == 1 + report_sections.SHOWN + 1
    assert "| 10 | 95 |" in won
    assert report_sections.changes(run, DECISION) == []


def test_what_reviewers_found() -> None:
    few = Reviews(
        n=4,
        agreed=3,
        scored=3,
        kappa_precision=None,
        kappa_similarity=None,
        warning="",
        prompts=4,
        precision=None,
        similarity=None,
    )
    (_, text) = report_sections.reviews(replace(DECISION, reviews=few))
    assert "People reviewed 4 judged responses and agreed with the judge on 3. They scored too few" in text
    assert "from 30 scored prompts in a round; round 2 has 4." in text

    many = Reviews(
        n=50,
        agreed=20,
        scored=45,
        kappa_precision=0.41,
        kappa_similarity=0.8,
        warning="judge and reviewers agree too little (kappa 0.41 over 50 reviews)",
        prompts=40,
        precision=EVEN,
        similarity=EVEN,
    )
    (_, text) = report_sections.reviews(replace(DECISION, reviews=many))
    assert (
        "is 0.41 for precision and 0.80 for similarity over the 45 that they scored. "
        "**Careful**: judge and reviewers agree too little" in text
    )
    assert "Corrected by people's scores of 40 prompts, round 2 has precision 80.0 (70.0 to 90.0)" in text
    assert report_sections.reviews(DECISION) == []
