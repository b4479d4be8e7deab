"""A section of the report: what a run gained against the earlier one whose adapter it started from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine.evaluation.comparison import changes
from engine.evaluation.prompt_scores import by_prompt
from engine.evaluation.scores import SplitScores
from engine.protocol import records
from engine.protocol.decision import FinalDecision, Interval, PromptScore, percent
from engine.protocol.errors import LlamaDuoError
from engine.protocol.rows import RESPONSES_FILE, VERDICTS_FILE, Response, Verdict
from engine.protocol.run_dir import Run
from engine.protocol.stages import INFER, JUDGE
from engine.settings.load import settings_of
from engine.settings.schema import Migration
from engine.stages.markdown import inline, interval


def gain(run: Run, settings: Migration, final: FinalDecision, sealed: SplitScores) -> list[str]:
    """What the sealed prompts say of this run against the one that it started from; none without one."""
    if settings.finetune.start_from is None:
        return []
    before = Run(Path(settings.finetune.start_from))
    head = "## Gain over the earlier run"
    try:
        earlier = before.final_decision()
        verdicts = list(records.read(JUDGE.folder(before, None) / VERDICTS_FILE, Verdict))
        asked, earlier_settings = _references(before), settings_of(before)
    except (LlamaDuoError, OSError) as error:
        return [head, f"It is unknown: {inline(before.name)} can no longer be read ({inline(str(error))})."]
    if earlier is None:
        return [head, f"It is unknown: {inline(before.name)} has no sealed test."]
    now = _references(run)
    same = {id_ for id_, reference in now.items() if asked.get(id_) == reference}
    scores = [score for score in by_prompt(verdicts) if score.id in same]
    start = (
        f"This run started from the adapter of {inline(before.name)}, round {earlier.best_round}, which scored "
        f"precision {interval(earlier.sealed.precision)} and similarity {interval(earlier.sealed.similarity)} on its "
        f"{earlier.sealed.evidence}."
    )
    return [
        head,
        " ".join(
            [start, _paired(scores, sealed, final.risk), *_new(sealed, same), *_judges(settings, earlier_settings)]
        ),
    ]


def _paired(before: list[PromptScore], sealed: SplitScores, risk: float) -> str:
    """The difference on the prompts that both runs answered, prompt by prompt."""
    found = changes(0, before, sealed.by_prompt, risk)
    if found is None:
        return "The two runs share no sealed prompt with a verdict in both, so the gain is unknown."
    shared = "the 1 sealed prompt" if found.prompts == 1 else f"the {found.prompts:,} sealed prompts"
    return (
        f"On {shared} that both runs answered, with the same reference, precision changed by "
        f"{_signed(found.precision)} and similarity by {_signed(found.similarity)} points, compared prompt by prompt; "
        f"each bound has a risk of {percent(risk)}. {len(found.improved):,} of them improved and "
        f"{len(found.regressed):,} regressed. {_verdict(found.precision, found.similarity)}"
    )


def _verdict(*differences: Interval) -> str:
    """What bounds on differences show, in words."""
    if all(one.low > 0 for one in differences):
        return "**Both gains are shown.**"
    if any(one.high < 0 for one in differences):
        return "**A loss is shown**: keep the earlier model, or look at the rows that were added."
    if any(one.low > 0 for one in differences):
        return "One gain is shown; the other difference may be chance."
    return "The differences may be chance: neither a gain nor a loss is shown."


def _new(sealed: SplitScores, same: set[str]) -> list[str]:
    """The scores on the prompts that only this run has."""
    new = [score for score in sealed.by_prompt if score.id not in same]
    if not new:
        return []
    precision, similarity = (
        sum(values) / len(new) for values in zip(*((s.precision, s.similarity) for s in new), strict=True)
    )
    return [
        f"On the {len(new):,} sealed prompts that are new here, precision is {precision:.1f} and similarity "
        f"{similarity:.1f} on average; rows of `collect` are those that went wrong, so they may be harder than others."
    ]


def _judges(settings: Migration, earlier: Migration) -> list[str]:
    """That the scores of the two runs may differ for the judge's sake."""
    if settings.judge_models == earlier.judge_models and settings.judge.prompts == earlier.judge.prompts:
        return []
    return ["**Careful**: the two runs had other judges, or other prompts for them, so the difference may be theirs."]


def _signed(points: Interval) -> str:
    return f"{points.mean:+.1f} ({points.low:+.1f} to {points.high:+.1f})"


def _references(run: Run) -> Mapping[str, str]:
    """The reference of each sealed prompt that a run answered, by the prompt's id."""
    return {row.id: row.expected for row in records.read(INFER.folder(run, None) / RESPONSES_FILE, Response)}
