"""One message for each thing that needs a person, whatever is asked again, resumed or dead."""

import asyncio
import time
from pathlib import Path

import pytest
from calling import until
from msgspec.structs import replace

from engine.notify import notice
from engine.protocol.events import EventLog, EventReader, Log, Notified, QuestionAsked, RunFailed, RunFinished
from engine.protocol.outlook import Outlook, Range
from engine.protocol.questions import APPROVE, BUDGET, LEDGER, REDO, REJECT, ROUND, Question
from engine.protocol.run_dir import Run, create
from engine.protocol.status import State, Status
from engine.settings.schema import Migration, Target
from engine.worker.notifier import Notifier

ASKED = Question(
    kind=ROUND,
    round=1,
    reason="the row says: SECRET DATA",
    choices=(APPROVE, REJECT),
    pairs=120,
    cost_usd=4.0,
    seconds=3000,
)
STATUS = Status(
    state=State.RUNNING,
    round=1,
    calls=320,
    cost_usd=1.2,
    outlook=Outlook(
        at=0.0,
        left_s=Range(least=3600, expected=7800, most=14_400),
        usd=Range(least=1.5, expected=3.4, most=6.1),
        spent_usd=1.2,
        rounds=Range(least=1, expected=2, most=4),
    ),
)


class Watched:
    """A run's notifier, as its worker uses it; each message is a file in `said`."""

    def __init__(self, run: Run, command: str, status: Status = STATUS) -> None:
        self.run, self.status = run, status
        self.events = EventLog(run.events_file)
        settings = Migration.model_validate(
            {"coverage": {"source": "a"}, "service": {"model": "sandbox"}, "notify": {"command": command}}
        )
        self.notifier = Notifier(run, settings, self.emit, lambda: self.status)

    def emit(self, event: object) -> None:
        self.notifier.hear(self.events.append(event))  # type: ignore[arg-type]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("LLAMADUO_RUNS", str(tmp_path / "runs"))
    return create(tmp_path / "runs", "tickets", "")


@pytest.fixture
def said(tmp_path: Path) -> Path:
    folder = tmp_path / "said"
    folder.mkdir()
    return folder


def keep(said: Path) -> str:
    return f"sh -c 'cat > {said}/.$$; mv {said}/.$$ {said}/$LLAMADUO_EVENT-$$'"


def messages(said: Path) -> dict[str, str]:
    return {file.name.partition("-")[0]: file.read_text() for file in said.iterdir() if file.name[0] != "."}


async def test_each_is_told_once_with_figures_and_the_command_to_answer(run: Run, said: Path) -> None:
    first = Watched(run, keep(said))
    first.emit(QuestionAsked(round=1, question=ASKED))
    first.emit(QuestionAsked(round=1, question=replace(ASKED, reason="reviewed meanwhile")))
    first.status = replace(STATUS, silent_since=1000.0)
    first.notifier.look(1000.0 + 60 * 29)
    first.notifier.look(1000.0 + 60 * 31)
    first.notifier.look(1000.0 + 60 * 90)
    again = Watched(run, keep(said))  # of the next worker
    again.emit(QuestionAsked(round=1, question=ASKED))
    again.emit(RunFailed(round=1, stage="judge", error="SECRET DATA", hint="", exit_status=1))
    third = Watched(run, keep(said))
    third.emit(RunFinished(state=State.STOPPED, reason="Stopped by hand."))
    third.emit(RunFinished(state=State.MISSED, reason="SECRET DATA"))
    await until(lambda: len(messages(said)) == 4)
    await asyncio.sleep(0.3)
    assert len(list(said.iterdir())) == 4
    told = messages(said)
    assert told["waits"].splitlines()[0] == "tickets waits for approval of another round"
    assert "Another round: 120 new pairs, about $4.00, about 50 min." in told["waits"]
    assert "$1.20 so far, about $3.40 in all, at most about $6.10." in told["waits"]
    assert "about 2 h 10 min of work left (1 h to 4 h)." in told["waits"]
    assert told["waits"].splitlines()[-1] == "llamaduo-tui approve tickets   (or: reject, stop)"
    assert "has not answered for 31 min" in told["silent"]
    assert "It failed at judging, round 1." in told["failed"] and "llamaduo-tui status tickets" in told["failed"]
    assert told["ended"].splitlines()[0] == "tickets missed its target"
    assert not any("SECRET" in text for text in told.values())
    written = [event for event in EventReader(run.events_file).read_new() if isinstance(event, Notified)]
    assert [event.about.partition("/")[0] for event in written] == ["waits", "silent", "failed", "ended"]
    assert {event.targets for event in written} == {("command",)}


