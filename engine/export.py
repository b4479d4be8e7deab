"""Exports a run's rows under the column names of the LlamaDuo datasets, one JSONL file per split and round.

Only complete stages are exported, and the sealed test only after the final stage has generated its responses.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from engine.dataset.prepare import DEV, TEST, TRAIN, read_dev, read_test, read_train
from engine.protocol import commands, jsonl, records
from engine.protocol.errors import DamagedError, InputError, LlamaDuoError
from engine.protocol.jsonl import Row
from engine.protocol.manifest import Manifest, manifest, unchanged
from engine.protocol.rows import (
    CONTRACT,
    PAIRS_FILE,
    RESPONSES_FILE,
    VERDICTS_FILE,
    Pair,
    Response,
    Verdict,
    prompt_text,
)
from engine.protocol.run_dir import Run
from engine.protocol.stages import INFER, JUDGE, SYNTHESIZE, TEACHER
from engine.service import prompts
from engine.settings.load import settings_of
from engine.stages.training_mix import training_mix


class Exported(NamedTuple):
    """An exported file: its path below the folder, and the number of its rows."""

    name: str
    rows: int


def export(run: Run, folder: Path) -> list[Exported]:
    """Write the rows of all complete stages of a run into a new folder, which appears whole or not at all.

        coverage/{train,dev,test}.jsonl    generator prompt_id seed_prompt messages category prompt, and tools
        synthetic/round-NN.jsonl           the same, of the pairs that people's choices left in
        responses/NAME.jsonl               instructions target_responses candidate_responses model_id model_sha
        evaluations/NAME.jsonl             these and eval_prompts similarity_scores precision_scores evaluators dates

    NAME is round-NN for the dev prompts, test for the sealed ones, and teacher or teacher-test for the service's own
    responses to them. `generator` of a coverage row is the place that it was read from, `model_sha` the hash of the
    adapter, or of the weights of an untuned model. Failed verdicts have no scores.

    Raises InputError where the folder already exists or cannot be made, or no stage is complete, StageError where a
    stage's files are not as it wrote them, DamagedError where they do not fit together.
    """
    if folder.exists():
        raise InputError(f"{folder}: already exists", "choose another name: `export` never overwrites")
    if _complete(run.coverage) is None:
        raise InputError(
            f"{run.name} has nothing to export yet: its coverage stage is not complete",
            f"check its progress: llamaduo-tui status {run.name}",
        )
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        written = [Exported(name, _write(unfinished / name, rows)) for name, rows in _files(run)]
        unfinished.rename(folder)
    except OSError as error:
        if isinstance(error, LlamaDuoError) or run.folder in Path(str(error.filename)).parents:  # a file of the run
            raise
        raise InputError(f"{folder}: cannot be written: {error.strerror}", "choose another folder") from None
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return written


def _write(path: Path, rows: Iterable[Row]) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(jsonl.dumps(row) + "\n")
            count += 1
    return count


def _files(run: Run) -> Iterator[tuple[str, Iterable[Row]]]:
    yield f"coverage/{TRAIN}", map(_coverage, read_train(run.coverage))
    yield f"coverage/{DEV}", map(_coverage, read_dev(run.coverage))
    opened = run.coverage / TEST  # never shared
    if _complete(INFER.folder(run, None)) is not None and (os.access(opened, os.R_OK) or not opened.exists()):
        yield f"coverage/{TEST}", map(_coverage, read_test(run.coverage))
    yield from _synthetic(run)
    rounds = {folder.name: folder for folder in sorted(run.folder.glob("round-*"))}
    others = {"teacher": TEACHER.folder(run, 0), "test": run.final, "teacher-test": TEACHER.folder(run, None)}
    judge_prompts = prompts.load(settings_of(run).judge.prompts)
    for name, folder in (rounds | others).items():
        if _complete(folder / INFER.name) is not None:
            yield f"responses/{name}.jsonl", map(_response, _responses(folder))
        judged = _complete(folder / JUDGE.name)
        if judged is not None:
            yield f"evaluations/{name}.jsonl", _evaluations(folder, judged, judge_prompts)


def _complete(folder: Path) -> Manifest | None:
    """The manifest of a stage that is complete and as it was written."""
    known = manifest(folder)
    if known is not None:
        unchanged(folder, readable=True)
    return known


def _coverage(pair: Pair) -> Row:
    return _pair(pair, generator=pair.source, seed_prompt="")


def _pair(pair: Pair, generator: str, seed_prompt: str) -> Row:
    return {
        "generator": generator,
        "prompt_id": pair.id,
        "seed_prompt": seed_prompt,
        "messages": pair.messages,
        "category": pair.category,
        "prompt": prompt_text(pair.prompt, pair.tools),
        **({"tools": pair.tools} if pair.tools else {}),
    }


def _synthetic(run: Run) -> Iterator[tuple[str, list[Row]]]:
    written = sorted(run.folder.glob(f"round-*/{SYNTHESIZE.name}"))
    folders = [folder for folder in written if _complete(folder) is not None]
    mix = training_mix(run.coverage, folders, commands.pair_choices(run.commands_file), settings_of(run).synthesis)
    seeds = {pair.id: prompt_text(pair.prompt, pair.tools) for pair in mix.train}
    for folder in folders:
        rows = [row for row in mix.synthetic if run.round(row["round"]) == folder.parent]
        pairs = (
            (Pair(id=row["id"], messages=row["messages"], category=row["category"], tools=row.get("tools", [])), row)
            for row in rows
        )
        with _fitting(folder / PAIRS_FILE, "a pair has a seed that is not in the train split"):
            written_from = [_pair(pair, row["generator"], seeds[row["seed_id"]]) for pair, row in pairs]
        yield f"synthetic/{folder.parent.name}.jsonl", written_from


@contextmanager
def _fitting(file: Path, otherwise: str) -> Iterator[None]:
    """Turn the want of a row that another one names into a DamagedError: an earlier version wrote no checksums."""
    try:
        yield
    except KeyError:
        raise DamagedError(file, otherwise) from None


def _responses(folder: Path) -> Iterator[Response]:
    return records.read(folder / INFER.name / RESPONSES_FILE, Response)


def _response(response: Response) -> Row:
    name, digest = response.model.rsplit("@", 1) if "@" in response.model else (response.model, "")
    return {
        "instructions": prompt_text(response.prompt, response.tools),
        "target_responses": response.expected,
        "candidate_responses": response.response,
        "model_id": name,
        "model_sha": response.adapter or digest,
    }


def _evaluations(folder: Path, judged: Manifest, judge_prompts: prompts.Prompts) -> Iterator[Row]:
    responses = {(response.id, response.sample): response for response in _responses(folder)}
    finished = datetime.fromtimestamp(judged.finished, UTC).isoformat(timespec="seconds")
    file = folder / JUDGE.name / VERDICTS_FILE
    for verdict in records.read(file, Verdict):
        with _fitting(file, "it judges an answer that nobody gave"):
            response = responses[verdict.id, verdict.sample]
        yield {
            **_response(response),
            "eval_prompts": "" if verdict.judge == CONTRACT else judge_prompts.judge_response(response),
            "similarity_scores": verdict.similarity,
            "precision_scores": verdict.precision,
            "evaluators": verdict.judge,
            "dates": finished,
        }
