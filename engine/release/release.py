"""Releases the best model of a run that has ended: writes each format, holds it against the adapter, describes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.protocol import file_lock, jsonl
from engine.protocol.errors import LlamaDuoError
from engine.protocol.file_lock import READER_S, Locked
from engine.protocol.release import GATE_FILE, Gate, Result
from engine.protocol.run_dir import Run, writable
from engine.release.artefact import ARTEFACT_FILE, Artefact, artefact_name
from engine.release.card import CARD_FILE, card
from engine.release.formats.base import Format
from engine.release.gate import GateKeeper
from engine.release.paper.page import write_pages
from engine.release.push import push
from engine.release.source import Source, source_of
from engine.release.sums import write_sums
from engine.stages import report_worth


def release(
    run: Run, formats: Sequence[Format], *, margin: float, tell: Callable[[str], None], push_to: str | None = None
) -> list[Gate]:
    """Write RUN/release/FORMAT for each format, with artefact, gate, card and sums; `tell` gets a line for each step.

    What is refused stays to be looked at; its gate.json says why. Raises InputError before anything is written where
    the run or this machine lacks something, LlamaDuoError where another release of the run is at work.
    """
    with _alone(run):
        source = source_of(run, tell)
        for one in formats:
            one.refuse(source)
        keeper = GateKeeper(release=run.release, source=source, margin=margin, vllm=source.settings.inference.vllm)
        shutil.rmtree(source.scratch, ignore_errors=True)
        try:
            gates = [_one(run, source, keeper, one) for one in formats]
        finally:
            shutil.rmtree(source.scratch, ignore_errors=True)
            (source.work / "f16.gguf").unlink(missing_ok=True)
        if push_to is not None:
            push(run.release, [gate.artefact for gate in gates if gate.passed], push_to, tell)
        return gates


def _one(run: Run, source: Source, keeper: GateKeeper, form: Format) -> Gate:
    artefact = source.artefact(form.format, form.quantization)
    name = artefact_name(form.format, form.quantization)
    folder = run.release / name
    with writable(run.folder):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        source.tell(f"{name}: writing it")
        form.write(source, folder)
        jsonl.write_json(folder / ARTEFACT_FILE, artefact.to_row())
    gate = keeper.hold(name)
    with writable(run.folder):
        _describe(source, artefact, folder, gate, form)
        figures, assumptions = report_worth.lines(run, source.settings)
        write_pages(run, [*figures, *assumptions])
    source.tell(f"{name}: {'released' if gate.passed else 'REFUSED'}: {gate.reason}")
    return gate


def _describe(source: Source, artefact: Artefact, folder: Path, gate: Gate, form: Format) -> None:
    """Write the gate, the card and the sums; the sums are last, since they are over all else."""
    jsonl.write_json(folder / GATE_FILE, gate.to_row())
    (folder / CARD_FILE).write_text(card(source, artefact, gate, form.commands(source)) + "\n", encoding="utf-8")
    write_sums(folder)


@contextmanager
def _alone(run: Run) -> Iterator[None]:
    """Be the only release of a run at work. Raises LlamaDuoError."""
    with writable(run.folder):
        run.releasing.mkdir(exist_ok=True)
        file = run.release_lock.open("a")
    with file:
        if file_lock.take(file, READER_S) is Locked.HELD:
            raise LlamaDuoError(
                f"another release of {run.name} is at work", f"follow it: tail -f {run.releasing / 'release.log'}"
            )
        yield


def lines_of(gate: Gate) -> list[str]:
    """A gate in lines for a terminal: the outcome, then each failed check and the first differences."""
    lines = [f"{gate.artefact}: {'released' if gate.passed else 'REFUSED'}"]
    lines += [
        f"  {check.cause}: {check.result} ({check.detail})" for check in gate.checks if check.result is Result.FAILED
    ]
    if not gate.passed:
        for one in gate.differences:
            lines.append(f"  prompt {one.id}: {one.adapter_score} -> {one.served_score}")
            lines += [f"    adapter: {one.adapter[:120]}", f"    served:  {one.served[:120]}"]
    return lines
