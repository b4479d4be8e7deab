"""Sections of the report: how sure the decision is, what changed and for which kinds, and what reviewers found."""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import ceil
from statistics import fmean
from typing import Any

from engine.dataset.prepare import SEALED
from engine.evaluation.comparison import MARGIN
from engine.evaluation.decision import GATE_RISK
from engine.evaluation.scores import SplitScores
from engine.local.lengths import too_long
from engine.protocol import jsonl
from engine.protocol.counts import number_of
from engine.protocol.decision import Change, Decision, FinalDecision, Interval, Reviews, Scores, Teacher, percent
from engine.protocol.manifest import manifest
from engine.protocol.rows import RESPONSES_FILE, prompt_text
from engine.protocol.run_dir import Run
from engine.protocol.stages import INFER
from engine.settings.schema import Migration
from engine.stages.markdown import inline, interval
from engine.stages.report_rows import kind_rows

SHOWN = 5
"""How many of the prompts that improved, and of those that regressed, to show."""

PROMPT_CUT = 100
"""Characters of a prompt in a table."""


def error_rate(final: FinalDecision) -> str:
    """How often a decision like this is wrong, and what that rests on."""
    sealed = final.sealed
    opened = final.opened_before is not None and final.opened_before.prompts > 0
    unmet = ", which earlier runs did: it may be more here" if opened else ""
    families = " Prompts of one family, a conversation or near-duplicates, count as one."
    return (
        "Error rate: only the sealed prompts decide, in one look. Of migrations to a model that is short of the "
        f"target, at most {percent(final.risk)} are reported to reach it, if the {sealed.evidence} are independent "
        f"draws of the task and nobody opened them before{unmet}. The bound is exact for right-or-wrong scores; for "
        "others it held in all simulations and is not proved."
        + (families if sealed.units < sealed.prompts else "")
        + f" The dev prompts only steer: their failures chose the new training pairs and their loss the state that was "
        "kept, so scores on them may be higher than on others. A round passes the gate, which opens the sealed "
        f"prompts, when its lower bounds at {GATE_RISK:.0%} reach the target; where none does, the best round is "
        "tested all the same."
    )


def not_sealed(run: Run) -> list[str]:
    """What the claim on the sealed prompts is not about."""
    prepared = manifest(run.coverage)
    if prepared is None or "never_sealed" not in prepared.counts:
        return [
            "Version 0.1 split this run's prompts. It looked for no families, so near-duplicates count as independent "
            "prompts, and the error rate may be higher than stated."
        ]
    if not (never := prepared.count("never_sealed")):
        return []
    rows = sum(prepared.count(split) for split in ("train", "dev", "test"))
    return [
        f"The result is not about {never:,} of the {rows:,} coverage rows, "
        "which could never be sealed: their families are too large or their categories too small for the test split."
    ]


def seal(run: Run) -> list[str]:
    """The hash of the sealed prompts, which was written when they were sealed; nothing for an earlier version."""
    prepared = manifest(run.coverage)
    sealed = (prepared.outputs or {}).get(SEALED) if prepared else None
    if prepared is None or sealed is None:
        return []
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(prepared.finished))
    return [
        f"The prompts were sealed on {when}, before the first round; the SHA-256 of the sealed file is "
        f"`{sealed.sha256}`. `llamaduo-tui verify` compares the opened prompts with it, and the rest of the run with "
        "its record."
    ]


def by_prompt(scores: SplitScores) -> str:
    """The means with each prompt counting once, where families of several count once in the result; "" elsewhere."""
    if scores.units == scores.prompts:
        return ""
    precision = fmean(row.precision for row in scores.by_prompt)
    similarity = fmean(row.similarity for row in scores.by_prompt)
    return (
        f"\n\nEach prompt counting once instead of each family, precision is {precision:.1f} and similarity "
        f"{similarity:.1f} on average."
    )


