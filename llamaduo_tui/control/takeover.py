"""Starting, telling and ending the door of a take-over: a process of its own that outlives the terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from engine.protocol import file_lock, isolation, plain_file
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.processes import DOOR
from engine.protocol.processes import send as send_signal
from engine.protocol.release import read_gates, read_served
from engine.protocol.run_dir import Run
from engine.protocol.secrets import without_secrets
from engine.protocol.sharing import check_mine
from engine.protocol.takeover import (
    DoorCommand,
    DoorState,
    DoorStatus,
    TakeoverFiles,
    commands,
    files,
    read_state,
    read_status,
    send,
)
from engine.settings.load import settings_of
from engine.takeover.environment import needed
from llamaduo_tui.paths import called
from llamaduo_tui.views.text import clean

POLL_S = 0.05
START_S = 1900.0
"""A large released model takes many minutes to load; a door that cannot start says so at once."""

RESTART_S = 120.0
OBEY_S = 10.0
FASTEST, SLOWEST, LEAST_REQUESTS, DRILL_S = 5.0, 0.5, 20, 40.0
"""The requests a second of a drill, how many there are at least for each mode, and the seconds that these take."""

STOP_S = 200.0
"""A door that ends waits for its answers in flight."""


def state_of(run: Run) -> DoorState | None:
    """Where a run's take-over stands, None before its start."""
    return read_state(files(run.folder))


def at_work(run: Run) -> tuple[TakeoverFiles, DoorStatus | None]:
    """The take-over's files, and the status of its door where one is at work."""
    at = files(run.folder)
    status = read_status(at)
    return at, status if status is not None and status.alive else None


def start(run: Run, options: Sequence[str], key_names: Collection[str] = ()) -> DoorStatus:
    """Start a door and wait until it answers. Raises LlamaDuoError with what it said where it does not start.

    `key_names` are the variables with keys that the options name.
    """
    environment = _environment(run, key_names)
    begun = subprocess.run(
        isolation.module("engine.takeover", "begin", str(run.folder.resolve()), *options),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=_own_folder(run),
        env=environment,
        check=False,
    )
    if begun.returncode:
        raise _said(begun.stderr, begun.returncode)
    at = files(run.folder)
    before = at.log.stat().st_size if at.log.exists() else 0
    descriptor = os.open(at.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "ab") as log:
        keeper = subprocess.Popen(
            isolation.module("engine.takeover", "keep", str(run.folder.resolve())),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=_own_folder(run),
            env=environment,
            start_new_session=True,
        )
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        ended = keeper.poll()
        status = read_status(at)
        if status is not None and status.keeper.pid == keeper.pid and status.door is not None and not status.stopped:
            return status
        if ended is not None:
            with plain_file.open_file(at.log) as log:
                log.seek(before)
                raise _said(log.read().decode(errors="replace"), ended)
        time.sleep(POLL_S)
    raise LlamaDuoError("the door does not answer yet", f"see its log: {at.log}")


def drill(run: Run, options: Sequence[str], key_name: str | None) -> int:
    """Rehearse in the foreground; the exit status is 0 where nothing failed. `key_name` is the local server's key."""
    command, environment = _drilling(run, options, key_name)
    return subprocess.run(command, cwd=_own_folder(run), env=environment, check=False).returncode


def drill_pace(run: Run) -> list[str]:
    """The options of a drill that the released model can keep up with: half as fast as it answered its gate.

    On a processor that is a request in two seconds; at a faster rate all would wait, and the page would show no more
    than that. Each mode takes about DRILL_S.
    """
    rates = [gate.prompts / gate.seconds for gate in read_gates(run.release) if gate.passed and gate.seconds]
    rate = min(FASTEST, max(SLOWEST, 0.5 * rates[0])) if rates else FASTEST
    return [f"--requests={max(LEAST_REQUESTS, round(rate * DRILL_S))}", f"--rate={rate:.1f}"]


