"""The report's sections on how sure the decision is, what changed and for which kinds, and what people said of it."""

from __future__ import annotations

from math import ceil

from engine.evaluation.comparison import MARGIN
from engine.evaluation.decision import look_risk, looks
from engine.evaluation.reviews import LEAST_LABELS
from engine.protocol import jsonl
from engine.protocol.decision import Change, Decision, Interval, Reviews, Scores, Teacher
from engine.protocol.rows import CONTRACT, prompt_text
from engine.protocol.run_dir import Run
from engine.settings.schema import Migration
from engine.stages.markdown import inline, interval

SHOWN = 5
"""Prompts to show of those that got better, and of those that got worse."""

PROMPT_CUT = 100
"""Characters of a prompt in a table."""


def error_rate(settings: Migration, decision: Decision) -> str:
    """How often a decision like this is wrong, and how much of that is spent."""
    risk, most = look_risk(settings.target, settings.loop), looks(settings.loop)
    spent = decision.round + 1
    return (
        f"How sure: of migrations like this one, at most {most * risk:.1%} are declared to reach a target that they do "
        f"not reach. That is spread over {most} looks at the dev prompts, one at the untuned model and one after each "
        f"round, {risk:.2%} each; {spent} were taken, so {spent * risk:.1%} are spent. "
        "The lower end of an interval is the bound that decides. It holds for few prompts and for uneven scores. What "
        "failed on the dev prompts chose what was learned next, so that they may suit the model better than others do: "
        "the sealed test is there for that." + unjudged(decision)
    )


def unjudged(scores: Scores) -> str:
    """How many prompts have no readable verdict, and what follows; "" for none."""
    if not scores.unjudged:
        return ""
    count = "1 prompt has" if scores.unjudged == 1 else f"{scores.unjudged} prompts have"
    return f" {count} no readable verdict: the intervals hold whatever the scores would be there."


def wanted(settings: Migration, decision: Decision) -> list[str]:
    """How many more rows it takes to tell, where the dev prompts were too few."""
    more, share = decision.more_prompts, settings.coverage.split.dev
    if more is None:
        return []
    return [
        f"To tell whether a model reaches this target takes about {more} more dev prompts. As {share:.0%} of the "
        f"coverage rows become dev prompts, that is about {ceil(more / share)} more rows, or a larger "
        "`coverage.split.dev`."
    ]


def asked(teacher: Teacher, which: str) -> str:
    """What the service gets itself, `which` says on which prompts."""
    return (
        f"Asked for {teacher.prompts} {which} prompts again, the service itself gets precision "
        f"{interval(teacher.precision)} and similarity {interval(teacher.similarity)} against its own earlier "
        "answers."
    )


def beside(asked: Teacher) -> str:
    """The local model on the sealed prompts, beside the service."""

    def gap(found: Interval) -> str:
        side = "below" if found.mean < 0 else "above"
        return f"{abs(found.mean):.1f} points {side} that ({found.low:+.1f} to {found.high:+.1f})"

    return f"Precision is {gap(asked.gap_precision)}, similarity {gap(asked.gap_similarity)}."


def flagged(decision: Decision) -> list[str]:
    """The prompts whose reference people flagged."""
    if not decision.flagged:
        return []
    count = len(decision.flagged)
    prompts, they = ("1 dev prompt", "it counts") if count == 1 else (f"{count} dev prompts", "they count")
    return [
        f"{prompts} left the scores of every round, since a reviewer flagged the reference response as bad; {they} in "
        f"no figure: {', '.join(inline(id_) for id_ in decision.flagged)}. The error rate takes it that the reference "
        "alone was the reason, and not how the model did there."
    ]


