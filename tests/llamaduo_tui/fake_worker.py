"""A worker that only tells the story: `python fake_worker.py RUN [SECONDS between events]`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import story

from engine.protocol import commands
from engine.protocol.events import Event, EventLog, RunFinished
from engine.protocol.questions import APPROVE, Question
from engine.protocol.run_dir import Run
from engine.protocol.status import Process, State, Status


def main(folder: Path, pause: float) -> None:
    run = Run(folder)
    log = EventLog(run.events_file)

    def show(state: State, question: Question | None = None) -> None:
        process = Process.of(os.getpid())
        run.write_status(Status(state=state, process=process, heartbeat=time.time(), round=1, question=question))

    def tell(events: list[Event]) -> None:
        for event in events:
            show(State.RUNNING)
            log.append(event)
            stop_if_told()
            time.sleep(pause)

    def stop_if_told() -> None:
        if any(c.kind == "stop" and c.worker == os.getpid() for c in commands.controls(run.commands_file)):
            show(State.STOPPED)
            log.append(RunFinished(state=State.STOPPED, reason="Stopped by hand; resume goes on from here."))
            sys.exit(130)

    tell(story.to_approval())
    question = story.another_round().question
    while (answer := commands.answer(run.commands_file, question)) is None:
        show(State.WAITING, question)
        stop_if_told()
        time.sleep(0.05)
    if answer.choice == APPROVE:
        tell(story.to_end())
        show(State.REACHED)
    else:
        show(State.MISSED)
        short = "Ended without reaching the target."
        log.append(RunFinished(state=State.MISSED, reason=short, best_round=1, report="final/report.md"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
