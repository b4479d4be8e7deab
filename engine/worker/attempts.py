"""How often a round's new pairs were approved: an approval is used up where the service wrote no usable pair for it.

Without that a worker that comes back would make the same attempt for ever, and nobody could finish with the best round.
"""

from __future__ import annotations

from engine.protocol import commands
from engine.protocol.questions import APPROVE, REJECT, ROUND, Question
from engine.protocol.run_dir import Run
from engine.protocol.stages import SYNTHESIZE
from engine.stages.synthesize import brought_nothing


def attempt(run: Run, number: int) -> str:
    """The name of the question for a round's next synthesis: "" for the first attempt, then "2", "3" and so on."""
    approved = 0
    while _is_approved(run, number, _name(approved)):
        approved += 1
    used_up = brought_nothing(SYNTHESIZE.folder(run, number))
    return _name(approved if used_up else max(0, approved - 1))


def _name(before: int) -> str:
    return f"{before + 1}" if before else ""


def _is_approved(run: Run, number: int, name: str) -> bool:
    asked = Question(kind=ROUND, round=number, reason="", choices=(APPROVE, REJECT), name=name)
    given = commands.answer(run.commands_file, asked)
    return given is not None and given.choice == APPROVE
