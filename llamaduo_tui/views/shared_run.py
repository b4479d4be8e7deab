"""A shared run of somebody else: its state and scores are readable, its events and logs are not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from engine.protocol.decision import Decision
from engine.protocol.events import Event, Log, RoundScored, RunFinished, ServiceUsage, StageStarted
from engine.protocol.run_dir import Run
from engine.protocol.sharing import owner
from engine.protocol.status import Status


class SharedRun:
    """Tells what the state of a run shows as events, each once."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._told: set[object] = set()

    def read_new(self, status: Status) -> list[Event]:
        """The events that follow from what was not told before."""
        return [event for key, event in self._events(status) if self._is_new(key)]

    def _is_new(self, key: object) -> bool:
        new = key not in self._told
        self._told.add(key)
        return new

    def _events(self, status: Status) -> Iterator[tuple[object, Event]]:
        shares = (
            f"a run of {owner(self._run) or 'another user'}, who shares its state and scores: nothing to change here"
        )
        yield "owner", Log(level="info", message=shares)
        for decision in self._run.decisions():
            yield ("decision", decision.round), _scored(decision)
        usage = ServiceUsage(
            calls=status.calls,
            cached_calls=status.cached_calls,
            failed_calls=0,
            prompt_tokens=status.tokens,
            completion_tokens=0,
            cost_usd=status.cost_usd,
            interrupted_calls=status.interrupted_calls,
            interrupted_usd=status.interrupted_usd,
        )
        yield usage, usage
        if status.stage is not None:
            yield (status.stage, status.round), StageStarted(stage=status.stage, round=status.round)
        if status.state.ended:
            yield "end", self._end(status)

    def _end(self, status: Status) -> RunFinished:
        final = None
        with suppress(PermissionError):
            final = self._run.final_decision()
        if final is None:
            return RunFinished(state=status.state, reason="It has ended.")
        return RunFinished(state=status.state, reason=final.told, best_round=final.best_round, sealed=final.sealed)


def _scored(decision: Decision) -> RoundScored:
    return RoundScored(round=decision.round, stage="decide", decision=decision)
