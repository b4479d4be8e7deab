"""A run's rows as datasets: what comes out, what may not, and that our own loader takes it back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.dataset.load import load
from engine.dataset.prepare import open_sealed, prepare, read_dev, read_train
from engine.export import export
from engine.protocol import commands, jsonl
from engine.protocol.commands import PairChoice
from engine.protocol.errors import DamagedError, InputError, StageError
from engine.protocol.jsonl import Row
from engine.protocol.manifest import Manifest, finish
from engine.protocol.rows import CONTRACT, Pair, Response, SyntheticPair, Verdict
from engine.protocol.run_dir import Run, create
from engine.settings.load import settings_of
from engine.settings.schema import Coverage

TOOL = {"type": "function", "function": {"name": "track", "parameters": {"type": "object"}}}
TARGET = "It is in Graz.\u2028Really."


def complete(folder: Path, stage: str) -> None:
    finish(folder, Manifest(stage=stage, inputs={}, settings="", seed=1, counts={}, seconds=1.0))


def recorded(number: int) -> Row:
    """A plain pair, one under a system prompt, or one that calls a tool."""
    asked = {"role": "user", "content": f"Where is parcel {number}, sent {number * 7} days ago?"}
    system = {"role": "system", "content": "You answer for PostTown."}
    call = {"id": f"call_{number}", "function": {"name": "track", "arguments": f'{{"parcel": {number}}}'}}
    said = {"role": "assistant", "content": TARGET}
    if number % 3 == 2:
        return {"messages": [asked, {"role": "assistant", "content": None, "tool_calls": [call]}], "tools": [TOOL]}
    return {"messages": [asked, said] if number % 3 else [system, asked, said], "category": "parcels"}


def answered(folder: Path, pairs: list[Pair], model: str, adapter: str) -> None:
    rows = [
        Response(
            id=p.id,
            sample=0,
            prompt=p.prompt,
            target=p.target,
            response="Graz",
            finish_reason="stop",
            prompt_tokens=1,
            completion_tokens=1,
            model=model,
            adapter=adapter,
            tools=p.tools,
        )
        for p in pairs
    ]
    jsonl.write(folder / "infer" / "responses.jsonl", (row.to_row() for row in rows))
    complete(folder / "infer", "infer")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run at work on its second round: the first is judged and new pairs are written."""
    source = tmp_path / "log.jsonl"
    jsonl.write(source, map(recorded, range(60)))
    run = create(tmp_path / "runs", "demo", f'[coverage]\nsource = "{source}"\n[service]\nmodel = "sandbox"\n')
    prepare(settings_of(run), run.coverage)
    complete(run.coverage, "coverage")
    dev = read_dev(run.coverage)
    answered(run.round(1), dev, "small@0123", "abcd")
    verdicts = [
        Verdict(
            id=pair.id,
            sample=0,
            repeat=0,
            judge="gpt-4o",
            similarity=70.0,
            precision=80.0,
            similarity_reason="",
            precision_reason="",
            error="",
        )
        for pair in dev[1:]
    ]
    broken = Verdict(
        id=dev[0].id,
        sample=0,
        repeat=0,
        judge=CONTRACT,
        similarity=1.0,
        precision=1.0,
        similarity_reason="",
        precision_reason="no JSON",
        error="",
    )
    unread = Verdict(
        id=dev[1].id,
        sample=0,
        repeat=1,
        judge="gpt-4o",
        similarity=None,
        precision=None,
        similarity_reason="",
        precision_reason="",
        error="refused",
    )
    jsonl.write(run.round(1) / "judge" / "verdicts.jsonl", (v.to_row() for v in [broken, *verdicts, unread]))
    complete(run.round(1) / "judge", "judge")
    seed = read_train(run.coverage)[0]
    new = [
        SyntheticPair(
            id=f"new{n}",
            messages=seed.messages,
            category="parcels",
            generator="gpt-4o",
            seed_id=seed.id,
            round=1,
            tools=seed.tools,
        )
        for n in (1, 2)
    ]
    jsonl.write(run.round(1) / "synthesize" / "pairs.jsonl", (pair.to_row() for pair in new))
    complete(run.round(1) / "synthesize", "synthesize")
    jsonl.write(run.round(2) / "infer" / "responses.jsonl", [{"half": "done"}])
    return run


def rows(file: Path) -> list[Row]:
    return list(jsonl.read(file))


