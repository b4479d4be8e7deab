"""Sending a message to every target at once: a command, a webhook, and whatever Apprise knows.

A target that hangs, refuses or does not exist costs the others nothing; none is tried for longer than `LONGEST_S`, and
none may answer with more than there is room for. No redirect is followed: a POST would become a GET, which delivers
nothing, or the message would reach another server than the one in the settings.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import psutil
from msgspec.structs import asdict

from engine.notify.notice import Notice
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.processes import kill_tree
from engine.protocol.secrets import without_keys
from engine.settings.notify import Notify, filled

LONGEST_S = 30.0
"""For a command; Apprise and webhooks get as long for all that they send."""


MOST_BYTES, LOOK_S = 256 * 2**20, 0.05
"""Memory that the answers of all targets may take, and seconds between two looks at it."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of a message to one target; `problem` is "" where it arrived."""

    target: str
    problem: str


def send(settings: Notify, notice: Notice, environment: Mapping[str, str] | None = None) -> list[Delivery]:
    """Send a message to all targets, and say what became of it, without secrets."""
    env = os.environ if environment is None else environment
    ways: dict[str, Callable[[], str]] = {}
    if settings.command:
        ways["command"] = partial(_run, settings.command, notice, env)
    if settings.webhook:
        ways["webhook"] = partial(_post, settings.webhook, notice, env)
    for number, address in enumerate(settings.apprise, start=1):
        ways[f"apprise {number}"] = partial(_apprise, address, notice, env)
    problems, done = dict.fromkeys(ways, f"no end after {LONGEST_S:g} s"), set[str]()

    def go(name: str) -> None:
        try:
            problems[name] = without_keys(ways[name](), settings.variables)
        except LlamaDuoError as error:
            problems[name] = error.message
        except Exception as error:  # noqa: BLE001 - a library's own; its text may hold the address
            problems[name] = type(error).__name__
        done.add(name)

    threads = [threading.Thread(target=go, args=(name,), daemon=True) for name in ways]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + LONGEST_S + 1
    process = psutil.Process()
    most = process.memory_info().rss + MOST_BYTES
    while (going := [thread for thread in threads if thread.is_alive()]) and time.monotonic() < deadline:
        going[0].join(LOOK_S)
        if process.memory_info().rss > most:  # a server that never ends its answer
            problems |= dict.fromkeys(ways.keys() - done, "its answer is too long")
            break
    return [Delivery(name, problem) for name, problem in problems.items()]


def _run(command: str, notice: Notice, env: Mapping[str, str]) -> str:
    """Run the command; its problem is its exit status, since its output may hold anything."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        return f"cannot be split into words: {error}"
    told = {
        "LLAMADUO_EVENT": notice.kind,
        "LLAMADUO_RUN": notice.run,
        "LLAMADUO_TITLE": notice.title,
        "LLAMADUO_TEXT": notice.text,
    }
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**env, **told},
            start_new_session=True,
        )
    except OSError as error:
        return f"{words[0] if words else 'no command'}: {error.strerror}"
    try:
        process.communicate(f"{notice.title}\n{notice.text}\n".encode(), timeout=LONGEST_S)
    except subprocess.TimeoutExpired:
        kill_tree(process.pid)
        process.wait()
        return f"no end after {LONGEST_S:g} s"
    return f"exit status {process.returncode}" if process.returncode else ""


def _post(address: str, notice: Notice, env: Mapping[str, str]) -> str:
    import httpx

    row = {**asdict(notice), "lines": list(notice.lines), "text": f"{notice.title}\n{notice.text}"}
    try:
        with httpx.stream("POST", filled(address, env), json=row, timeout=LONGEST_S / 3) as response:
            return "" if response.is_success else _refused(response.status_code)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, UnicodeError) as error:
        return f"cannot be reached ({type(error).__name__})"


def _refused(status: int) -> str:
    """A status as a problem, with what to do about a redirect."""
    where = ": name the address that it redirects to" if 300 <= status < 400 else ""
    return f"HTTP status {status}{where}"


def _apprise(address: str, notice: Notice, env: Mapping[str, str]) -> str:
    try:
        import apprise
    except ImportError:
        raise InputError("Apprise is not installed", "run: pip install apprise") from None
    reasons = _Reasons()
    logger = logging.getLogger("apprise")
    logger.propagate = False  # its lines name addresses
    logger.addHandler(reasons)
    asset = apprise.AppriseAsset(http_redirects=False)
    target = apprise.Apprise.instantiate(filled(address, env), asset=asset)
    if target is None:
        return "not an address that Apprise knows"
    target.socket_connect_timeout = target.socket_read_timeout = LONGEST_S / 3
    notifier = apprise.Apprise(asset=asset)
    notifier.add(target)
    sent = notifier.notify(title=notice.title, body=notice.text, body_format=apprise.NotifyFormat.TEXT)
    return "" if sent else reasons.said or "not delivered"


class _Reasons(logging.Handler):
    """Keeps the error number of Apprise's last warning; the rest of the line may hold the address."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said = ""

    def emit(self, record: logging.LogRecord) -> None:
        found = re.search(r"error[= ](\d{3})", record.getMessage())
        self.said = _refused(int(found[1])) if found else self.said
