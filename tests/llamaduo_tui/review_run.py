"""A run with answers and verdicts to review, written as the stages write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.protocol import jsonl, records
from engine.protocol.decision import Decision, DrawnAnswer, Interval, Shares
from engine.protocol.rows import Message, Response, Verdict
from engine.protocol.run_dir import Run

Scores = tuple[float, float] | None
"""Precision and similarity, or None for a verdict that could not be had."""


def response(
    id_: str, sample: int = 0, *, prompt: str = "", target: str = "yes", answer: str = "no", finish: str = "stop"
) -> Response:
    turns: list[Message] = [{"role": "user", "content": prompt or f"Question {id_}?"}]
    return Response(
        id=id_,
        sample=sample,
        prompt=turns,
        target=target,
        response=answer,
        finish_reason=finish,
        prompt_tokens=10,
        completion_tokens=5,
        model="tiny@0",
        adapter="a",
    )


def verdicts(id_: str, sample: int, *scores: Scores, judge: str = "gpt-4o") -> list[Verdict]:
    return [
        Verdict(
            id=id_,
            sample=sample,
            repeat=repeat,
            judge=judge,
            similarity=score[1],
            precision=score[0],
            similarity_reason="Not quite alike.",
            precision_reason="Wrong product.",
            error="",
        )
        if score
        else Verdict(
            id=id_,
            sample=sample,
            repeat=repeat,
            judge=judge,
            similarity=None,
            precision=None,
            similarity_reason="",
            precision_reason="",
            error="no JSON in the reply",
        )
        for repeat, score in enumerate(scores)
    ]


def write(folder: Path, responses: Sequence[Response], judged: Sequence[Verdict] | None = None) -> None:
    """A round's folder, or the final one's; not judged yet where there are no verdicts."""
    (folder / "infer").mkdir(parents=True, exist_ok=True)
    jsonl.append(folder / "infer" / "responses.jsonl", (row.to_row() for row in responses))
    if judged is not None:
        jsonl.write(folder / "judge" / "verdicts.jsonl", (row.to_row() for row in judged))


JSON = '{"product": "DeskPilot", "kind": "bug", "priority": "normal"}'
PROSE = "The report is late.\nPlease send it on Monday."
TICKETS = {
    "a1": ("Triage this ticket:\nDeskPilot crashes as soon as Kofi opens the queue.", JSON),
    "b2": ("Triage this ticket:\nHow do I copy last week's summary?", JSON),
    "c3": ("Triage this ticket:\nPlease send the [bold]report[/x].", PROSE),
    "d4": ("Triage this ticket:\nNothing works \x1b[31mtoday\x1b[0m.", PROSE),
}


def rounds(run: Run) -> Run:
    """Two rounds of four prompts with two samples, judged twice; a1 regresses, b2 improves, d4 has an error."""
    scores: list[dict[str, list[Scores]]] = [
        {"a1": [(90, 90), (80, 80)], "b2": [(20, 30), (20, 30)], "c3": [(50, 50), (50, 50)], "d4": [(70, 70), None]},
        {"a1": [(40, 50), (40, 50)], "b2": [(95, 97), (95, 97)], "c3": [(30, 50), (70, 90)], "d4": [(70, 70), None]},
    ]
    answers = {
        "a1": JSON.replace("DeskPilot", "TimeForge"),
        "b2": JSON,
        "c3": "The report is early.\nPlease send it on Monday.\nThank you.",
        "d4": "\x1b]52;c;aGk=\x07[/x] \u202eevil",
    }
    for number, by_prompt in enumerate(scores):
        rows = [
            response(id_, sample, prompt=prompt, target=target, answer=answers[id_])
            for id_, (prompt, target) in TICKETS.items()
            for sample in (0, 1)
        ]
        judged = [verdict for id_ in TICKETS for sample in (0, 1) for verdict in verdicts(id_, sample, *by_prompt[id_])]
        write(run.round(number), rows, judged)
    return run


def draw(run: Run, *answers: tuple[str, int]) -> None:
    """The decision on round 1, with the answers that are drawn for review."""
    even, shares = Interval(mean=70, low=60, high=80), Shares(precision=1, similarity=1)
    decision = Decision(
        round=1,
        outcome="continue",
        reason="Short of the target.",
        precision=even,
        similarity=even,
        coverage_50=shares,
        coverage_70=shares,
        prompts=4,
        verdicts=16,
        errors=2,
        best_round=1,
        drawn=tuple(DrawnAnswer(id=id_, sample=sample) for id_, sample in answers),
    )
    jsonl.write_json(run.decision_file(1), records.to_row(decision))
