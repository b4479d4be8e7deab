from math import ceil
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from engine.evaluation.scores import of_prompts, plain
from engine.protocol import jsonl
from engine.protocol.decision import (
    Change,
    Changes,
    Decision,
    FinalDecision,
    Flags,
    Interval,
    PromptScore,
    Reviews,
    Scores,
    Shares,
)
from engine.protocol.manifest import Manifest, finish
from engine.protocol.openings import Openings
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


FINAL = FinalDecision(
    reached=False, reason="Short.", best_round=1, outcome="plateau", risk=0.05, sealed=Scores(**plain(DECISION))
)


def test_the_error_rate_is_told_with_what_it_rests_on() -> None:
    text = report_sections.error_rate(FINAL)

    assert "at most 5% are reported to reach it, if the 20 prompts are independent draws of the task" in text
    assert "exact for right-or-wrong scores" in text and "not proved" in text
    assert "passes the gate, which opens the sealed prompts, when its lower bounds at 1% reach the target" in text
    assert "family" not in text
    opened = Openings(runs=1, prompts=3, of=20, fewest=1, most=1)
    assert "which earlier runs did: it may be more here" in report_sections.error_rate(
        replace(FINAL, opened_before=opened)
    )
    families = replace(FINAL, sealed=replace(FINAL.sealed, families=8))
    assert "20 prompts of 8 families" in report_sections.error_rate(families)


def test_answers_without_a_verdict_are_told() -> None:
    unread = replace(FINAL.sealed, unjudged=2, errors=5)

    assert "counts as the worst there is; 2 of the prompts have none at all." in report_sections.unjudged(unread)
    assert report_sections.unjudged(FINAL.sealed) == ""


def test_prompts_that_are_missing_are_told_as_rows() -> None:
    assert report_sections.missing_rows(SETTINGS, FINAL) == []
    (text,) = report_sections.missing_rows(SETTINGS, replace(FINAL, needed=90))

    share = SETTINGS.coverage.split.test
    assert f"about {ceil(90 / share)} new coverage rows show the target in 80% of runs" in text


def test_flagged_prompts_are_named() -> None:
    assert report_sections.flagged(DECISION) == []
    (text,) = report_sections.flagged(replace(DECISION, flagged=("a1", "<b>")))
    assert text.startswith("2 dev prompts are excluded") and text.endswith("as bad: a1, \\<b\\>.")


def test_scores_are_told_with_and_without_flagged_prompts() -> None:
    flags = Flags(
        count=2, after_scores=1, precision_with=replace(EVEN, mean=71), similarity_with=replace(EVEN, mean=72)
    )
    (text,) = report_sections.flagged(replace(DECISION, flagged=("a1", "b2"), flags=flags))
    assert "1 flag was set after scores could be seen" in text
    assert "precision 80.0 (70.0 to 90.0) and similarity 80.0 (70.0 to 90.0) without these prompts" in text
    assert text.endswith("71.0 (70.0 to 90.0) and 72.0 (70.0 to 90.0) with them.")


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
        precision=None,
        similarity=None,
        drawn=30,
        drawn_reviewed=4,
        drawn_skipped=2,
        risk=0.05,
    )
    (_, text) = report_sections.reviews(replace(DECISION, reviews=few))
    assert "People reviewed 4 judged responses and agreed with the judge on 3. Where they agreed, the judge's" in text
    assert (
        "30 answers of round 2 were drawn at random for review. 4 of them have a person's scores, and 2 of the" in text
    )
    (_, text) = report_sections.reviews(replace(DECISION, reviews=replace(few, drawn=0)))
    assert "No answers were drawn at random for review" in text

    many = Reviews(
        n=50,
        agreed=20,
        scored=45,
        kappa_precision=0.41,
        kappa_similarity=0.8,
        warning="judge and reviewers agree too little (kappa 0.41 over 50 reviews)",
        precision=EVEN,
        similarity=EVEN,
        drawn=30,
        drawn_reviewed=30,
        risk=0.05,
    )
    (_, text) = report_sections.reviews(replace(DECISION, reviews=many))
    assert (
        "is 0.41 for precision and 0.80 for similarity over the 45 that they scored. "
        "**Careful**: judge and reviewers agree too little" in text
    )
    assert (
        "By people's scores of 30 answers that were drawn at random, round 2 has precision 80.0 (70.0 to 90.0) and "
        "similarity 80.0 (70.0 to 90.0); each bound holds with 95% confidence." in text
    )
    assert report_sections.reviews(DECISION) == []


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"train": 60, "dev": 10, "test": 20, "never_sealed": 12}, ["about 12 of the 90 coverage rows"]),
        ({"train": 60, "dev": 10, "test": 20, "never_sealed": 0}, []),
        ({"train": 60, "dev": 10, "test": 20}, ["Version 0.1 split", "near-duplicates count as independent"]),
    ],
)
def test_what_the_claim_is_not_about_is_told(tmp_path: Path, counts: dict[str, int], words: list[str]) -> None:
    run = Run(tmp_path)
    finish(run.coverage, Manifest(stage="coverage", inputs={}, settings="", seed=1, counts=dict(counts), seconds=1))
    text = " ".join(report_sections.not_sealed(run))
    assert bool(text) == bool(words) and all(word in text for word in words)


def test_the_means_by_prompt_are_beside_those_by_family() -> None:
    def prompt(number: int, family: str, points: float) -> PromptScore:
        return PromptScore(id=f"p{number}", family=family, precision=points, similarity=points - 10)

    rows = [prompt(0, "a", 90), prompt(1, "b", 60), prompt(2, "b", 60)]
    scores = of_prompts(rows, 0.05, verdicts=3, errors=0)
    assert scores.precision.mean == 75
    assert "precision is 70.0 and similarity 60.0 on average" in report_sections.by_prompt(scores)
    assert report_sections.by_prompt(of_prompts(rows[:2], 0.05, verdicts=2, errors=0)) == ""


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ({"pairs": 90, "left_out": 0, "dev_loss": 0.5}, ""),
        (
            {"pairs": 58, "left_out": 32, "dev_pairs": 20, "dev_left_out": 10, "dev_loss": 0.5},
            "train 32 of 90, dev 10 of 30 are longer than 512 tokens (finetune.max_length).",
        ),
        (
            {"pairs": 90, "left_out": 0, "dev_pairs": 0, "dev_left_out": 30, "dev_loss": None},
            "dev 30 of 30 are longer than 512 tokens (finetune.max_length). Without a dev loss, training could not "
            "tell when to stop.",
        ),
    ],
)
def test_pairs_that_training_left_out(counts: dict[str, Any], words: str) -> None:
    found = "".join(report_sections.left_out(counts, 512))
    assert found == (f"Pairs that training left out: {words}" if words else "")
