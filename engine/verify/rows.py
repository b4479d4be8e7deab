"""Whether the rows of a run fit together: prompts, answers and verdicts, and the counts in the manifests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from engine.dataset.prepare import DEV, SEALED, TEST, read_dev, read_test, unsealed
from engine.protocol import plain_file, records
from engine.protocol.counts import number_of
from engine.protocol.decision import BEST, WORST
from engine.protocol.errors import LlamaDuoError
from engine.protocol.manifest import Manifest, file_hash
from engine.protocol.rows import CONTRACT, RESPONSES_FILE, VERDICTS_FILE, Pair, Response, Verdict
from engine.protocol.run_dir import Run, round_of
from engine.protocol.stages import FINETUNE, INFER, JUDGE, TEACHER
from engine.verify.checks import Problem
from engine.verify.files import Files, stages

ADAPTER = "adapter/adapter_model.safetensors"


def seal_problems(run: Run, files: Files) -> Iterator[Problem]:
    """Whether the opened prompts are the sealed ones."""
    sealed, opened = run.coverage / SEALED, run.coverage / TEST
    if not (sealed.is_file() and opened.is_file()) or not files.sound(f"coverage/{SEALED}", f"coverage/{TEST}"):
        return
    try:
        same = unsealed(sealed).encode() == plain_file.read_bytes(opened)
    except LlamaDuoError as error:
        yield Problem(file=f"coverage/{SEALED}", what=f"cannot be decoded: {error.message}")
        return
    if not same:
        yield Problem(file=f"coverage/{TEST}", what="has other prompts than the seal")


def answer_problems(run: Run, files: Files) -> Iterator[Problem]:
    """Whether each answer belongs to a prompt of its split, was counted, and comes from the adapter of its round."""
    for name in stages(files, INFER.name):
        file, known = f"{name}/{RESPONSES_FILE}", files.manifests[name]
        if not files.sound(file):
            continue
        split = TEST if name.startswith("final/") else DEV
        if not files.sound(f"coverage/{split}"):
            continue
        try:
            pairs = read_test(run.coverage) if split == TEST else read_dev(run.coverage)
            rows = list(records.read(run.folder / file, Response))
        except LlamaDuoError as error:
            yield Problem(file=file, what=f"cannot be read: {error.message}")
            continue
        local = TEACHER.name not in name
        what = _answers(rows, pairs, known, every=local) or (_adapter(run, name, rows, files) if local else "")
        if what:
            yield Problem(file=file, what=what)


def _answers(rows: list[Response], pairs: list[Pair], known: Manifest, *, every: bool) -> str:
    """What is wrong with answers to these prompts; the service may leave some unanswered, the local model none."""
    if len(rows) != known.count("responses"):
        return f"has {number_of(len(rows), 'answer')}, and {known.count('responses'):,} were counted"
    keys = Counter((row.id, row.sample) for row in rows)
    if twice := next((key for key, count in keys.items() if count > 1), None):
        return f"answers prompt {twice[0]} twice"
    asked = {pair.id: pair for pair in pairs}
    if strange := next((row.id for row in rows if row.id not in asked), None):
        return f"answers a prompt that is not in its split: {strange}"
    if every and len({row.id for row in rows}) != len(asked):
        return "leaves prompts of its split unanswered"
    other = next((row.id for row in rows if row.target != asked[row.id].target), None)
    return f"has another reference for prompt {other} than the data" if other else ""


def _adapter(run: Run, name: str, rows: list[Response], files: Files) -> str:
    number = _round(run, name)
    if number is None:
        return ""
    file = f"round-{number:02d}/{FINETUNE.name}/{ADAPTER}"
    if number and not (run.folder / file).is_file():
        return f"has answers of an adapter that is gone: {file}"
    if number and not files.sound(file):
        return ""
    expected = file_hash(run.folder / file) if number else ""
    return (
        "" if {row.adapter for row in rows} == {expected} else f"has answers of another adapter than round {number}'s"
    )


def _round(run: Run, name: str) -> int | None:
    """The round whose model gave the answers in a folder; None where no decision says so."""
    if name.startswith("round-"):
        return round_of(Path(name.split("/")[0]))
    try:
        final = run.final_decision()
    except LlamaDuoError:
        return None
    return final.best_round if final is not None else None


def verdict_problems(run: Run, files: Files) -> Iterator[Problem]:
    """Whether each answer has verdicts, each verdict an answer, and their number is what was counted."""
    for name in stages(files, JUDGE.name):
        file, known = f"{name}/{VERDICTS_FILE}", files.manifests[name]
        answers = Path(name).parent / INFER.name / RESPONSES_FILE
        if not files.sound(file, answers.as_posix()):
            continue
        try:
            verdicts = list(records.read(run.folder / file, Verdict))
            given = {(row.id, row.sample) for row in records.read(run.folder / answers, Response)}
        except LlamaDuoError as error:
            yield Problem(file=file, what=f"cannot be read: {error.message}")
            continue
        if what := _verdicts(verdicts, given, known):
            yield Problem(file=file, what=what)


def _verdicts(verdicts: list[Verdict], given: set[tuple[str, int]], known: Manifest) -> str:
    broken = sum(verdict.judge == CONTRACT for verdict in verdicts)
    errors = sum(bool(verdict.error) for verdict in verdicts)
    found = {"verdicts": len(verdicts) - broken - errors, "errors": errors, "broken": broken}
    for name, count in found.items():
        if count != known.count(name):
            return f"has {count:,} {name}, and {known.count(name):,} were counted"
    judged = {(verdict.id, verdict.sample) for verdict in verdicts}
    if judged - given:
        return "judges answers that nobody gave"
    if given - judged:
        return f"has no verdict on {len(given - judged):,} of {len(given):,} answers"
    scores = [score for row in verdicts for score in (row.precision, row.similarity) if score is not None]
    return "" if all(WORST <= score <= BEST for score in scores) else "has scores outside of 1 to 100"
