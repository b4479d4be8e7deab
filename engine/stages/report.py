"""The report: what happened, in plain words, for somebody who did not watch."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass

from engine.evaluation.comparison import teacher_doubt
from engine.evaluation.scores import SplitScores, scores_doubt
from engine.protocol import jsonl, records
from engine.protocol.decision import Decision, Scores, Teacher
from engine.protocol.durations import duration
from engine.protocol.manifest import Manifest, manifest
from engine.protocol.rows import Response, Verdict, prompt_text
from engine.protocol.run_dir import FORMAT, Run
from engine.protocol.stages import JUDGE
from engine.protocol.status import State
from engine.protocol.version import version
from engine.service.client import Usage
from engine.settings.schema import Migration, Target
from engine.stages import report_sections
from engine.stages.base import Job, Result, named
from engine.stages.judge import VERDICTS
from engine.stages.markdown import block, cell, inline, interval

SHOWN = 3
"""Best and worst answers to show, each."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended: reached or missed."""

    state: State
    reason: str


def ending(settings: Migration, decision: Decision, sealed: Scores, asked: Teacher | None = None) -> Ending:
    """Reached only where the sealed test, which nobody tuned on, does not contradict the dev decision.

    `asked` is the service on the sealed prompts, None where it was not asked.
    """
    if not decision.reached:
        outcome = "Ended by hand" if decision.outcome == "continue" else "Ended without reaching the target"
        return Ending(State.MISSED, f"{outcome}: {decision.reason}")
    if _holds(sealed, asked, settings.target):
        return Ending(State.REACHED, f"Target reached in round {decision.round}: {decision.reason}")
    return Ending(
        State.MISSED,
        f"The dev prompts reached the target, but the sealed test does not confirm it: precision "
        f"{sealed.precision.mean:.1f}, similarity {sealed.similarity.mean:.1f}"
        + (f" (the service itself {asked.precision.mean:.1f} and {asked.similarity.mean:.1f})" if asked else "")
        + (f"; {doubt}." if (doubt := _doubt(sealed, asked, settings.target)) else "."),
    )


async def run(
    job: Job, *, usage: Usage, decision: Decision, sealed: SplitScores, end: Ending, asked: Teacher | None = None
) -> Result:
    """Write final/report.md, with which the run is complete."""
    run, settings = job.run, job.settings
    text = "\n\n".join(
        [
            f"# {run.name}: {'target reached' if end.state is State.REACHED else 'target not reached'}",
            _summary(settings, decision, sealed, end),
            "## Rounds",
            _rounds(run, settings, decision),
            *_contract(run),
            report_sections.error_rate(settings, decision),
            *report_sections.wanted(settings, decision),
            *report_sections.flagged(decision),
            *report_sections.kinds(run),
            *report_sections.changed(run, decision),
            *report_sections.people(decision),
            "## The sealed test",
            _sealed(settings, decision, sealed, asked),
            "## Best and worst answers",
            *_examples(run, sealed),
            "## What it took",
            _cost(usage, _manifests(run)),
        ]
    )
    jsonl.replace(run.report_file, text + "\n")
    decisions = sorted(run.folder.glob("round-*/decision.json"))
    return Result(
        counts={"rounds": decision.round, "best_round": decision.best_round, "state": end.state},
        inputs=named([*decisions, JUDGE.folder(run, None) / VERDICTS], run.folder),
    )


def _holds(sealed: Scores, asked: Teacher | None, target: Target) -> bool:
    if target.relative_to_teacher is not None:
        gaps = [asked.gap_precision, asked.gap_similarity] if asked else []
        passed = bool(gaps) and all(gap.mean >= -target.relative_to_teacher for gap in gaps)
    else:
        passed = sealed.precision.mean >= target.precision and sealed.similarity.mean >= target.similarity
    return passed and not _doubt(sealed, asked, target)