def test_complete_stages_come_out_with_their_counts_and_columns(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "out" / "rows"
    written = {file.name: file.rows for file in export(run, folder)}
    dev = len(read_dev(run.coverage))
    assert written == {
        "coverage/train.jsonl": len(read_train(run.coverage)),
        "coverage/dev.jsonl": dev,
        "synthetic/round-01.jsonl": 2,
        "responses/round-01.jsonl": dev,
        "evaluations/round-01.jsonl": dev + 1,
    }
    assert {name: len(rows(folder / name)) for name in written} == written
    columns = ["generator", "prompt_id", "seed_prompt", "messages", "category", "prompt"]
    train, new = rows(folder / "coverage/train.jsonl"), rows(folder / "synthetic/round-01.jsonl")
    assert all([key for key in row if key != "tools"] == columns for row in [*train, *new])
    assert new[0]["seed_prompt"] == train[0]["prompt"]

    response = rows(folder / "responses/round-01.jsonl")[0]
    assert [*response] == ["instructions", "target_responses", "candidate_responses", "model_id", "model_sha"]
    assert (response["model_id"], response["model_sha"]) == ("small", "abcd")
    broken, judged, *_, unread = rows(folder / "evaluations/round-01.jsonl")
    scores = ["eval_prompts", "similarity_scores", "precision_scores", "evaluators", "dates"]
    assert [*judged] == [*response, *scores]
    assert judged["instructions"] in judged["eval_prompts"]
    assert (judged["similarity_scores"], judged["precision_scores"]) == (70.0, 80.0)
    assert (broken["evaluators"], broken["eval_prompts"]) == (CONTRACT, "")
    assert unread["precision_scores"] is None


def test_our_own_loader_takes_the_coverage_back(run: Run, tmp_path: Path) -> None:
    export(run, tmp_path / "rows")
    for name, pairs in (("train", read_train(run.coverage)), ("dev", read_dev(run.coverage))):
        loaded = load(Coverage(source=str(tmp_path / "rows" / "coverage" / f"{name}.jsonl")))
        assert not loaded.dropped
        assert [(p.id, p.messages, p.category, p.tools) for p in loaded.pairs] == [
            (p.id, p.messages, p.category, p.tools) for p in pairs
        ]
    assert any(pair.tools for pair in pairs) and any(pair.plain for pair in pairs)


def test_the_sealed_test_comes_only_once_it_is_answered(run: Run, tmp_path: Path) -> None:
    sealed = open_sealed(run.coverage)
    assert not [file for file in export(run, tmp_path / "before") if "test" in file.name]
    texts = "".join(path.read_text() for path in (tmp_path / "before").rglob("*.jsonl"))
    assert not [pair for pair in sealed if pair.prompt[-1]["content"] in texts]

    answered(run.final, sealed, "small@0123", "")
    after = {file.name: file.rows for file in export(run, tmp_path / "after")}
    assert after["coverage/test.jsonl"] == after["responses/test.jsonl"] == len(sealed)
    assert rows(tmp_path / "after/responses/test.jsonl")[0]["model_sha"] == "0123"


def test_new_pairs_are_those_that_people_left(run: Run, tmp_path: Path) -> None:
    commands.send(run.commands_file, PairChoice(round=1, pairs=["new1"], keep=False))
    export(run, tmp_path / "rows")
    assert [row["prompt_id"] for row in rows(tmp_path / "rows/synthetic/round-01.jsonl")] == ["new2"]


def test_it_never_overwrites_and_leaves_nothing_half(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="already exists"):
        export(run, tmp_path / "mine")
    with pytest.raises(InputError, match="cannot be written: Not a directory"):
        export(run, tmp_path / "log.jsonl" / "rows")
    (run.round(1) / "judge" / "verdicts.jsonl").write_text('{"no": "verdict"}\n')
    with pytest.raises(StageError, match="it is not as its stage wrote it"):
        export(run, tmp_path / "rows")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log.jsonl", "mine", "runs"]


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("judge/verdicts.jsonl", '{"no": "verdict"}\n', "line 1: "),
        ("infer/responses.jsonl", "", "judges an answer that nobody gave"),
        ("../coverage/train.jsonl", "", "a seed that is not in the train split"),
    ],
)
def test_rows_of_an_earlier_version_have_no_checksums(
    run: Run, tmp_path: Path, file: str, change: str, said: str
) -> None:
    for path in run.folder.rglob("manifest.json"):
        row = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("outputs", "sha256")}
        path.write_text(json.dumps(row))
    export(run, tmp_path / "whole")
    (run.round(1) / file).write_text(change)
    with pytest.raises(DamagedError, match=said):
        export(run, tmp_path / "rows")
    assert not (tmp_path / "rows").exists()


def test_a_run_without_data_says_so(tmp_path: Path) -> None:
    run = create(tmp_path / "runs", "new", '[coverage]\nsource = "x.jsonl"\n[service]\nmodel = "sandbox"\n')
    with pytest.raises(InputError, match="nothing to export yet"):
        export(run, tmp_path / "rows")
