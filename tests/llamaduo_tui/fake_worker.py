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
from engine.protocol.run_dir import Process, Run, Status


def main(folder: Path, pause: float) -> None:
    run = Run(folder)
    log = EventLog(run.events_file)

    def show(state: str) -> None:
        process = Process.of(os.getpid())
        run.write_status(Status(state=state, process=process, heartbeat=time.time(), round=1))

    def tell(events: list[Event]) -> None:
        for event in events:
            show("running")
            log.append(event)
            stop_if_told()
            time.sleep(pause)

    def stop_if_told() -> None:
        if any(c.kind == "stop" and c.worker == os.getpid() for c in commands.read(run.commands_file)):
            log.append(RunFinished(state="stopped", reason="Stopped by hand; resume goes on from here."))
            show("stopped")
            sys.exit(3)

    tell(story.to_approval())
    show("waiting")
    while (answer := commands.answer(run.commands_file, 1)) is None:
        show("waiting")
        stop_if_told()
        time.sleep(0.05)
    if answer.kind == "approve":
        tell(story.to_end())
        show("reached")
    else:
        short = "Ended without reaching the target."
        log.append(RunFinished(state="stopped", reason=short, best_round=1, report="final/report.md"))
        show("stopped")


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0)
