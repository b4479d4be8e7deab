"""What a report shows of a run as rows: the report writes them as Markdown, the paper of a release as pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from engine.protocol import records
from engine.protocol.decision import Interval, PromptScore
from engine.protocol.manifest import Manifest, manifest
from engine.protocol.rows import CONTRACT, RESPONSES_FILE, VERDICTS_FILE, Response, Verdict, prompt_text
from engine.protocol.run_dir import Run
from engine.protocol.stages import FINETUNE, INFER, JUDGE


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRow:
    """A round's scores on the dev prompts. `pairs` are those that it was trained on, None for the untuned model.

    `above_50` and `above_70` are the shares of prompts, 0 to 1, with at least that precision; `dev_loss` is None where
    training had none.
    """

    number: int
    pairs: int | None
    precision: Interval
    similarity: Interval
    above_50: float
    above_70: float
    dev_loss: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRow:
    """A kind of dev prompt: its mean precision by round, None where a round has none of it, and the gain in points."""

    name: str
    prompts: int
    precision: tuple[float | None, ...]
    gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A sealed prompt with both answers and its mean scores; `reason` is a judge's, "" where no verdict is readable."""

    prompt: str
    expected: str
    response: str
    precision: float
    similarity: float
    reason: str


def round_rows(run: Run) -> list[RoundRow]:
    """The rounds, in order. The untuned model's dev loss was measured by round 1."""
    rows = []
    for scored in run.decisions():
        trained = manifest(FINETUNE.folder(run, max(1, scored.round)))
        counts = trained.counts if trained is not None else {}
        rows.append(
            RoundRow(
                number=scored.round,
                pairs=counts.get("pairs") if scored.round else None,
                precision=scored.precision,
                similarity=scored.similarity,
                above_50=scored.coverage_50.precision,
                above_70=scored.coverage_70.precision,
                dev_loss=counts.get("dev_loss" if scored.round else "dev_loss_untuned"),
            )
        )
    return rows


def kind_rows(run: Run) -> list[KindRow]:
    """The kinds of prompt, sorted by gain; none where there is only one."""
    rounds = [{group.name: group for group in decision.groups} for decision in run.decisions()]
    names = sorted({name for found in rounds for name in found if not name.startswith(f"{CONTRACT}: ")})
    if len(names) < 2:
        return []
    rows = []
    for name in names:
        found = [groups.get(name) for groups in rounds]
        known = [group for group in found if group is not None]
        rows.append(
            KindRow(
                name=name,
                prompts=max(group.prompts for group in known),
                precision=tuple(None if group is None else group.precision for group in found),
                gain=known[-1].precision - known[0].precision,
            )
        )
    return sorted(rows, key=lambda row: -row.gain)


def examples(run: Run, scores: Iterable[PromptScore], shown: int) -> tuple[list[Example], list[Example]]:
    """The best and the worst of the scored sealed prompts, at most so many of each, the extreme first."""
    responses: dict[str, Response] = {}
    for response in records.read(INFER.folder(run, None) / RESPONSES_FILE, Response):
        responses.setdefault(response.id, response)
    verdicts: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in records.read(JUDGE.folder(run, None) / VERDICTS_FILE, Verdict):
        verdicts[verdict.id].append(verdict)

    def example(scored: PromptScore) -> Example:
        response = responses[scored.id]
        first = next((v for v in verdicts[scored.id] if v.sample == response.sample and not v.error), None)
        return Example(
            prompt=prompt_text(response.prompt, response.tools),
            expected=response.expected,
            response=response.response,
            precision=scored.precision,
            similarity=scored.similarity,
            reason=first.precision_reason if first else "",
        )

    ranked = sorted((score for score in scores if score.missing < 1), key=lambda score: (-score.mean, score.id))
    best, worst = ranked[:shown], ranked[shown:][-shown:][::-1]
    return [example(scored) for scored in best], [example(scored) for scored in worst]


def stage_rows(run: Run) -> list[Manifest]:
    """The manifests of all complete stages."""
    folders = [run.coverage, run.teacher, *sorted(run.folder.glob("round-*/*")), *sorted(run.final.glob("*"))]
    found = (manifest(folder) for folder in folders if folder.is_dir())
    return [complete for complete in found if complete is not None]