def unjudged(scores: Scores) -> str:
    """How many prompts have no readable verdict, and what follows; "" for none."""
    if not scores.errors:
        return ""
    without = f"; {scores.unjudged} of the prompts have none at all" if scores.unjudged else ""
    return f" An answer that a judge gave no readable verdict counts as the worst there is{without}."


def left_out(trained: Mapping[str, Any], max_length: int) -> list[str]:
    """Which pairs a training left out as too long, by the counts in its manifest; nothing where all fitted."""
    splits = [
        (name, trained.get(out, 0), trained.get(kept, 0) + trained.get(out, 0))
        for name, kept, out in (("train", "pairs", "left_out"), ("dev", "dev_pairs", "dev_left_out"))
    ]
    words = too_long(splits, max_length)
    blind = " Without a dev loss, training could not tell when to stop." if trained.get("dev_loss") is None else ""
    return ["", f"Pairs that training left out: {words} (finetune.max_length).{blind}"] if words else []


def missing_rows(settings: Migration, final: FinalDecision) -> list[str]:
    """How many rows would show the target, where the means are above it and the bounds are not."""
    if final.needed is None:
        return []
    share = settings.coverage.split.test
    rows = ceil(final.needed * final.sealed.prompts / final.sealed.units / share)
    return [
        f"If the true scores are as measured, about {rows:,} new coverage rows show the target in 80% of runs: "
        f"{share:.0%} of them become sealed prompts. Prompts that were opened here no longer count as unseen."
    ]


def part(final: FinalDecision) -> list[str]:
    """What may move today, where the whole falls short."""
    found = final.part
    if found is None:
        return []
    rule = f" The local model gives {found.rule.words}." if found.certified and found.rule else ""
    risks = (
        f" It is separate from the statement on the whole task: each has a risk of {percent(found.risk)}."
        if found.rule
        else ""
    )
    return ["## What may move today", f"{found.reason}{rule}{risks}"]


def service_scores(teacher: Teacher, which: str) -> str:
    """The service's own scores on the `which` prompts: dev or sealed."""
    return (
        f"The service answered {teacher.prompts} {which} prompts again. Compared with its earlier answers, it scored "
        f"precision {interval(teacher.precision)} and similarity {interval(teacher.similarity)}."
    )


def gap_to_service(teacher: Teacher) -> str:
    """The local model's scores on the sealed prompts, compared with the service's."""

    def gap(points: Interval) -> str:
        side = "lower" if points.mean < 0 else "higher"
        return f"{abs(points.mean):.1f} points {side} ({points.low:+.1f} to {points.high:+.1f})"

    return f"The local model's precision is {gap(teacher.gap_precision)}, its similarity {gap(teacher.gap_similarity)}."


def flagged(decision: Decision) -> list[str]:
    """The prompts whose reference people flagged, when they did, and the scores with and without them."""
    if not decision.flagged:
        return []
    count = len(decision.flagged)
    prompts = "1 dev prompt is" if count == 1 else f"{count} dev prompts are"
    text = (
        f"{prompts} excluded from the dev scores of every round, because a reviewer flagged the reference response as "
        f"bad: {', '.join(inline(id_) for id_ in decision.flagged)}."
    )
    if (flags := decision.flags) is not None:
        late = "1 flag was" if flags.after_scores == 1 else f"{flags.after_scores} flags were"
        seen = f" {late} set after scores could be seen, so the scores may have been a reason."
        text += (
            f"{seen if flags.after_scores else ''} On dev prompts, round "
            f"{decision.round} scored precision {interval(decision.precision)} and similarity "
            f"{interval(decision.similarity)} without these prompts, {interval(flags.precision_with)} and "
            f"{interval(flags.similarity_with)} with them."
        )
    return [text]


