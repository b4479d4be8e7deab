"""Where a take-over stands, kept in its folder: what people told it, and what the canary decided by itself."""

from __future__ import annotations

import contextlib
import time

from msgspec.structs import replace

from engine.protocol import jsonl, records
from engine.protocol.errors import damaged_as
from engine.protocol.takeover import DoorCommand, DoorState, Mode, TakeoverFiles, commands, read_state
from engine.takeover.canary import Canary, begin
from engine.takeover.journal import Journal

DOOR = "door"
"""Who makes the changes that no person asked for."""

BY_HAND = "rolled back by hand"


class Standing:
    """The state and the canary; one door at a time changes them."""

    def __init__(self, at: TakeoverFiles, mode: Mode, margin: float, journal: Journal) -> None:
        """Goes on from the files, else begins in `mode`."""
        self._at, self._margin, self._journal = at, margin, journal
        self._canary = _read_canary(at) or begin(margin)
        if self._canary.margin != margin:
            self._canary = begin(margin)
        self.state = read_state(at) or DoorState(mode=mode, share=self._canary.share)
        self._by_hand: float | None = None
        self._seen = 0
        self._changed = False
        self._done: set[str] = set()

    @property
    def by_hand(self) -> bool:
        """Whether a person has set the share: it then moves no more by itself, but for a roll-back."""
        return self._by_hand is not None

    async def resume(self) -> None:
        """Take note of the commands that were obeyed before this door; call `obey` for the others."""
        applied, given = await self._journal.applied(), list(commands(self._at))
        # Commands are obeyed in order: one that changed nothing is in no journal, and must not be obeyed later.
        last = max((number for number, command in enumerate(given) if command.id in applied), default=-1)
        self._done = applied | {command.id for command in given[: last + 1]}
        for command in given:
            if command.id in self._done and command.kind in ("share", "mode"):
                self._by_hand = command.share
        self.write()

    def obey(self, *, writes: bool = True) -> None:
        """Do what people have asked for since the last look; each command once, also across doors.

        Comparisons since then are written down, too, unless a successor `writes` the files already.
        """
        if self._changed and writes:
            self.write()
        size = self._at.commands.stat().st_size if self._at.commands.exists() else 0
        if size == self._seen:
            return
        self._seen = size
        for command in commands(self._at):
            if command.id not in self._done:
                self._done.add(command.id)
                self._obey(command)
                self.state = replace(self.state, obeyed=command.id)
        if writes:
            self.write()

    def _obey(self, command: DoorCommand) -> None:
        state, what = self.state, str(command.kind)
        match command.kind:
            case "mode" if command.mode is not None:
                if state.rolled_back:
                    self._canary = begin(self._margin)
                self._by_hand = None
                self.state = replace(state, mode=command.mode, paused=False, rolled_back="", share=self._canary.share)
                what = f"mode {command.mode.value}"
            case "share" if command.share is None:
                self._by_hand, self.state = None, replace(state, share=self._canary.share)
                what = "share by itself"
            case "share" if (share := command.share) is not None and 0 <= share <= 1:
                self._by_hand, self.state = share, replace(state, share=share)
                what = f"share {100 * share:g} %"
            case "pause" | "resume" if state.paused != (command.kind == "pause"):
                self.state = replace(state, paused=command.kind == "pause")
            case "roll-back" if not state.rolled_back:
                self._canary = self._canary.back(BY_HAND)
                self.state = replace(state, rolled_back=BY_HAND, share=0.0)
            case _:
                return
        self._journal.changed(command.who, what, id_=command.id)

    def take(self, difference: float, same: bool) -> None:
        """Move the canary by one comparison; it raises the share, or rolls back, and writes down why."""
        if self._canary.rolled_back:
            return
        before, self._canary = self._canary, self._canary.after([difference], int(same))
        state, now = self.state, self._canary
        found = now.overall.interval
        self._journal.stands(now.overall.count, found, now.share)
        if now.rolled_back:
            self.state = replace(state, rolled_back=now.rolled_back, share=0.0)
            self._journal.changed(DOOR, "roll-back", now.rolled_back)
            self.write()
        elif now.share > before.share and not self.by_hand:
            self.state = replace(state, share=now.share)
            why = f"at most {-found.low:.1f} points worse, over {now.overall.count:,} compared answers"
            self._journal.changed(DOOR, f"share {100 * now.share:g} %", why)
        self._changed = True

    def hold(self, why: str) -> None:
        """Say why nothing is compared at the moment; "" where that is over."""
        if why != self.state.held:
            self.state = replace(self.state, held=why)
            if why:
                self._journal.changed(DOOR, "comparisons held", why)
            self.write()

    def write(self) -> None:
        """Put the state and the canary into the folder; a full disk keeps no request from its answer."""
        self._changed, overall = False, self._canary.overall
        self.state = replace(
            self.state,
            compared=overall.count,
            agreed=self._canary.agreed,
            difference=overall.interval if overall.count else None,
            time=time.time(),
        )
        with contextlib.suppress(OSError):
            jsonl.write_json(self._at.canary, records.to_row(self._canary), mode=0o600)
            jsonl.write_json(self._at.state, records.to_row(self.state), mode=0o600)


def _read_canary(at: TakeoverFiles) -> Canary | None:
    row = jsonl.read_json(at.canary)
    with damaged_as(at.canary):
        return None if row is None else records.build(Canary, row)
