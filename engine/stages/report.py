"""The report stage: what happened, in plain words, for a reader who did not watch the run."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence

from engine.evaluation.decision import GATE_RISK
from engine.evaluation.scores import SplitScores
from engine.protocol import jsonl, release
from engine.protocol.decision import Decision, Drift, FinalDecision, percent
from engine.protocol.durations import duration
from engine.protocol.manifest import Manifest, manifest
from engine.protocol.points import points
from engine.protocol.rows import VERDICTS_FILE
from engine.protocol.run_dir import FORMAT, Run
from engine.protocol.stages import FINETUNE, INFER, JUDGE, STAGES
from engine.protocol.status import State, Status
from engine.protocol.version import version
from engine.service.answerers import Answerer, answerers
from engine.service.usage import Usage
from engine.settings.schema import Migration, Target
from engine.stages import judge_drift, report_gain, report_judges, report_rows, report_sections, report_worth
from engine.stages.base import Job, Result, named
from engine.stages.infer import RAISE_LIMIT
from engine.stages.markdown import block, cell, inline, interval

SHOWN = 3
"""How many of the best and of the worst answers to show."""

FINAL_TEST = "the sealed test"


async def run(job: Job, *, usage: Usage, decision: Decision, final: FinalDecision, sealed: SplitScores) -> Result:
    """Write final/report.md, the last file of a run."""
    return await asyncio.to_thread(_write, job, usage, decision, final, sealed)


def _write(job: Job, usage: Usage, decision: Decision, final: FinalDecision, sealed: SplitScores) -> Result:
    run, settings = job.run, job.settings
    answered, drift = answerers(run.ledger_file), _drift(run)
    worth = report_worth.section(run, settings)  # may load the price list
    text = "\n\n".join(
        [
            f"# {run.name}: {'target reached' if final.reached else 'target not reached'}",
            _summary(settings, decision, final, answered),
            *report_judges.careful(drift.get(f"round {decision.best_round}", ()), drift[FINAL_TEST]),
            "## Rounds",
            _rounds(run, settings, decision),
            *report_judges.drift(drift, settings),
            *_contract(run),
            *_cut(run),
            report_sections.error_rate(final),
            *report_sections.not_sealed(run),
            *report_sections.missing_rows(settings, final),
            *report_sections.flagged(decision),
            *report_sections.kinds(run),
            *report_sections.changes(run, decision),
            *report_sections.reviews(decision),
            "## The sealed test",
            _sealed(final) + report_sections.by_prompt(sealed),
            *report_sections.seal(run),
            *report_sections.part(final),
            *report_gain.gain(run, settings, final, sealed),
            "## Best and worst answers",
            *_examples(run, sealed),
            *report_judges.which_answered(answered),
            "## What it took",
            _cost(usage, report_rows.stage_rows(run), run.status()),
            *worth,
            *_next_step(run, decision.best_round),
        ]
    )
    jsonl.replace(run.report_file, text + "\n")
    decisions = sorted(run.folder.glob("round-*/decision.json"))
    return Result(
        counts={
            "rounds": decision.round,
            "best_round": decision.best_round,
            "state": State.REACHED if final.reached else State.MISSED,
        },
        inputs=named([*decisions, JUDGE.folder(run, None) / VERDICTS_FILE], run.folder),
    )


def _drift(run: Run) -> dict[str, tuple[Drift, ...]]:
    """How the judges scored answers of round 0 again, by round in words."""
    rounds = {f"round {decision.round}": decision.drift for decision in run.decisions()}
    return rounds | {FINAL_TEST: judge_drift.drift_of(JUDGE.folder(run, None))}


def _summary(settings: Migration, decision: Decision, final: FinalDecision, answered: Sequence[Answerer]) -> str:
    model = inline(settings.local.model)
    best = "untuned" if decision.best_round == 0 else f"tuned in round {decision.best_round}"
    advice = (
        f"**Target reached**: {model}, {best}, can take over this task."
        if final.reached
        else f"**Target not reached**: keep the service for now; the best candidate is {model}, {best}."
    )
    warning = decision.reviews.warning if decision.reviews else ""
    careful = f" **Careful**: {warning}; all scores in this report are the judge's." if warning else ""
    sandbox = (
        "\n\n**The service was the sandbox**, an offline stand-in and not a real LLM: this shows that the loop works, "
        "not how good a model is."
        if settings.uses_sandbox
        else ""
    )
    judges = ", ".join(inline(name) for name in settings.judge_models)
    sealed = final.sealed
    return (
        f"{advice} {final.told}{careful}\n\nOn {sealed.evidence} that were sealed until the end, it scored "
        f"{interval(sealed.precision)} in precision and {interval(sealed.similarity)} in similarity, out of 100; "
        f"{judges} compared its answers with the recorded responses.{report_judges.own_judges(settings, answered)} "
        f"Brackets show a lower and an upper bound of the mean on prompts like these; each bound has a risk of "
        f"{percent(final.risk)}.{sandbox}"
    )


def _rounds(run: Run, settings: Migration, decision: Decision) -> str:
    lines = [
        "| round | pairs | precision | similarity | 50+ | 70+ | dev loss | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in report_rows.round_rows(run):
        pairs = "untuned" if row.pairs is None else row.pairs
        loss = "" if row.dev_loss is None else f"{row.dev_loss:.3f}"
        best = "best" if row.number == decision.best_round else ""
        lines.append(
            f"| {row.number} | {pairs} | {interval(row.precision)} | {interval(row.similarity)} "
            f"| {row.above_50:.0%} | {row.above_70:.0%} | {loss} | {best} |"
        )
    columns = (
        f"Brackets show bounds, each with a risk of {GATE_RISK:.0%} if these were new prompts. "
        "Columns 50+ and 70+: the share of dev prompts with at least that precision."
    )
    lines += ["", f"{target_words(settings.target)} {columns}", *_left_out(run, settings)]
    if decision.teacher:
        ceiling = "A model that learns from its answers can hardly score higher."
        lines += ["", f"{report_sections.service_scores(decision.teacher, 'dev')} {ceiling}"]
    return "\n".join(lines)


def target_words(target: Target) -> str:
    """The target in a sentence."""
    if target.relative_to_teacher is not None:
        scores = f"at most {points(target.relative_to_teacher)} below the service's own scores on the same prompts"
        return f"Target: precision and similarity {scores}; the lower bounds on sealed prompts decide."
    scores = f"precision {target.precision:g} and similarity {target.similarity:g}"
    return f"Target: {scores}; the lower bounds on sealed prompts decide."


def _left_out(run: Run, settings: Migration) -> list[str]:
    """Which pairs the training of the last round left out."""
    rounds = [decision.round for decision in run.decisions() if decision.round]
    trained = manifest(FINETUNE.folder(run, rounds[-1])) if rounds else None
    return report_sections.left_out(trained.counts, settings.finetune.max_length) if trained else []


def _contract(run: Run) -> list[str]:
    """How many answers broke the contract, in the rounds and in the sealed test; nothing where none did."""
    broken = {
        name: (judged.count("broken"), answered.count("responses"))
        for name, number in _phases(run).items()
        if (judged := manifest(JUDGE.folder(run, number))) and (answered := manifest(INFER.folder(run, number)))
    }
    return [f"Answers that broke the contract scored 1 without being judged: {text}." for text in _told(broken)]


def _cut(run: Run) -> list[str]:
    """How many answers ended at their token limit, in the rounds and in the sealed test; nothing where none did."""
    cut = {
        name: (answered.count("cut"), answered.count("responses"))
        for name, number in _phases(run).items()
        if (answered := manifest(INFER.folder(run, number)))
    }
    remedy = f"a cut answer scores like a bad one, so {RAISE_LIMIT} in a new run"
    return [f"Answers that were cut at their token limit: {text}; {remedy}." for text in _told(cut)]


def _phases(run: Run) -> dict[str, int | None]:
    """The rounds and the sealed test by name, with the number that their folders go by."""
    return {f"round {row.round}": row.round for row in run.decisions()} | {FINAL_TEST: None}


def _told(counts: Mapping[str, tuple[int, int]]) -> list[str]:
    """Counts of all answers by phase in words; nothing where all are 0."""
    if not any(count for count, _ in counts.values()):
        return []
    return [", ".join(f"{count} of {answers} in {name}" for name, (count, answers) in counts.items())]


def _sealed(final: FinalDecision) -> str:
    sealed, service = final.sealed, final.service
    text = (
        f"The model of round {final.best_round} answered {sealed.evidence} that neither training nor a round used: "
        f"precision {interval(sealed.precision)}, similarity {interval(sealed.similarity)}, each bound with a risk of "
        f"{percent(final.risk)}. {sealed.coverage_50.precision:.0%} of the prompts have a precision of at least 50, "
        f"{sealed.coverage_70.precision:.0%} of at least 70"
        + (f"; {sealed.errors} verdicts could not be read." if sealed.errors else ".")
        + report_sections.unjudged(sealed)
    )
    if service is None:
        return text
    return f"{text}\n\n{report_sections.service_scores(service, 'sealed')} {report_sections.gap_to_service(service)}"


def _examples(run: Run, sealed: SplitScores) -> list[str]:
    """The best and the worst of the scored sealed prompts, service and local answer side by side."""
    best, worst = report_rows.examples(run, sealed.by_prompt, SHOWN)
    return [
        f"### {title} {place}: precision {one.precision:.0f}, similarity {one.similarity:.0f}\n\n"
        f"{block(one.prompt)}\n\n"
        "<table><tr><th>service</th><th>local model</th></tr><tr>"
        f"<td>{cell(one.expected)}</td><td>{cell(one.response)}</td></tr></table>\n\n"
        f"Judge: {inline(one.reason) or 'no readable verdict'}"
        for title, chosen in (("Best", best), ("Worst", worst))
        for place, one in enumerate(chosen, start=1)
    ]


def _cost(usage: Usage, stages: list[Manifest], status: Status) -> str:
    seconds: dict[str, float] = defaultdict(float)
    for stage in stages:
        seconds[stage.stage] += stage.seconds
    rows = "\n".join(
        f"| {stage.label} | {duration(seconds[stage.name])} |" for stage in STAGES if stage.name in seconds
    )
    judged = [stage for stage in stages if stage.stage == JUDGE.name]
    spared = sum(one.count("spared") for one in judged)
    planned = spared + sum(one.count("verdicts") + one.count("errors") for one in judged)
    saving = f" {spared / planned:.0%} of the planned verdicts were saved: the first ones agreed." if spared else ""
    calls = f"{usage.calls:,} service calls were paid, {usage.cached_calls:,} more were answered from the ledger, free"
    lost = (
        f" {status.interrupted_calls:,} more calls have no reply on record, after a crash or with a lost ledger; they "
        f"may have cost ${status.interrupted_usd:.2f}."
        if status.interrupted_calls
        else ""
    )
    tokens = f"{usage.prompt_tokens:,} tokens in, {usage.completion_tokens:,} out"
    peak = max((stage.peak_memory_bytes for stage in stages), default=0)
    return (
        f"{calls}; {tokens}; ${usage.cost_usd:.2f}.{lost}{saving} The stages took {duration(sum(seconds.values()))}; "
        f"the largest process used {peak / 2**30:.1f} GiB of memory. Written {time.strftime('%Y-%m-%d %H:%M')} by "
        f"llamaduo-tui {version()}, in run format {FORMAT}.\n\n"
        f"| stage | time |\n|---|---|\n{rows}"
    )


def _next_step(run: Run, best_round: int) -> list[str]:
    """Where the model is, and how it becomes one that servers take; what comes of that is written elsewhere."""
    if best_round == 0:
        return []
    commands = "\n".join(f"    {line}" for line in release.next_commands(run.name))
    adapter = (FINETUNE.folder(run, best_round) / "adapter").relative_to(run.folder)
    pages = f"`release/{release.PAGE_FILE}` and `release/{release.PAPER_FILE}`"
    return [
        release.HEADING,
        f"The adapter is in `{adapter}`; `llamaduo-tui release {run.name}` writes the model for servers (safetensors, "
        "GGUF), and releases what answers, as served, like this adapter. This file stays as it is, since the run's "
        f"record vouches for it; {pages} say what became of a release. The way to a model that answers in the "
        "service's place:",
        commands,
    ]