def kinds(run: Run) -> list[str]:
    """Each kind of prompt's precision by round, sorted by gain; nothing where there is only one kind."""
    rows = kind_rows(run)
    if not rows:
        return []
    numbers = [f"round {decision.round}" for decision in run.decisions()]
    lines = [f"| kind of prompt | prompts | {' | '.join(numbers)} | gain |", "|---" * (len(numbers) + 3) + "|"]
    for row in rows:
        cells = ["" if points is None else f"{points:.1f}" for points in row.precision]
        lines.append(f"| {inline(row.name)} | {row.prompts} | {' | '.join(cells)} | {row.gain:+.1f} |")
    return ["Mean precision by kind of dev prompt:", "\n".join(lines)]


def changes(run: Run, decision: Decision) -> list[str]:
    """The last round compared with the best before it, prompt by prompt."""
    changes = decision.changes
    if changes is None:
        return []
    prompts = _prompts(run, decision.round)
    better, worse = len(changes.improved), len(changes.regressed)
    text = (
        f"Compared with round {changes.against}, the best before it, round {decision.round} changed precision by "
        f"{interval(changes.precision)} and similarity by {interval(changes.similarity)} points on the same "
        f"{changes.prompts} prompts. {better} of them improved and {worse} regressed, by more than {MARGIN:g} points "
        "and by more than the judge's noise."
    )
    tables = [
        _table(title, moved, prompts)
        for title, moved in (("regressed", changes.regressed), ("improved", changes.improved))
        if moved
    ]
    return ["## What changed", text, *tables]


def _prompts(run: Run, number: int) -> dict[str, str]:
    rows = jsonl.read(INFER.folder(run, number) / RESPONSES_FILE)
    return {row["id"]: prompt_text(row["prompt"]) for row in rows}


def _table(title: str, moved: tuple[Change, ...], prompts: dict[str, str]) -> str:
    lines = [f"| {title} | before | after |", "|---|---|---|"]
    for change in moved[:SHOWN]:
        prompt = prompts.get(change.id, change.id)
        cut = prompt if len(prompt) <= PROMPT_CUT else prompt[:PROMPT_CUT] + " …"
        lines.append(f"| {inline(cut)} | {change.before:.0f} | {change.after:.0f} |")
    if len(moved) > SHOWN:
        lines.append(f"| and {len(moved) - SHOWN} more | | |")
    return "\n".join(lines)


def reviews(decision: Decision) -> list[str]:
    """What people's reviews say about the judge and about the scores."""
    if decision.reviews is None:
        return []
    return ["## Reviews", " ".join([_agreement(decision.reviews), _corrected(decision.reviews, decision.round)])]


def _agreement(reviews: Reviews) -> str:
    text = (
        f"People reviewed {reviews.n} judged responses and agreed with the judge on {reviews.agreed}. Where they "
        "agreed, the judge's numbers count as theirs."
    )
    kappas = [
        f"{value:.2f} for {name}"
        for name, value in (("precision", reviews.kappa_precision), ("similarity", reviews.kappa_similarity))
        if value is not None
    ]
    if kappas:
        over = f"over the {reviews.scored} that they scored"
        text += f" Weighted kappa, where 1 is full agreement and 0 is chance, is {' and '.join(kappas)} {over}."
    else:
        text += " They scored too few, or the scores vary too little, to measure the agreement."
    return f"{text} **Careful**: {reviews.warning}." if reviews.warning else text


def _corrected(reviews: Reviews, number: int) -> str:
    if not reviews.drawn:
        return "No answers were drawn at random for review, so people's scores do not correct the judge's."
    drawn = number_of(reviews.drawn, "answer")
    if reviews.precision is None or reviews.similarity is None:
        skipped = f", and {reviews.drawn_skipped} of the others were skipped" if reviews.drawn_skipped else ""
        return (
            f"{drawn} of round {number} were drawn at random for review. {reviews.drawn_reviewed} of them have a "
            f"person's scores{skipped}: scores are corrected once all have."
        )
    return (
        f"By people's scores of {drawn} that were drawn at random, round {number} has precision "
        f"{interval(reviews.precision)} and similarity {interval(reviews.similarity)}; each bound holds with "
        f"{percent(1 - reviews.risk)} confidence. Other reviews do not count here, and flagged prompts do."
    )
