"""What has happened in a run: its events as plain lines, or the raw output of its processes."""

from __future__ import annotations

import codecs
import time

from engine.protocol.events import EventReader
from engine.protocol.run_dir import Run
from llamaduo_tui.views import log_lines
from llamaduo_tui.views.text import clean

POLL_S = 0.2
CHUNK = 65536


def show(run: Run, raw: bool, following: bool) -> None:
    """Print a run's events so far, or with `raw` its worker.log, which can be followed until the worker ends."""
    if raw:
        _raw(run, following)
        return
    lines = log_lines.Lines()
    for event in EventReader(run.events_file).read_new():
        for line in lines.of(event):
            print(line)


def _raw(run: Run, following: bool) -> None:
    if not run.log_file.exists():
        return
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with run.log_file.open("rb") as file:
        while True:
            at_work = following and run.status().seen(time.time()).working
            while data := file.read(CHUNK):
                print(clean(decoder.decode(data)), end="", flush=True)
            if not at_work:
                return
            time.sleep(POLL_S)
