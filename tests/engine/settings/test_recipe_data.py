from __future__ import annotations

from engine.settings.recipe_data import coverage_source


def test_ids_of_the_hub_stay_ids_of_the_hub() -> None:
    mixer = {"dataset_mixer": {"a/b": 0.5}, "dataset_splits": ["train_sft", "test"]}
    source, notes = coverage_source(mixer)
    assert source == "a/b:train_sft[:50%]"
    assert notes == ["dataset_splits: 'test' is not used: a run seals a part of the data itself"]


def test_prompts_of_people_come_before_a_mix_to_train_on() -> None:
    mixer = {"dataset_mixer": {"a/synthetic": 1}, "dataset_splits": ["train_sft"]}
    asked = {"test_ds_id": "a/coding", "test_ds_split": "test_sft", "reference_ds_id": "a/coding"}
    source, notes = coverage_source({**mixer, **asked, "reference_ds_split": "train_sft"})
    assert source == ["a/coding:train_sft", "a/coding:test_sft"]
    assert notes == ["dataset_mixer is left out (a/synthetic:train_sft): a run writes its own pairs to add"]


def test_no_dataset_is_no_source() -> None:
    assert coverage_source({"dataset_splits": "x", "dataset_mixer": [1], "test_ds_id": 5}) == (None, [])