def _doubt(sealed: Scores, asked: Teacher | None, target: Target) -> str:
    """Why the sealed scores confirm nothing; "" where they can."""
    relative = target.relative_to_teacher is not None
    return scores_doubt(sealed) or (teacher_doubt(asked, sealed.prompts) if asked and relative else "")


def _summary(settings: Migration, decision: Decision, sealed: SplitScores, end: Ending) -> str:
    model = inline(settings.local.model)
    best = "untuned" if decision.best_round == 0 else f"as tuned in round {decision.best_round}"
    advice = (
        f"{model}, {best}, can take over this task."
        if end.state is State.REACHED
        else f"Keep the service for now; the best candidate is {model}, {best}."
    )
    warning = decision.reviews.warning if decision.reviews else ""
    careful = f" **Careful**: {warning}, and all scores here are the judge's." if warning else ""
    sandbox = (
        "\n\n**The service was the sandbox**, an offline stand-in and not a real LLM: this shows that the loop works, "
        "not how good a model is."
        if settings.uses_sandbox
        else ""
    )
    return (
        f"{end.reason} {advice}{careful}\n\nOn {sealed.prompts} sealed prompts, never used before, it got precision "
        f"{interval(sealed.precision)} and similarity {interval(sealed.similarity)} of 100, judged by "
        f"{', '.join(inline(name) for name in settings.judge_models)} against the recorded responses. In brackets: the "
        f"bounds of what it gets on prompts like these, each {settings.target.confidence:.0%} sure.{sandbox}"
    )


