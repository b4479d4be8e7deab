"""The questions that a follower asks, and the commands that the keys send to the worker."""

from __future__ import annotations

from dataclasses import dataclass

from engine import commands
from engine.commands import Command
from engine.run import Run
from llamaduo_tui import words
from llamaduo_tui.state import RunView
from llamaduo_tui.text import one_line

_LEAVE = ["The run can go on without you", "[l] leave it running    [s] stop it    [w] go on watching"]


@dataclass
class Asking:
    """Which question is open: `leaving` after Ctrl+C, else the worker's own for approval."""

    run: Run
    leaving: bool = False
    stopping: bool = False
    _answered: int = 0

    def card(self, view: RunView) -> list[str]:
        """The lines of the open question, its title first; none where nothing is asked."""
        if self.leaving:
            return _LEAVE
        approval = view.approval
        if approval is None or self.stopping or approval.seq == self._answered:
            return []
        best = max((s.score.best_round or 0 for s in view.sections if s.score is not None), default=0)
        return [
            "Pay for another round?",
            one_line(approval.reason, 220),
            f"It would add {words.price(approval)}.",
            f"[a] approve   [f] finish with the best round ({best})   [x] stop, resume later",
        ]

    def press(self, view: RunView, key: str) -> bool:
        """Act on a key; True where the follower is to leave."""
        if self.leaving:
            self.leaving = key not in ("l", "s", "w")
            if key == "s":
                self._stop()
            return key == "l"
        if self.card(view) and view.approval is not None and key in ("a", "f", "x"):
            approval = view.approval
            self._answered = approval.seq
            if key == "x":
                self._stop()
            else:
                kind: commands.Kind = "approve" if key == "a" else "reject"
                pairs = approval.pairs if key == "a" else None
                commands.send(self.run.commands_file, Command(kind=kind, round=approval.round, pairs=pairs))
        return False

    def _stop(self) -> None:
        self.stopping = True
        worker = self.run.status().process
        commands.send(self.run.commands_file, Command(kind="stop", worker=worker.pid if worker else None))