def start_drill(run: Run, log: Path) -> subprocess.Popen[bytes]:
    """Rehearse in a session of its own; what it says, and its page, go into a new `log`.

    Raises LlamaDuoError while another drill is at work, whose log it is.
    """
    if file_lock.is_held(files(run.folder).drill_lock):
        raise LlamaDuoError(f"a drill of {run.name} is at work already", "wait for its end: the log shows its page")
    command, environment = _drilling(run, drill_pace(run), None)
    log.parent.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=_own_folder(run),
            env=environment,
            start_new_session=True,
        )


def _drilling(run: Run, options: Sequence[str], key_name: str | None) -> tuple[list[str], dict[str, str]]:
    """The command of a drill, and its environment."""
    settings = settings_of(run)
    keys = {name for name in (key_name, settings.takeover.local_key_env) if name}
    command = isolation.module("engine.takeover", "drill", str(run.folder.resolve()), *options)
    return command, without_secrets(os.environ, settings.key_names | keys, keys)


def _own_folder(run: Run) -> Path:
    """The folder that a run's processes work in. Raises InputError where this user may only read the run."""
    check_mine(run)
    run.work.mkdir(exist_ok=True)
    return run.work


def _environment(run: Run, key_names: Collection[str]) -> dict[str, str]:
    """The environment of a door's processes, with no keys but those that the door needs."""
    served = read_served(run.release)
    keys = {*key_names} | ({served.key_env} if served is not None and served.key_env else set())
    return needed(settings_of(run), os.environ, keys)


def tell(run: Run, command: DoorCommand) -> DoorState:
    """Tell the door at work to change, and wait until it has. Raises InputError where there is none."""
    at, status = at_work(run)
    if status is None:
        raise _no_door(run)
    send(at, command)
    end = time.monotonic() + OBEY_S
    while time.monotonic() < end:
        state = read_state(at)
        if state is not None and _has_obeyed(at, state, command):
            return state
        time.sleep(POLL_S)
    raise LlamaDuoError("the door has not obeyed yet", f"see its log: {at.log}")


def _has_obeyed(at: TakeoverFiles, state: DoorState, command: DoorCommand) -> bool:
    """Whether a command was obeyed, or one after it, whatever the clocks of door and terminal say."""
    ids = [one.id for one in commands(at)]
    return command.id in ids and state.obeyed in ids[ids.index(command.id) :]


def restart(run: Run) -> DoorStatus:
    """Let another door take over from the one at work; no request fails.

    Raises InputError where there is none, LlamaDuoError where its process is not provably that of this run.
    """
    at, status = at_work(run)
    if status is None or not status.keeper.alive:
        raise _no_door(run)
    send_signal(status.keeper, signal.SIGHUP, DOOR, run.folder)
    end = time.monotonic() + RESTART_S
    while time.monotonic() < end:
        now = read_status(at)
        if now is not None and now.starts > status.starts:
            return now
        time.sleep(POLL_S)
    raise LlamaDuoError("the other door does not answer yet", f"see its log: {at.log}")


def stop(run: Run) -> None:
    """End the door at work; its answers in flight are finished. Raises as `restart`."""
    _, status = at_work(run)
    if status is None:
        raise _no_door(run)
    processes = [one for one in (status.keeper, status.door) if one is not None and one.here and one.alive]
    first = status.keeper if status.keeper.alive or not processes else processes[0]  # a keeper may have been killed
    send_signal(first, signal.SIGTERM, DOOR, run.folder)
    end = time.monotonic() + STOP_S
    while any(one.alive for one in processes):
        if time.monotonic() > end:
            pids = " ".join(str(one.pid) for one in processes)
            raise LlamaDuoError("the door was asked to stop but still works", f"as a last resort: kill -9 {pids}")
        time.sleep(POLL_S)


def _no_door(run: Run) -> InputError:
    return InputError(
        f"{run.name}: no door is at work", f"start one: llamaduo-tui takeover {called(run)} --mode shadow"
    )


def _said(output: str, exit_status: int) -> LlamaDuoError:
    """The error that a process printed before it ended."""
    lines = [line for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    hints = [line.removeprefix("hint: ") for line in lines if line.startswith("hint: ")]
    message = errors[-1] if errors else (lines[-1] if lines else f"exit status {exit_status}")
    error = LlamaDuoError(clean(message), clean(hints[-1]) if hints else "")
    error.exit_status = exit_status
    return error
