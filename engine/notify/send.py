"""Sending a message to every target at once: a command, a webhook, and whatever Apprise knows.

A target that hangs, refuses or does not exist costs the others nothing; none is tried for longer than `LONGEST_S`.
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
from dataclasses import asdict, dataclass
from functools import partial

from engine.notify.notice import Notice
from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.processes import kill_tree
from engine.protocol.secrets import without_keys
from engine.settings.notify import Notify, filled

LONGEST_S = 30.0
"""For a command; Apprise and webhooks get as long for all that they send."""


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
    problems = dict.fromkeys(ways, f"no end after {LONGEST_S:g} s")

    def go(name: str) -> None:
        try:
            problems[name] = without_keys(ways[name](), settings.variables)
        except LlamaDuoError as error:
            problems[name] = error.message
        except Exception as error:  # noqa: BLE001 - a library's own; its text may hold the address
            problems[name] = type(error).__name__

    threads = [threading.Thread(target=go, args=(name,), daemon=True) for name in ways]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + LONGEST_S + 1
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
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
        response = httpx.post(filled(address, env), json=row, timeout=LONGEST_S / 3)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, UnicodeError) as error:
        return f"cannot be reached ({type(error).__name__})"
    return "" if response.is_success else f"HTTP status {response.status_code}"


def _apprise(address: str, notice: Notice, env: Mapping[str, str]) -> str:
    try:
        import apprise
    except ImportError:
        raise InputError("Apprise is not installed", "run: pip install apprise") from None
    reasons = _Reasons()
    logger = logging.getLogger("apprise")
    logger.propagate = False  # its lines name addresses
    logger.addHandler(reasons)
    target = apprise.Apprise.instantiate(filled(address, env))
    if target is None:
        return "not an address that Apprise knows"
    target.socket_connect_timeout = target.socket_read_timeout = LONGEST_S / 3
    notifier = apprise.Apprise()
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
        self.said = f"HTTP status {found[1]}" if found else self.said
