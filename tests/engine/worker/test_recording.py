"""Events reach the file, the outlook and the notifier in one order, and none comes after the end."""

from __future__ import annotations

import threading
from pathlib import Path

from engine.estimate.outlook import plan_of
from engine.protocol.events import EventReader, Log, RunFinished, ServiceUsage, StageProgress
from engine.protocol.run_dir import Run, create
from engine.protocol.status import State
from engine.settings.load import settings_of
from engine.worker.recording import Recording
from engine.worker.status_writer import StatusWriter

NOT_SENT = Log(level="warning", message="a message was not sent")


def recording(folder: Path) -> tuple[Run, Recording]:
    run = create(folder, "demo", '[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n')
    settings = settings_of(run)
    return run, Recording(run, settings, StatusWriter(run), lambda: plan_of(settings))


def usage(calls: int) -> ServiceUsage:
    return ServiceUsage(
        calls=calls, cached_calls=0, failed_calls=0, prompt_tokens=0, completion_tokens=0, cost_usd=calls / 100
    )


def test_the_last_of_thinned_events_comes_before_the_end_and_nothing_after_it(tmp_path: Path) -> None:
    run, events = recording(tmp_path)
    for calls in range(1, 6):
        events.emit(usage(calls))
    events.end(RunFinished(state=State.MISSED, reason="Short of the target."))
    events.emit(NOT_SENT)
    written = EventReader(run.events_file).read_new()
    assert [event.calls for event in written if isinstance(event, ServiceUsage)][-1] == 5
    assert isinstance(written[-1], RunFinished)


def test_a_stopped_run_has_no_record_yet_so_that_events_may_follow(tmp_path: Path) -> None:
    run, events = recording(tmp_path)
    events.end(RunFinished(state=State.STOPPED, reason="Stopped by hand."))
    events.emit(NOT_SENT)
    assert isinstance(EventReader(run.events_file).read_new()[-1], Log)


def test_threads_write_whole_events_in_order(tmp_path: Path) -> None:
    run, events = recording(tmp_path)

    def tell(stage: str) -> None:
        for number in range(40):
            events.emit(StageProgress(stage=f"{stage}{number}", done=0, total=9, unit="rows"))

    threads = [threading.Thread(target=tell, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event.seq for event in EventReader(run.events_file).new()] == list(range(1, 81))
