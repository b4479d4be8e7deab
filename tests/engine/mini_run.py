"""A whole run in one process and a second or two: the loop, the ledger and the sandbox are real, the model is not.

Where a stage would load a model, each prompt's answer is its reference, or a wrong one for a share of them that shrinks
with each round; an adapter is a few bytes.
"""

from __future__ import annotations

import asyncio
import sys
from importlib import resources
from pathlib import Path

from engine.dataset.prepare import DEV, TEST, TRAIN, open_sealed, read_dev
from engine.protocol import checksums, jsonl
from engine.protocol.lock import lock
from engine.protocol.manifest import Manifest, begin, file_hash
from engine.protocol.rows import PAIRS_FILE, RESPONSES_FILE, Response
from engine.protocol.run_dir import Run, create
from engine.protocol.stages import COVERAGE, FINETUNE, SYNTHESIZE, Stage
from engine.stages import coverage, infer
from engine.stages.base import Job, Recorder, Result
from engine.stages.shares import Shares
from engine.worker.process import Worker

BATCH = 16
ROWS = 120
ADAPTER = "adapter_model.safetensors"
SETTINGS = """
[task]
name = "mini"
topic = "support tickets"
[coverage]
source = "{source}"
[service]
model = "sandbox"
cache = false
[judge]
repeats = 1
drift = 4
[target]
precision = 70
similarity = 70
teacher = {teacher}
[synthesis]
pairs_per_round = 8
pairs_per_call = 4
[loop]
max_rounds = 2
approval = "auto"
"""


class MiniWorker(Worker):
    """A worker whose stages of their own process are played here."""

    async def child(self, stage: Stage, round_: int | None, folder: Path) -> Manifest:
        job = Job(run=self.run, settings=self.settings, round=round_, folder=folder, emit=self.emit)
        recorder = Recorder(stage, job)
        return await asyncio.to_thread(lambda: recorder.finish(_PLAYED[stage.name](job)))


def make(root: Path, *, teacher: bool = True, rows: int = ROWS) -> Run:
    """A new run on the first of the demo's tickets."""
    source = root / "tickets.jsonl"
    tickets = resources.files("engine.demo").joinpath("tickets.jsonl").read_text(encoding="utf-8")
    source.write_text("".join(tickets.splitlines(keepends=True)[:rows]), encoding="utf-8")
    return create(root / "runs", "mini", SETTINGS.format(source=source, teacher=str(teacher).lower()))


def work(run: Run, *, yes: bool = True) -> int:
    """Work on a run to its end, as a worker does; the exit status is the command's."""
    with lock(run):
        return asyncio.run(MiniWorker(run, yes=yes).work())


def _infer(job: Job) -> Result:
    """Answer as `engine.stages.infer` does, batch by batch."""
    number = job.run.decisions()[-1].best_round if job.round is None else job.round
    adapter = FINETUNE.folder(job.run, number) / "adapter" / ADAPTER if number else None
    pairs = open_sealed(job.run.coverage) if job.round is None else read_dev(job.run.coverage)
    if job.round is None:
        infer._record_opening(job, pairs)
    begin(job.folder, "mini")
    batches = [pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH)]
    shares = Shares(job.folder / RESPONSES_FILE, [[(pair.id, 0) for pair in batch] for batch in batches])
    digest = file_hash(adapter) if adapter else ""
    for place in shares.mine():
        rows = [
            Response(
                id=pair.id,
                sample=0,
                prompt=pair.prompt,
                target=pair.target,
                response=pair.target if int(pair.id[:4], 16) % 3 < number else "{}",
                finish_reason="stop",
                prompt_tokens=9,
                completion_tokens=9,
                model="mini@0",
                adapter=digest,
            )
            for pair in batches[place]
        ]
        shares.put(place, [row.to_row() for row in rows])
    list(shares.wait())
    files = [job.run.coverage / (TEST if job.round is None else DEV), *infer._sealed_by(job)]
    named = {str(file): file for file in [*files, *([adapter] if adapter else [])]}
    counts = {"prompts": len(pairs), "responses": len(pairs), "cut": 0}
    return Result(counts=counts, inputs=named, model="mini@0")


def _finetune(job: Job) -> Result:
    """Write an adapter that depends on the pairs."""
    begin(job.folder, "mini")
    number = job.round or 0
    written = [SYNTHESIZE.folder(job.run, earlier) / PAIRS_FILE for earlier in range(1, number)]
    files = [job.run.coverage / TRAIN, *written]
    adapter = job.folder / "adapter"
    adapter.mkdir(parents=True, exist_ok=True)
    (adapter / ADAPTER).write_text(" ".join(file_hash(file) for file in files) * 40)
    checksums.flush_tree(adapter)
    jsonl.write_json(job.folder / "result.json", {"pairs": 48})
    return Result(counts={"pairs": 48, "left_out": 0}, inputs={str(file): file for file in files}, model="mini@0")


_PLAYED = {COVERAGE.name: coverage.run, "infer": _infer, FINETUNE.name: _finetune}

if __name__ == "__main__":
    sys.exit(work(Run(Path(sys.argv[1]))))