def _rounds(run: Run, settings: Migration, decision: Decision) -> str:
    lines = [
        "| round | pairs | precision | similarity | at 50 | at 70 | dev loss | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for scored in run.decisions():
        number = scored.round
        pairs, loss = _training(run, number)
        lines.append(
            f"| {number} | {pairs} | {interval(scored.precision)} "
            f"| {interval(scored.similarity)} | {scored.coverage_50.precision:.0%} "
            f"| {scored.coverage_70.precision:.0%} | {loss} | {'best' if number == decision.best_round else ''} |"
        )
    lines += ["", f"{_target(settings.target)} At 50, at 70: share of dev prompts with at least that precision."]
    if decision.teacher:
        lines += ["", f"{report_sections.asked(decision.teacher, 'dev')} More than that can hardly be learned from it."]
    return "\n".join(lines)


def _target(target: Target) -> str:
    if target.relative_to_teacher is not None:
        return (
            f"Target: precision and similarity at most {target.relative_to_teacher:g} points below what the service "
            "itself gets for the same prompts, each with the lower end of its interval."
        )
    return (
        f"Target: precision {target.precision:g}, similarity {target.similarity:g}, each with the lower end of its "
        "interval."
    )


def _training(run: Run, number: int) -> tuple[str, str]:
    """How many pairs a round was trained on, and its dev loss; the untuned model's was measured by round 1."""
    trained = manifest(run.round(max(1, number)) / "finetune")
    if trained is None:
        return "untuned", ""
    loss = trained.counts.get("dev_loss" if number else "dev_loss_untuned")
    return str(trained.counts["pairs"]) if number else "untuned", "" if loss is None else f"{loss:.3f}"


def _contract(run: Run) -> list[str]:
    """How many answers broke the contract, in the rounds and in the sealed test; nothing where none did."""
    folders = {f"round {row.round}": run.round(row.round) for row in run.decisions()} | {"sealed test": run.final}
    stages = {name: (manifest(folder / "judge"), manifest(folder / "infer")) for name, folder in folders.items()}
    broken = {
        name: (judged.counts.get("broken", 0), answered.counts["responses"])
        for name, (judged, answered) in stages.items()
        if judged and answered
    }
    if not any(count for count, _ in broken.values()):
        return []
    said = ", ".join(f"{name} {count} of {answers}" for name, (count, answers) in broken.items())
    return [f"Answers that broke the contract, and scored 1 without a judge: {said}."]


def _sealed(settings: Migration, decision: Decision, sealed: Scores, asked: Teacher | None) -> str:
    verdict = "meets the target" if _holds(sealed, asked, settings.target) else "falls short of the target"
    return (
        f"Round {decision.best_round} answered {sealed.prompts} prompts that neither training nor the rounds saw: "
        f"precision {interval(sealed.precision)}, similarity {interval(sealed.similarity)}. Its mean {verdict}. "
        f"{sealed.coverage_50.precision:.0%} of the prompts got a precision of at least 50, "
        f"{sealed.coverage_70.precision:.0%} of at least 70"
        + (f"; {sealed.errors} verdicts could not be read." if sealed.errors else ".")
        + report_sections.unjudged(sealed)
        + (f"\n\n{report_sections.asked(asked, 'sealed')} {report_sections.beside(asked)}" if asked else "")
    )


def _examples(run: Run, sealed: SplitScores) -> list[str]:
    """The best and the worst of the scored sealed prompts, service and local answer side by side."""
    responses: dict[str, Response] = {}
    for response in records.read(run.final / "infer" / "responses.jsonl", Response):
        responses.setdefault(response.id, response)
    verdicts: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in records.read(run.final / "judge" / "verdicts.jsonl", Verdict):
        verdicts[verdict.id].append(verdict)
    ranked = sorted(sealed.by_prompt, key=lambda score: (-score.mean, score.id))
    best, worst = ranked[:SHOWN], ranked[SHOWN:][-SHOWN:][::-1]
    parts = []
    for title, chosen in (("Best", best), ("Worst", worst)):
        for place, scored in enumerate(chosen, start=1):
            response = responses[scored.id]
            first = next((v for v in verdicts[scored.id] if v.sample == response.sample and not v.error), None)
            reason = inline(first.precision_reason) if first else "no readable verdict"
            parts.append(
                f"### {title} {place}: precision {scored.precision:.0f}, similarity {scored.similarity:.0f}\n\n"
                f"{block(prompt_text(response.prompt, response.tools))}\n\n"
                "<table><tr><th>service</th><th>local model</th></tr><tr>"
                f"<td>{cell(response.expected)}</td><td>{cell(response.response)}</td></tr></table>\n\n"
                f"Judge: {reason}"
            )
    return parts


def _cost(usage: Usage, stages: list[Manifest]) -> str:
    seconds: dict[str, float] = defaultdict(float)
    for stage in stages:
        seconds[stage.stage] += stage.seconds
    rows = "\n".join(f"| {name} | {duration(took)} |" for name, took in seconds.items())
    judged = [stage.counts for stage in stages if stage.stage == "judge"]
    spared = sum(counts.get("spared", 0) for counts in judged)
    planned = spared + sum(counts["verdicts"] + counts["errors"] for counts in judged)
    saving = f" {spared / planned:.0%} of the verdicts were spared, since the first ones agreed." if spared else ""
    calls = f"{usage.calls} service calls, {usage.cached_calls} more answered from the ledger for nothing"
    tokens = f"{usage.prompt_tokens:,} tokens in, {usage.completion_tokens:,} out"
    peak = max((stage.peak_memory_bytes for stage in stages), default=0)
    return (
        f"{calls}; {tokens}; ${usage.cost_usd:.2f}.{saving} Stages took {duration(sum(seconds.values()))}; "
        f"the largest process used {peak / 2**30:.1f} GiB. Written {time.strftime('%Y-%m-%d %H:%M')} by llamaduo-tui "
        f"{version()}, in run format {FORMAT}.\n\n"
        f"| stage | time |\n|---|---|\n{rows}"
    )


def _manifests(run: Run) -> list[Manifest]:
    folders = [run.coverage, run.teacher, *sorted(run.folder.glob("round-*/*")), *sorted(run.final.glob("*"))]
    found = (manifest(folder) for folder in folders if folder.is_dir())
    return [complete for complete in found if complete is not None]
