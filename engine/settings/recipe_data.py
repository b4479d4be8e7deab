"""The datasets that LlamaDuo's files name, as a coverage source: ids of the Hub stay ids of the Hub."""

from __future__ import annotations

from typing import Any

DATA_KEYS = {
    *("dataset_mixer", "dataset_splits", "dataset_name", "dataset_train_split", "test_ds_id", "test_ds_split"),
    *("reference_ds_id", "reference_ds_split"),
}

COVERAGE = "llama-duo/coverage_dataset"
"""The paper's coverage dataset: each task has a split train_TASK, and a split test_TASK."""


def coverage_source(recipe: dict[str, Any]) -> tuple[str | list[str] | None, list[str]]:
    """The source, None where no dataset is named, and notes.

    Prompts of people (of batch inference and of synthesis) come before a mix to train on, which LlamaDuo's recipes fill
    with synthetic pairs: a run writes its own.
    """
    asked = _asked(recipe)
    mixed, notes = _mixed(recipe)
    if asked and mixed:
        names = ", ".join(source for source in mixed if source not in asked)
        notes = [f"dataset_mixer is left out ({names}): a run writes its own pairs to add"] if names else []
    sources = asked or mixed
    if not sources:
        return None, notes
    return (sources[0] if len(sources) == 1 else sources), notes


def _asked(recipe: dict[str, Any]) -> list[str]:
    """The prompts that people wrote, with both splits of the paper's own dataset: a run seals another part of it."""
    sources: dict[str, None] = {}
    for name, split in (("reference_ds_id", "reference_ds_split"), ("test_ds_id", "test_ds_split")):
        dataset, part = recipe.get(name), recipe.get(split)
        if not isinstance(dataset, str):
            continue
        if dataset == COVERAGE and isinstance(part, str):
            task = part.partition("_")[2]
            sources |= dict.fromkeys([f"{dataset}:train_{task}", f"{dataset}:test_{task}"])
        else:
            sources[_source(dataset, part)] = None
    return list(sources)


def _mixed(recipe: dict[str, Any]) -> tuple[list[str], list[str]]:
    """The datasets to train on, each with its split and share."""
    mixer, splits = recipe.get("dataset_mixer"), recipe.get("dataset_splits")
    names = [str(split) for split in splits] if isinstance(splits, list) else []
    train = next((name for name in names if "train" in name), names[0] if names else "train")
    notes = [
        f"dataset_splits: {name!r} is not used: a run seals a part of the data itself"
        for name in names
        if name != train
    ]
    if not isinstance(mixer, dict):
        dataset = recipe.get("dataset_name")
        return ([_source(dataset, recipe.get("dataset_train_split"))] if isinstance(dataset, str) else []), []
    sources = []
    for dataset, share in mixer.items():
        part, note = _share(share)
        notes += [f"{dataset}: {note}"] if note else []
        sources.append(_source(str(dataset), f"{train}{part}"))
    return sources, notes


def _share(share: Any) -> tuple[str, str]:
    """The share of a dataset's rows as a slice in whole percent, and a note where that is not exact."""
    if not isinstance(share, int | float) or isinstance(share, bool) or not 0 < share <= 1:
        return "", f"its share {share!r} in dataset_mixer is not between 0 and 1: all rows are used"
    percent = round(100 * share)
    if percent == 100 * share:
        return ("" if percent == 100 else f"[:{percent}%]"), ""
    if percent == 0:
        return "", f"all rows are used instead of {share:.2%}: set coverage.limit to a number of rows"
    return f"[:{percent}%]", f"its first {percent} % are used instead of {share:.2%}"


def _source(dataset: str, split: Any) -> str:
    return f"{dataset}:{split}" if isinstance(split, str) and split else dataset
