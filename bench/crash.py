"""Kill a migration with -9 at many moments, resume it each time, and compare it with one that was left alone.

    python bench/crash.py [FILE] [--few] [--check] [--keep FOLDER]

FILE is a migration.toml with the sandbox as its service (default: the demo's). Bars: decisions, answers, verdicts and
sealed test are the same with and without kills; no request that the ledger holds is asked again; one that a kill met on
its way home is asked once more, in vain the first time.

Some kills come with what else happens in weeks: the run was paused, its host gets another name and boot, the clock of
the next worker is an hour behind, its file system has no locks, or the run's folder gets another name at work.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from figures import show
from msgspec.structs import replace

from engine.protocol import jsonl, records
from engine.protocol.errors import LlamaDuoError
from engine.protocol.events import Event, EventReader, RunFinished, StageProgress, TrainMetrics
from engine.protocol.manifest import file_hash
from engine.protocol.run_dir import Run, create
from engine.sandbox.server import read_chat
from engine.settings.load import load_settings
from engine.settings.template import render
from llamaduo_tui.control import actions

SPEED = "tokens_per_second"


@dataclass(frozen=True)
class Moment:
    """When to kill: once a stage of a round (None: the sealed test) has done this share of its work."""

    stage: str
    round: int | None
    share: float
    victim: str
    twist: str = ""

    def __str__(self) -> str:
        where = "sealed test" if self.round is None else f"round {self.round}"
        twist = f"; {self.twist}" if self.twist else ""
        return f"{where} {self.stage} at {self.share:.0%}: kill -9 the {self.victim}{twist}"


PAUSED, ELSEWHERE, CLOCK = "it was paused", "it was on another host", "the next clock is an hour behind"
NO_LOCKS, RENAMED = "the next file system has no locks", "its folder was renamed first"

SITE = """
import errno, fcntl, os, time
if os.environ.get("BENCH_CLOCK"):
    of_the_system, step = time.time, float(os.environ["BENCH_CLOCK"])
    time.time = lambda: of_the_system() + step
