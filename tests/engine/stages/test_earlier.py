"""Starting from an earlier run's adapter: what fits, what is refused, and what is never sealed again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from engine.dataset.contamination import fingerprints
from engine.dataset.load import load
from engine.dataset.prepare import open_sealed, read_dev, read_train
from engine.dataset.split import Known, Splits, split
from engine.local.resolve import ResolvedModel
from engine.protocol import jsonl
from engine.protocol.errors import InputError
from engine.protocol.run_dir import Run
from engine.settings.schema import Migration
from engine.stages.earlier import earlier, refuse_other_base, replayed, seen, trained_again_with
from tests.engine.earlier_run import DIGEST, SYNTHETIC, ended_run, rows, settings


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return ended_run(tmp_path_factory.mktemp("earlier"))


def later(run: Run, source: Path, **tables: dict[str, object]) -> Migration:
    return settings(str(source), **({"finetune": {"start_from": str(run.folder)}} | tables))


def test_the_best_adapter_of_a_run_that_fits(first: Run, tmp_path: Path) -> None:
    assert earlier(settings("x.jsonl")) is None
    found = earlier(later(first, tmp_path / "x.jsonl"))
    assert found is not None and (found.round, found.adapter) == (1, first.round(1) / "finetune" / "adapter")
    refuse_other_base(found, ResolvedModel("m", tmp_path, None, DIGEST))
    with pytest.raises(InputError, match="other weights than those of m"):
        refuse_other_base(found, ResolvedModel("m", tmp_path, None, "f" * 16))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda run: run.final_decision_file.unlink(), "it has not ended"),
        (lambda run: (run.folder / "format").unlink() or run.status_file.unlink(), "no run is there"),
        (lambda run: _weights(run).rename(_weights(run).with_name("adapter_model.bin")), "from safetensors alone"),
        (lambda run: _weights(run).write_bytes(_weights(run).read_bytes() + b" "), "has changed|has another|bytes"),
        (lambda run: (run.round(1) / "finetune" / "manifest.json").unlink(), "is not complete"),
        (lambda run: run.settings_file.unlink(), "not a run"),
    ],
)
def test_a_run_that_cannot_be_started_from_is_named(tmp_path: Path, damage: Callable[[Run], object], said: str) -> None:
    run = ended_run(tmp_path)
    damage(run)
    with pytest.raises(InputError, match=said) as error:
        earlier(later(run, tmp_path / "x.jsonl"))
    assert str(run.folder) in error.value.message and error.value.hint


def _weights(run: Run) -> Path:
    return run.round(1) / "finetune" / "adapter" / "adapter_model.safetensors"


@pytest.mark.parametrize(
    "local",
    [{"quantization": "nf4"}, {"adapter": {"r": 8}}, {"adapter": {"alpha": 8}}, {"adapter": {"target_modules": "q"}}],
)
def test_another_shape_of_adapter_is_refused_with_what_to_set(first: Run, local: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"local\.") as error:
        earlier(later(first, Path("x.jsonl"), local=local))
    assert error.value.hint.startswith("set local.")
    assert earlier(later(first, Path("x.jsonl"), local={"adapter": {"dropout": 0.3}})) is not None


def test_what_was_trained_on_stays_for_training_and_dev_is_not_sealed(first: Run, tmp_path: Path) -> None:
    """Also a near-duplicate of a trained prompt, and of a synthetic one that no coverage row repeats."""
    source = tmp_path / "more.jsonl"
    train = read_train(first.coverage)
    near = train[0].prompt[0]["content"] + " please"
    added = [
        {"messages": [{"role": "user", "content": text}, {"role": "assistant", "content": "a"}]}
        for text in (near, SYNTHETIC)
    ]
    jsonl.write(source, [*rows(60), *rows(120)[60:], *added])
    made = later(first, source)
    pairs = load(made.coverage).pairs
    parts = split(pairs, made.coverage.split, seen(made.finetune.start_from))
    dev, test = ({pair.id for pair in part} for part in (parts.dev, parts.test))
    assert not {pair.id for pair in train} & (dev | test)
    assert not {pair.id for pair in read_dev(first.coverage)} & test
    sealed = {pair.id for pair in open_sealed(first.coverage)}
    assert len(sealed & test) > 0.6 * len(sealed), "most are sealed again, so that the gain can be told"
    texts = {pair.prompt[0]["content"] for pair in parts.train}
    assert {near, SYNTHETIC} <= texts
    assert len(test) > len(sealed) and dev
    assert sum(map(len, parts)) == len(pairs) == 122


def test_what_the_own_data_lacks_is_trained_on_again_unless_it_leaks(first: Run, tmp_path: Path) -> None:
    second = ended_run(tmp_path, "second", 60)
    made = later(first, tmp_path / "x.jsonl")
    assert replayed(settings("x"), second.coverage) == []
    assert [pair.prompt[0]["content"] for pair in replayed(made, second.coverage)] == [SYNTHETIC]
    splits = Splits(read_train(second.coverage), read_dev(second.coverage), open_sealed(second.coverage))
    known = seen(str(first.folder))
    told = trained_again_with(made.synthesis, known, splits)
    assert told == replayed(made, second.coverage), "a check counts what the training will take"
    assert trained_again_with(made.synthesis, Known(), splits) == []
    dev = read_dev(second.coverage)[0]
    messages = [{"role": "user", "content": f"Well then: {SYNTHETIC}, and so on"}, dev.messages[-1]]
    jsonl.write(
        second.coverage / "fingerprints.jsonl",
        map(dict, fingerprints([replace(dev, id="other", messages=messages)])),  # type: ignore[arg-type]
    )
    assert replayed(made, second.coverage) == []


def test_the_whole_chain_counts_and_a_circle_is_refused(tmp_path: Path) -> None:
    first = ended_run(tmp_path, "one", 30)
    second = ended_run(tmp_path, "two", 40, finetune={"start_from": str(first.folder)})
    known = seen(str(second.folder))
    assert len(known.trained) == len(read_train(first.coverage)) + len(read_train(second.coverage)) + 2
    first.settings_file.write_text(second.settings_file.read_text())
    with pytest.raises(InputError, match="it started from itself"):
        seen(str(second.folder))
