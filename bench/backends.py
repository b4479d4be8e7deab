"""Let each backend answer the sealed prompts of a finished demo, judge them, and compare answers and decision.

    python bench/backends.py [--run FOLDER] [--vllm PATH] [--vllm-args ARGS] [--serve COMMAND] [--check] [--keep FOLDER]

FOLDER is the run (default: the demo runs first). `--vllm` is an executable of vLLM, `--serve` a command that serves a
round's model with OpenAI's API, as inference.serve takes it; on a processor such as llama.cpp's:

    --vllm ~/vllm/bin/vllm --vllm-args=--enforce-eager
    --serve "sh -c 'convert-hf-to-gguf {merged} --outfile {folder}/model.gguf --outtype bf16 &&
             exec llama-server -m {folder}/model.gguf --alias {name} --port {port}'"

What is not named is not run, and said to be so. Bars: the same decision as this program's own answers; at least 90 % of
these are the same, word by word: other kernels round otherwise, which settles near-ties otherwise.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from rich.console import Console
from rich.table import Column, Table

from engine.protocol import jsonl, records
from engine.protocol.decision import FinalDecision
from engine.protocol.manifest import manifest
from engine.protocol.rows import RESPONSES_FILE, Response
from engine.protocol.run_dir import Run
from engine.protocol.stages import INFER

PROGRAM = [str(Path(sys.executable).with_name("llamaduo-tui"))]

SAME_ANSWERS = 0.9


@dataclass(frozen=True)
class Answered:
    """What became of a run whose sealed prompts one backend answered."""

    backend: str
    decision: FinalDecision
    answers: dict[tuple[str, int], Response]
    seconds: float

    @classmethod
    def of(cls, backend: str, run: Run) -> Answered | None:
        """None where the run failed, which says why."""
        decision, done = run.final_decision(), manifest(INFER.folder(run, None))
        if decision is None or done is None:
            return None
        rows = records.read(INFER.folder(run, None) / RESPONSES_FILE, Response)
        return cls(backend, decision, {(row.id, row.sample): row for row in rows}, done.seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a finished run of the demo")
    parser.add_argument("--vllm", help="vLLM's executable")
    parser.add_argument("--vllm-args", default="", help="further arguments for it")
    parser.add_argument("--serve", help="a command that serves a round's model")
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its bar")
    parser.add_argument("--keep", type=Path, help="put the runs here and keep them")
    args = parser.parse_args()
    chosen: dict[str, dict[str, Any] | None] = {
        "transformers": {"backend": "transformers"},
        "vllm": {"backend": "vllm", "vllm": args.vllm, "vllm_args": args.vllm_args} if args.vllm else None,
        "endpoint": {"backend": "endpoint", "serve": args.serve} if args.serve else None,
    }
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["XDG_STATE_HOME"] = scratch  # the record of opened prompts is the user's
        root = args.keep or Path(scratch)
        demo = Run(args.run) if args.run else _demo(root)
        done = {name: _answer(demo, root, name, inference) for name, inference in chosen.items() if inference}
    if done["transformers"] is None:
        raise SystemExit("transformers: FAILED, so there is nothing to compare with")
    met = report([one for one in done.values() if one is not None])
    failed = [name for name, one in done.items() if one is None]
    for name, inference in chosen.items():
        if inference is None:
            print(f"{name}: not run")
        elif name in failed:
            print(f"{name}: FAILED, as its run says above")
    return int(args.check and not (met and not failed))


def report(done: list[Answered]) -> bool:
    """Print the comparison with the first, and say whether all bars are met."""
    names = ("decision", "precision", "similarity", "same answers", "log-probability", "seconds")
    table = Table("backend", *(Column(name, justify="right") for name in names), "")
    own, met = done[0], True  # this program's
    for one in done:
        same = sum(one.answers[key].response == row.response for key, row in own.answers.items())
        good = one.decision.reached == own.decision.reached and same >= SAME_ANSWERS * len(own.answers)
        met &= good
        table.add_row(
            one.backend,
            "reached" if one.decision.reached else "missed",
            f"{one.decision.sealed.precision.mean:.1f}",
            f"{one.decision.sealed.similarity.mean:.1f}",
            f"{same} of {len(own.answers)}",
            _logprob(one),
            f"{one.seconds:.0f}",
            "met" if good else "MISSED",
        )
    Console().print(table)
    return met


def _logprob(one: Answered) -> str:
    """The mean of the answers' mean log-probabilities."""
    known = [row.mean_logprob for row in one.answers.values() if row.mean_logprob is not None]
    return f"{sum(known) / len(known):.3f}" if known else "unknown"


def _demo(root: Path) -> Run:
    subprocess.run(
        [*PROGRAM, "--runs-dir", str(root), "demo", "--headless", "--yes", "--until", "reached", "--name", "demo"],
        check=False,
    )
    return Run(root / "demo")


def _answer(demo: Run, root: Path, backend: str, inference: dict[str, Any]) -> Answered | None:
    """A copy of the run, without what follows from the sealed answers, goes on with another backend."""
    run = Run(root / backend)
    shutil.copytree(demo.folder, run.folder)
    shutil.rmtree(run.final)
    settings = tomlkit.parse(run.settings_file.read_text(encoding="utf-8"))
    settings["inference"].update(inference)
    run.settings_file.write_text(tomlkit.dumps(settings), encoding="utf-8")
    status = jsonl.read_json(run.folder / "status.json")
    jsonl.write_json(run.folder / "status.json", {**(status or {}), "state": "stopped", "process": None})
    subprocess.run([*PROGRAM, "--runs-dir", str(root), "resume", backend, "--headless", "--yes"], check=False)
    return Answered.of(backend, run)


if __name__ == "__main__":
    sys.exit(main())