if os.environ.get("BENCH_NO_LOCKS"):
    def flock(file, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
    fcntl.flock = flock
"""
"""Python runs it at its start as sitecustomize.py; clocks that are never set stay as they are."""


MOMENTS = [
    Moment("infer", 0, 0.0, "worker"),
    Moment("infer", 0, 0.4, "stage", NO_LOCKS),
    Moment("judge", 0, 0.3, "worker", ELSEWHERE),
    Moment("finetune", 1, 0.6, "stage"),
    Moment("judge", 1, 0.5, "worker", CLOCK),
    Moment("synthesize", 1, 0.2, "worker"),
    Moment("finetune", 2, 0.3, "worker", PAUSED),
    Moment("finetune", 2, 0.8, "stage"),
    Moment("infer", 2, 0.3, "worker", RENAMED),
    Moment("judge", None, 0.5, "worker"),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", help="a migration.toml with the sandbox as its service")
    parser.add_argument("--few", action="store_true", help="only the sealed test's kill and those with something else")
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    parser.add_argument("--keep", type=Path, help="put the runs here and keep them")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_STATE_HOME"] = scratch  # the record of opened prompts is the user's
        root = args.keep or Path(scratch)
        file = args.file or Path(str(resources.files("engine") / "demo" / "migration.toml"))
        left_alone = _new(root, file, "left-alone")
        _finish(left_alone, [])
        moments = [one for one in MOMENTS if one.twist or one.round is None or not args.few]
        done, paid_twice, killed = _finish(_new(root, file, "killed"), moments)
        differing = [name for name in _results(left_alone) if _results(left_alone)[name] != _results(killed).get(name)]
        asked, paid = Counter(_asked(killed)), _paid(killed)
        if not paid <= asked:
            raise SystemExit("the ledger's requests are not those that the sandbox saw: nothing can be compared")
        in_vain = max((asked - paid).values(), default=0)
        for moment in done:
            print(moment)
    rows = [
        ("kills, each followed by a resume", "at least 5", str(len(done)), len(done) >= 5),
        ("results that differ from the run left alone", "none", ", ".join(differing) or "none", not differing),
        ("requests in the ledger that were asked again", "0", str(paid_twice), paid_twice == 0),
        ("the sandbox's own count: times that a request was asked in vain", "at most 1", str(in_vain), in_vain <= 1),
    ]
    return int(not show(rows) and args.check)


def _new(root: Path, file: Path, name: str) -> Run:
    return create(root, name, render(load_settings(file)))


def _finish(run: Run, moments: list[Moment]) -> tuple[list[Moment], int, Run]:
    """Work on a run until it ends, killing on the way: the kills that took place, the requests paid twice, the run."""
    reader, left, done = EventReader(run.events_file), list(moments), []
    worker, lives = _start(run), [_Life(Counter(), 0)]
    while worker.poll() is None:
        moment = next((m for event in reader.read_new() for m in left if _is_now(m, event)), None)
        if moment is None:
            time.sleep(0.02)
            continue
        run = _twisted(run, worker, moment.twist)
        if moment.twist == RENAMED:
            reader = EventReader(run.events_file)  # again from the start: moments that are over are left out
        _kill(run, worker, moment.victim)
        if moment.twist == ELSEWHERE:
            _move_elsewhere(run)
        left.remove(moment)
        done.append(moment)
        lives.append(_Life(_paid(run), len(_asked(run))))
        worker = _start(run, moment.twist)
    if not any(isinstance(event, RunFinished) for event in EventReader(run.events_file).read_new()):
        raise SystemExit(f"the worker ended by itself:\n{run.log_file.read_text()[-2000:]}")
    return done, _paid_twice(run, lives), run


def _twisted(run: Run, worker: subprocess.Popen[bytes], twist: str) -> Run:
    """What happens to a run before the kill; the run where it is then."""
    if twist == PAUSED:
        with suppress(LlamaDuoError):  # a busy worker may take longer than people are asked to wait
            actions.pause(run, on=True)
    if twist == RENAMED:
        moved = Run(run.folder.with_name(f"{run.name}-renamed"))
        run.folder.rename(moved.folder)
        worker.wait(timeout=60)  # it ends by itself
        if run.folder.exists():
            raise SystemExit(f"the worker made {run.folder} again")
        return moved
    return run


def _move_elsewhere(run: Run) -> None:
    """As if the worker that was killed had worked on a host that is gone."""
    status = run.status()
    if status.process is not None:
        away = replace(status.process, host="container-3f2a", boot="of container-3f2a")
        run.write_status(replace(status, process=away, child=None))


class _Life(NamedTuple):
    """What the ledger held, and how much the sandbox had been asked, when a worker was started."""

    paid: Counter[str]
    asked: int


def _paid_twice(run: Run, lives: list[_Life]) -> int:
    """How often a worker asked for what the ledger held: more often than the run still needed the same request.

    The same request is needed several times where a judge repeats its verdict.
    """
    needed, asked = _paid(run), _asked(run)
    ends = [*(life.asked for life in lives[1:]), len(asked)]
    return sum(
        (Counter(asked[life.asked : end]) - (needed - life.paid)).total() for life, end in zip(lives, ends, strict=True)
    )


def _start(run: Run, twist: str = "") -> subprocess.Popen[bytes]:
    site = run.folder.parent / ".site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(SITE)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH")]))}
    environment |= {"BENCH_CLOCK": "-3600"} if twist == CLOCK else {"BENCH_NO_LOCKS": "1"} if twist == NO_LOCKS else {}
    with run.log_file.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "engine.worker", str(run.folder), "--yes"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
        )


def _is_now(moment: Moment, event: Event) -> bool:
    if (event.stage, event.round) != (moment.stage, moment.round):
        return False
    if isinstance(event, StageProgress):
        return event.done >= moment.share * event.total
    return isinstance(event, TrainMetrics) and event.step >= moment.share * event.steps


def _kill(run: Run, worker: subprocess.Popen[bytes], victim: str) -> None:
    child = run.status().child
    if victim == "stage" and child is not None and child.alive:
        os.kill(child.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # the stage was done already, and the worker goes on
            worker.wait(timeout=5)
    worker.kill()
    worker.wait()


def _asked(run: Run) -> list[str]:
    """The requests that the sandbox got, in order, over all its lives."""
    return [row["hash"] for row in jsonl.read(run.folder / "sandbox.jsonl") if row["event"] == "asked"]


def _paid(run: Run) -> Counter[str]:
    """How many answers the ledger holds to each request, by the hash that the sandbox gives to the body litellm sends.

    Requests that are the same to the sandbox have a key each where their answers are not to be.
    """
    if not run.ledger_file.exists():
        return Counter()
    with sqlite3.connect(run.ledger_file) as database:
        rows = database.execute("SELECT request FROM calls WHERE answered IS NOT NULL GROUP BY key")
        calls = [json.loads(row[0]) for row in rows]
    bodies = ({"model": "sandbox", "messages": call["messages"], **call["params"]} for call in calls)
    return Counter(read_chat(json.dumps(body).encode()).digest for body in bodies)


def _results(run: Run) -> dict[str, Any]:
    """What must not depend on kills: decisions (but for time and money), answers, verdicts, weights."""
    found: dict[str, Any] = {}
    for decision in run.decisions():
        found[f"decision {decision.round}"] = records.to_row(replace(decision, next=None))
    for path in sorted([*run.folder.glob("*/*/*.jsonl"), *run.folder.glob("*/finetune/adapter/*.safetensors")]):
        name = str(path.relative_to(run.folder))
        metrics = path.name == "metrics.jsonl"  # with the speed of each step
        found[name] = [row | {SPEED: None} for row in jsonl.read(path)] if metrics else file_hash(path)
    return found


if __name__ == "__main__":
    sys.exit(main())
