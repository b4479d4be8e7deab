"""Messages over the wire: a webhook, a command and an ntfy server get each of them once; dead ones harm nothing."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.notify import send as sending
from engine.notify.notice import Notice, trial
from engine.notify.send import Delivery, send
from engine.settings.notify import Notify


@dataclass
class Inbox:
    """A server that keeps what it gets, and answers with `status` after `delay` seconds."""

    status: int = 200
    delay: float = 0.0
    endless: bool = False
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    kept = Inbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.got.append((self.path, {key.lower(): value for key, value in self.headers.items()}, body))
            time.sleep(kept.delay)
            self.send_response(kept.status)
            if 300 <= kept.status < 400:
                self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", str(2**40) if kept.endless else "2")
            self.end_headers()
            with suppress(OSError):
                self.wfile.write(b"{}")
                while kept.endless:
                    self.wfile.write(b"x" * 2**16)

        def do_GET(self) -> None:
            kept.got.append((self.path, {}, b""))
            self.send_error(404)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    kept.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield kept
    server.shutdown()
    server.server_close()


@pytest.fixture
def notice() -> Notice:
    return trial("tickets")


def command(file: Path, then: str = "") -> str:
    """A command that writes what it is told into a file."""
    return f"""sh -c 'cat > {file}; echo "$LLAMADUO_EVENT $LLAMADUO_RUN" >> {file}; {then}'"""


def test_each_target_gets_the_message_once(inbox: Inbox, notice: Notice, tmp_path: Path) -> None:
    said = tmp_path / "said"
    settings = Notify(
        command=command(said), webhook=f"{inbox.address}/hook", apprise=[f"ntfy://127.0.0.1:{inbox.port}/topic"]
    )
    assert send(settings, notice) == [Delivery("command", ""), Delivery("webhook", ""), Delivery("apprise 1", "")]
    lines = said.read_text().splitlines()
    assert lines[0] == "tickets: a test message" and lines[-1] == "test tickets"
    assert len(inbox.got) == 2
    posted = next(json.loads(body) for path, _, body in inbox.got if path == "/hook")
    assert posted["kind"] == "test" and posted["run"] == "tickets"
    assert posted["text"].startswith("tickets: a test message\n")  # what Slack shows
    assert any(
        b"tickets: a test message" in body or "title" in head for path, head, body in inbox.got if path != "/hook"
    )


def test_secrets_come_from_the_environment_and_stay_there(inbox: Inbox, notice: Notice) -> None:
    settings = Notify(webhook=f"{inbox.address}/services/$HOOK_PATH", apprise=["$NTFY"])
    env = {"HOOK_PATH": "T0123456789/B/secret", "NTFY": f"ntfy://user:passw0rd@127.0.0.1:{inbox.port}/secret-topic"}
    assert settings.variables == {"HOOK_PATH", "NTFY"} and settings.missing({"NTFY": "x"}) == ["HOOK_PATH"]
    assert [one.problem for one in send(settings, notice, env)] == ["", ""]
    assert {path for path, _, _ in inbox.got} >= {"/services/T0123456789/B/secret"}
    inbox.status = 403
    problems = {one.target: one.problem for one in send(settings, notice, env)}
    assert problems == {"webhook": "HTTP status 403", "apprise 1": "HTTP status 403"}
    absent = {one.target: one.problem for one in send(settings, notice, {})}
    assert absent == {"webhook": "HOOK_PATH is not in the environment", "apprise 1": "NTFY is not in the environment"}


def test_no_redirect_is_followed(inbox: Inbox, notice: Notice) -> None:
    """A POST would become a GET, which looks delivered; the other server may be anybody's."""
    settings = Notify(webhook=f"{inbox.address}/hook", apprise=[f"ntfy://127.0.0.1:{inbox.port}/topic"])
    for inbox.status in (301, 302, 307, 308):
        said = f"HTTP status {inbox.status}: name the address that it redirects to"
        assert [one.problem for one in send(settings, notice)] == [said, said]
    assert [path for path, _, _ in inbox.got if path == "/elsewhere"] == []
    assert len(inbox.got) == 8


def test_an_endless_answer_ends(inbox: Inbox, notice: Notice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "MOST_BYTES", 2**25)
    inbox.endless = True
    settings = Notify(webhook=f"{inbox.address}/hook", apprise=[f"ntfy://127.0.0.1:{inbox.port}/topic"])
    assert [one.problem for one in send(settings, notice)] == ["", "its answer is too long"]
    inbox.endless = False


def test_dead_targets_hold_up_no_other(
    inbox: Inbox, notice: Notice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "LONGEST_S", 0.6)
    said = tmp_path / "said"
    inbox.delay = 5.0
    settings = Notify(
        command=command(said, "sleep 60"), webhook=f"{inbox.address}/", apprise=["ntfy://127.0.0.1:1/topic", "$ODD"]
    )
    began = time.monotonic()
    deliveries = send(settings, notice, {"ODD": "nonsense://x", "PATH": "/usr/bin:/bin"})
    assert time.monotonic() - began < 3
    assert [one.problem for one in deliveries] == [
        "no end after 0.6 s", "cannot be reached (ReadTimeout)", "not delivered", "not an address that Apprise knows",
    ]  # fmt: skip
    assert said.read_text().startswith("tickets")


@pytest.mark.parametrize(
    ("line", "problem"),
    [("false", "exit status 1"), ("no-such-program", "no-such-program: No such file"), ("a 'b", "cannot be split")],
)
def test_a_command_s_failure_is_told_without_its_output(line: str, problem: str, notice: Notice) -> None:
    (delivery,) = send(Notify(command=line), notice)
    assert delivery.problem.startswith(problem)
