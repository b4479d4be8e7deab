"""Rows of runs in format 1 (llamaduo-tui 0.1), as format 2 writes them.

Format 1 had an event and a command for each question, a command for each response that a person reviewed, and called a
run `stopped` that ended short of its target.
"""

from __future__ import annotations

from typing import Any

from engine.protocol.questions import APPROVE, BUDGET, PAIRS, REJECT, ROUND

Row = dict[str, Any]

_ANSWERS = {"approve": (ROUND, APPROVE), "reject": (ROUND, REJECT), "train": (PAIRS, APPROVE)}


def event(row: Row) -> Row:
    """An event; one that format 2 still has stays as it is."""
    match row.get("kind"):
        case "approval.requested":
            asked = {key: row.get(key) for key in ("round", "reason", "pairs", "cost_usd", "seconds")}
            return {**row, "kind": "question.asked", "question": {**asked, **_approval(row)}}
        case "approval.given":
            question = {"round": row.get("round"), "reason": "", "pairs": row.get("pairs"), **_approval(row)}
            choice = APPROVE if row.get("approved") else REJECT
            return {
                **row,
                "kind": "question.answered",
                "question": question,
                "choice": choice,
                "answer": row.get("command"),
            }
        case "budget.used_up":
            asked = {key: row[key] for key in ("round", "reason", "cap", "used", "least") if key in row}
            return {**row, "kind": "question.asked", "question": {"kind": BUDGET, **asked}}
        case "run.finished" if row.get("state") == "stopped" and row.get("report"):
            return {**row, "state": "missed"}
    return row


def command(row: Row) -> Row:
    """A command; one that format 2 still has stays as it is."""
    if row.get("kind") == "label":
        return {**row, "kind": "labels", "responses": [(row.get("prompt"), row.get("sample"))]}
    if (answer := _ANSWERS.get(str(row.get("kind")))) is None:
        return row
    kind, choice = answer
    return {**row, "kind": "answer", "question": f"{kind}/{row.get('round')}", "choice": choice}


def status(row: Row, complete: bool) -> Row:
    """A status; `complete` tells whether the run has its report. The open question is in the events alone."""
    return {**row, "state": "missed"} if complete and row.get("state") == "stopped" else row


def _approval(row: Row) -> Row:
    """Kind and choices of a question in the form of an approval, which named a stage where it was about new pairs."""
    if row.get("stage") == "synthesize":
        return {"kind": PAIRS, "choices": [APPROVE]}
    return {"kind": ROUND, "choices": [APPROVE, REJECT]}
