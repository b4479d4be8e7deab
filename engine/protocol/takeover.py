"""The files of a take-over, its modes, where it stands, and what people tell it: what the door and the app share."""

from __future__ import annotations

import getpass
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Literal

import msgspec
from msgspec.structs import replace

from engine.protocol import file_lock, jsonl, records
from engine.protocol.decision import FinalDecision, Interval
from engine.protocol.errors import damaged_as
from engine.protocol.status import Process

CHAT_PATH = "/v1/chat/completions"


class Mode(StrEnum):
    """Which side answers a chat request.

    shadow: the service; the local model is asked too. canary: a share goes to the local model. local-first: the local
    model, and the service where that fails or is not sure. fallback: the service, and the local model where that is
    out. local-only: the local model.
    """

    SHADOW = "shadow"
    CANARY = "canary"
    LOCAL_FIRST = "local-first"
    FALLBACK = "fallback"
    LOCAL_ONLY = "local-only"

    @property
    def compares(self) -> bool:
        """Whether answers of both sides are compared."""
        return self in (Mode.SHADOW, Mode.CANARY)


class Side(StrEnum):
    """A side that can answer; NOBODY where a request got an error of the door's own."""

    SERVICE = "service"
    LOCAL = "local"
    NOBODY = "nobody"


class TakeoverFiles(msgspec.Struct, frozen=True):
    """The files in `RUN/takeover/`."""

    folder: Path

    @property
    def settings(self) -> Path:
        return self.folder / "settings.json"

    @property
    def state(self) -> Path:
        return self.folder / "state.json"

    @property
    def status(self) -> Path:
        return self.folder / "status.json"

    @property
    def commands(self) -> Path:
        return self.folder / "commands.jsonl"

    @property
    def lock(self) -> Path:
        """Held by the keeper while it is at work."""
        return self.folder / "lock"

    @property
    def drill_lock(self) -> Path:
        """Held by a drill while it is at work."""
        return self.folder / "drill.lock"

    @property
    def canary(self) -> Path:
        return self.folder / "canary.json"

    @property
    def journal(self) -> Path:
        return self.folder / "journal.sqlite"

    @property
    def log(self) -> Path:
        return self.folder / "door.log"

    @property
    def local_log(self) -> Path:
        """What the local model's server prints, where the keeper starts it."""
        return self.folder / "local.log"


class DoorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a door is set up: what `[takeover]` says, with the options of the command.

    `local` is the address of the local model's server, such as http://127.0.0.1:8000/v1; `local_model` is its name
    there. `artefact` names the released artefact whose server the door's keeper starts, "" where another one is asked.
    `input_usd` and `output_usd` are the service's prices of a token, 0 where they are unknown. `service_base` replaces
    the address of the service, as a drill does.
    """

    host: str
    port: int
    key_env: str | None
    local: str
    local_model: str = ""
    local_key_env: str | None = None
    artefact: str = ""
    timeout_s: float
    compare: float
    margin: float
    budget_usd: float | None
    contents: bool
    input_usd: float = 0.0
    output_usd: float = 0.0
    service_base: str = ""

    @property
    def loopback(self) -> bool:
        """Whether only this machine reaches the door."""
        return self.host in ("127.0.0.1", "localhost", "::1")


class DoorState(msgspec.Struct, frozen=True, kw_only=True):
    """Where a take-over stands.

    `share` is what the canary moves now, 0 to 1. `compared` answers of both sides had a mean `difference`, local minus
    service in points, whose bounds hold at all times; `agreed` of them were the same. `held` says why nothing is
    compared at the moment, `rolled_back` why the canary ended, both "" otherwise. `obeyed` is the id of the last
    command that was carried out.
    """

    mode: Mode
    share: float = 0.0
    paused: bool = False
    rolled_back: str = ""
    held: str = ""
    compared: int = 0
    agreed: int = 0
    difference: Interval | None = None
    time: float = 0.0
    obeyed: str = ""


class DoorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The processes of a door: `keeper` holds the port and starts `door` again where that ends.

    `starts` counts the doors so far. `stopped` is set once the door has been stopped by hand.
    """

    keeper: Process
    address: str
    door: Process | None = None
    starts: int = 0
    stopped: bool = False

    @property
    def alive(self) -> bool:
        """Whether the door answers: its keeper may be gone while the door itself still works."""
        return not self.stopped and (self.keeper.alive or (self.door is not None and self.door.alive))


class DoorCommand(msgspec.Struct, frozen=True, kw_only=True):
    """Tells a door at work to change: a `mode` or a `share` goes with the kind of that name; `who` asked for it."""

    kind: Literal["mode", "share", "pause", "resume", "roll-back"]
    mode: Mode | None = None
    share: float | None = None
    who: str = msgspec.field(default_factory=lambda: f"{getpass.getuser()}@{socket.gethostname()}")
    id: str = msgspec.field(default_factory=lambda: uuid.uuid4().hex)
    time: float = msgspec.field(default_factory=lambda: round(time.time(), 3))


def may_answer(final: FinalDecision | None) -> bool:
    """Whether a run shows that the local model may answer: its target is reached, or a part is certified."""
    return final is not None and (final.reached or (final.part is not None and final.part.certified))


def files(run_folder: Path) -> TakeoverFiles:
    """The files of a run's take-over."""
    return TakeoverFiles(run_folder / "takeover")


def read_settings(at: TakeoverFiles) -> DoorSettings | None:
    """How the door was set up, None before it was. Raises DamagedError."""
    row = jsonl.read_json(at.settings)
    with damaged_as(at.settings):
        return None if row is None else records.build(DoorSettings, row)


def read_state(at: TakeoverFiles) -> DoorState | None:
    """Where the take-over stands, None before its start. Raises DamagedError."""
    row = jsonl.read_json(at.state)
    with damaged_as(at.state):
        return None if row is None else records.build(DoorState, row)


def read_status(at: TakeoverFiles) -> DoorStatus | None:
    """The door's processes, None before its start. Raises DamagedError.

    A door of another machine, or from before a reboot, has stopped where nobody holds its lock.
    """
    row = jsonl.read_json(at.status)
    with damaged_as(at.status):
        status = None if row is None else records.build(DoorStatus, row)
    if status is not None and not status.keeper.here and file_lock.is_held(at.lock) is False:
        return replace(status, stopped=True)
    return status


def send(at: TakeoverFiles, command: DoorCommand) -> None:
    """Append a command to the door's commands."""
    jsonl.append(at.commands, [records.to_row(command)])


def commands(at: TakeoverFiles) -> Iterator[DoorCommand]:
    """All commands, oldest first; lines of another form are passed over."""
    for line in jsonl.lines(at.commands):
        with suppress(ValueError, AttributeError):
            yield records.build(DoorCommand, jsonl.loads(line))
