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

    assert "at most 5.0% are declared to reach a target that they do not reach" in text
    assert "5 looks at the dev prompts" in text and "1.00% each; 3 were taken, so 3.0% are spent" in text


def test_prompts_without_a_verdict_are_told() -> None:
    unread = replace(DECISION, unjudged=2)

    assert "2 prompts have no readable verdict: the intervals hold" in report_sections.error_rate(SETTINGS, unread)
    assert "no readable verdict" not in report_sections.error_rate(SETTINGS, DECISION)


def test_prompts_that_are_missing_are_told_as_rows() -> None:
    assert report_sections.wanted(SETTINGS, DECISION) == []
    (text,) = report_sections.wanted(SETTINGS, replace(DECISION, more_prompts=9))

    assert "about 9 more dev prompts" in text and "As 20% of the coverage rows" in text and "about 45 more rows" in text


def test_flagged_prompts_are_named() -> None:
    assert report_sections.flagged(DECISION) == []
    (text,) = report_sections.flagged(replace(DECISION, flagged=("a1", "<b>")))
    assert text.startswith("2 dev prompts left the scores") and "in no figure: a1, \\<b\\>. The error rate" in text


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
    _, text, lost, won = report_sections.changed(run, replace(DECISION, changes=changes))

    assert "Beside round 1, the best before it, round 2 changed precision by -3.5 (-9.0 to 2.0)" in text
    assert "1 of them got better and 7 worse, by more than 10 points and than the judge wavers." in text
    assert lost.startswith("| got worse |") and "| \\[do\\] \\| 0 yyy" in lost and "| and 2 more | | |" in lost
    assert lost.count("\n") == 1 + report_sections.SHOWN + 1
    assert "| 10 | 95 |" in won
    assert report_sections.changed(run, DECISION) == []


def test_people_are_heard() -> None:
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
    (_, text) = report_sections.people(replace(DECISION, reviews=few))
    assert "People reviewed 4 judged responses and agreed with the judge on 3. Too few have" in text
    assert "once 30 prompts of a round are scored; 4 of round 2 are." in text

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
    (_, text) = report_sections.people(replace(DECISION, reviews=many))
    assert (
        "is 0.41 for precision and 0.80 for similarity over the 45 with their scores. "
        "**Careful**: judge and reviewers agree too little" in text
    )
    assert "Corrected by their scores of 40 prompts, round 2 has precision 80.0 (70.0 to 90.0)" in text
    assert report_sections.people(DECISION) == []