async def test_a_budget_s_message_names_the_least_that_helps(run: Run, said: Path) -> None:
    watched = Watched(run, keep(said))
    watched.emit(QuestionAsked(question=Question(kind=BUDGET, round=1, reason="x", cap="usd", used=4.99, least=5.012)))
    await until(lambda: bool(messages(said)))
    text = messages(said)["waits"]
    assert "$4.99 is spent; it needs at least $5.01" in text
    assert "llamaduo-tui approve tickets --budget USD   (USD at least 5.02)" in text


@pytest.mark.parametrize(
    ("question", "title", "text"),
    [
        (
            Question(kind=REDO, round=1, reason="SECRET", cost_usd=1.5, seconds=1200, name="judge/ab12"),
            "tickets waits for approval to do a stage again",
            "Files of judging of round 1, or files that it used, have changed. It took $1.50 and 20 min the last time.",
        ),
        (
            Question(kind=LEDGER, round=None, reason="SECRET", cost_usd=2.0, name="9-3"),
            "tickets waits for approval to go on without a part of its ledger",
            "The ledger lacks paid calls ($2.00). Better stop the run, and restore ledger.sqlite from a copy.",
        ),
    ],
)
def test_questions_about_changed_files_name_the_stakes(run: Run, question: Question, title: str, text: str) -> None:
    target = Target.model_validate({})
    said = notice.waits(notice.Situation(run=run, status=STATUS, target=target), question)
    assert (said.title, said.lines[0]) == (title, text) and "SECRET" not in said.text


async def test_messages_are_sent_without_the_keys_of_the_service(
    run: Run, said: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "NOTIFY_WORD"):
        monkeypatch.setenv(name, "0123456789abcdef")
    watched = Watched(run, f"sh -c 'env > {said}/.$$; mv {said}/.$$ {said}/env'")
    watched.emit(QuestionAsked(round=1, question=ASKED))
    await until(lambda: (said / "env").exists())
    names = {line.partition("=")[0] for line in (said / "env").read_text().splitlines()}
    assert "OPENAI_API_KEY" not in names and {"NOTIFY_WORD", "LLAMADUO_TITLE"} <= names


async def test_a_dead_target_is_told_in_the_log_and_holds_nothing_up(run: Run) -> None:
    watched = Watched(run, "false")
    began = time.monotonic()
    watched.emit(QuestionAsked(round=1, question=ASKED))
    assert time.monotonic() - began < 0.5

    def warned() -> list[str]:
        return [e.message for e in EventReader(run.events_file).read_new() if isinstance(e, Log)]

    await until(lambda: bool(warned()))
    assert warned() == ["a message was not sent by command: exit status 1"]


async def test_without_targets_nothing_is_sent(run: Run) -> None:
    settings = Migration.model_validate({"coverage": {"source": "a"}, "service": {"model": "sandbox"}})
    events = EventLog(run.events_file)
    notifier = Notifier(run, settings, lambda event: events.append(event), lambda: STATUS)  # type: ignore[arg-type]
    notifier.hear(QuestionAsked(round=1, question=ASKED))
    await notifier.watch()  # ends at once
    assert events.last_seq == 0