def kinds(run: Run) -> list[str]:
    """Each kind of prompt's precision by round, the one that gained most first; nothing where there is but one."""
    decisions = run.decisions()
    rounds = [{group.name: group for group in decision.groups} for decision in decisions]
    names = sorted({name for found in rounds for name in found if not name.startswith(f"{CONTRACT}: ")})
    if len(names) < 2:
        return []
    scores = {name: [found[name].precision for found in rounds if name in found] for name in names}
    gains = {name: points[-1] - points[0] for name, points in scores.items()}
    numbers = " | ".join(f"round {decision.round}" for decision in decisions)
    lines = [
        f"| kind of prompt | prompts | {numbers} | gain |",
        "|---" * (len(rounds) + 3) + "|",
    ]
    for name in sorted(names, key=lambda name: -gains[name]):
        prompts = max(found[name].prompts for found in rounds if name in found)
        cells = [f"{found[name].precision:.1f}" if name in found else "" for found in rounds]
        lines.append(f"| {inline(name)} | {prompts} | {' | '.join(cells)} | {gains[name]:+.1f} |")
    return ["Mean precision by kind of dev prompt:", "\n".join(lines)]


def changed(run: Run, decision: Decision) -> list[str]:
    """The last round against the best before it, prompt by prompt."""
    changes = decision.changes
    if changes is None:
        return []
    prompts = _prompts(run, decision.round)
    better, worse = len(changes.improved), len(changes.regressed)
    text = (
        f"Beside round {changes.against}, the best before it, round {decision.round} changed precision by "
        f"{interval(changes.precision)} and similarity by {interval(changes.similarity)} points on the same "
        f"{changes.prompts} prompts. {better} of them got better and {worse} worse, by more than {MARGIN:g} points and "
        "than the judge wavers."
    )
    tables = [
        _table(title, moved, prompts)
        for title, moved in (("worse", changes.regressed), ("better", changes.improved))
        if moved
    ]
    return ["## What changed", text, *tables]


def _prompts(run: Run, number: int) -> dict[str, str]:
    rows = jsonl.read(run.round(number) / "infer" / "responses.jsonl")
    return {row["id"]: prompt_text(row["prompt"]) for row in rows}


def _table(title: str, moved: tuple[Change, ...], prompts: dict[str, str]) -> str:
    lines = [f"| got {title} | before | after |", "|---|---|---|"]
    for change in moved[:SHOWN]:
        prompt = prompts.get(change.id, change.id)
        cut = prompt if len(prompt) <= PROMPT_CUT else prompt[:PROMPT_CUT] + " …"
        lines.append(f"| {inline(cut)} | {change.before:.0f} | {change.after:.0f} |")
    if len(moved) > SHOWN:
        lines.append(f"| and {len(moved) - SHOWN} more | | |")
    return "\n".join(lines)


def people(decision: Decision) -> list[str]:
    """What reviews say of the judge, and of the scores."""
    found = decision.reviews
    if found is None:
        return []
    return ["## What people said", " ".join([_agreement(found), _corrected(found, decision.round)])]


def _agreement(found: Reviews) -> str:
    said = f"People reviewed {found.n} judged responses and agreed with the judge on {found.agreed}."
    kappas = [
        f"{value:.2f} for {name}"
        for name, value in (("precision", found.kappa_precision), ("similarity", found.kappa_similarity))
        if value is not None
    ]
    if kappas:
        over = f"over the {found.scored} with their scores"
        said += f" Weighted kappa, where 1 is full agreement and 0 is chance, is {' and '.join(kappas)} {over}."
    else:
        said += " Too few have their scores, or all are too much alike, to say how well they agree."
    return f"{said} **Careful**: {found.warning}." if found.warning else said


def _corrected(found: Reviews, number: int) -> str:
    if found.precision is None or found.similarity is None:
        return (
            f"The scores can be corrected by theirs once {LEAST_LABELS} prompts of a round are scored; "
            f"{found.prompts} of round {number} are."
        )
    return (
        f"Corrected by their scores of {found.prompts} prompts, round {number} has precision "
        f"{interval(found.precision)} and similarity {interval(found.similarity)}. That takes it that they did not "
        "pick prompts by their scores."
    )
