"""LlamaDuo's YAML files become settings; what has no counterpart is listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.protocol.errors import InputError
from engine.settings import recipe, template
from engine.settings.load import load_settings

SFT = """
model_name_or_path: google/gemma-2b
model_revision: main
tokenizer_name_or_path: someone/gemma-tokenizer
torch_dtype: bfloat16
load_in_4bit: true
use_peft: true
lora_r: 8
lora_alpha: 16
lora_dropout: 0.05
dataset_mixer:
  someone/synthetic: 0.42
dataset_splits: [train_sft_gpt4o, test]
gradient_accumulation_steps: 2
learning_rate: 2e-4
max_seq_length: 1024
max_steps: -1
num_train_epochs: 10
per_device_train_batch_size: 4
warmup_ratio: 0.1
seed: 42
hub_model_id: someone/tuned
neftune_noise_alpha: 5
"""
INFER = """
ft_model_id: someone/tuned
test_ds_id: llama-duo/coverage_dataset
test_ds_split: test_classify
repeat: 4
"""
GENERATE = "do_sample: true\ntemperature: 0.8\nmax_new_tokens: 512\nstop_strings: ['<|im_end|>']\n"
EVALUATE = """
service_llm_provider: anthropic
service_model_name: claude-3-sonnet
rate_limit_per_minute: 60
prompt_tmpl_path: config/prompts.toml
eval_repeat: 10
eval_workers: 4
avg_similarity_threshold: 90.0
avg_precision_threshold: 85
"""


def written(folder: Path, *texts: str) -> list[Path]:
    (folder / "config").mkdir(exist_ok=True)
    files = [folder / "config" / f"{number}.yaml" for number in range(len(texts))]
    for file, text in zip(files, texts, strict=True):
        file.write_text(text)
    return files


def test_a_recipe_to_fine_tune_is_taken_over(tmp_path: Path) -> None:
    read = recipe.read(written(tmp_path, SFT))
    assert read.values["local"] == {
        "model": "google/gemma-2b",
        "revision": "main",
        "quantization": "nf4",
        "adapter": {"r": 8, "alpha": 16, "dropout": 0.05},
    }
    assert read.values["finetune"] == {
        "learning_rate": 2e-4, "max_length": 1024, "epochs": 10, "batch_size": 8, "warmup": 0.1,
    }  # fmt: skip
    assert read.values["coverage"] == {"source": "someone/synthetic:train_sft_gpt4o[:42%]"}
    assert read.values["loop"] == {"seed": 42}
    notes = "\n".join(read.notes)
    assert "lora_r -> local.adapter.r = 8" in notes
    assert "Left out, without a counterpart: hub_model_id, neftune_noise_alpha" in notes
    assert "Decided by the run itself: torch_dtype, use_peft, max_steps" in notes
    assert "tokenizer_name_or_path" in notes and "counts one GPU" in notes and "'test' is not used" in notes


def test_the_files_of_a_whole_pipeline_make_settings_that_load(tmp_path: Path) -> None:
    files = written(tmp_path, SFT, INFER, GENERATE, EVALUATE)
    (tmp_path / "config" / "prompts.toml").write_text("")
    read = recipe.read(files)
    target = tmp_path / "migration.toml"
    target.write_text(template.render(preset=read.values))
    settings = load_settings(target)
    coverage = "llama-duo/coverage_dataset"
    assert settings.coverage.sources == [f"{coverage}:train_classify", f"{coverage}:test_classify"]
    assert any("dataset_mixer is left out" in note for note in read.notes)
    assert (settings.service.model, settings.service.rpm, settings.service.concurrency) == (
        "anthropic/claude-3-sonnet", 60, 4,
    )  # fmt: skip
    assert (settings.judge.repeats, settings.target.similarity, settings.target.precision) == (10, 90, 85)
    assert settings.judge.prompts == str(tmp_path / "config" / "prompts.toml")
    assert (settings.inference.samples, settings.inference.temperature, settings.inference.max_new_tokens) == (
        4, 0.8, 512,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("do_sample: false\ntemperature: 0.7\nmax_new_tokens: 9", ("inference", "temperature"), 0),
        ("max_output_tokens: 4096", ("service", "params"), {"max_tokens": 4096}),
        ("max_tokens: 4096\ntemperature: 0.1", ("service", "params"), {"max_tokens": 4096, "temperature": 0.1}),
        ("service_llm_provider: gemini-vertex\nservice_model_name: g", ("service", "model"), "vertex_ai/g"),
        ("service_model_name: gemini-1.0-pro", ("service", "model"), "gemini/gemini-1.0-pro"),
        ("rate_limit_per_minute: 60\nrate_limit_on: false\nrepeat: 1", ("service", "rpm"), None),
        ("load_in_4bit: false", ("local", "quantization"), "none"),
        ("load_in_4bit: 'true'", ("local", "quantization"), "nf4"),
        ("model_revision: 2024-01-01", ("local", "revision"), "2024-01-01"),
        ("dataset_name: a/b\ndataset_train_split: train", ("coverage", "source"), "a/b:train"),
        ("dataset_mixer: {a/b: 1.0, c/d: 1}", ("coverage", "source"), ["a/b:train", "c/d:train"]),
        ("reference_ds_id: a/b\nreference_ds_split: s", ("coverage", "source"), "a/b:s"),
    ],
)
def test_each_kind_of_key_has_its_place(text: str, path: tuple[str, str], value: object, tmp_path: Path) -> None:
    assert recipe.read(written(tmp_path, text)).values.get(path[0], {}).get(path[1]) == value


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("lora_r: 8\nlearning_rate: 5", "not taken over: learning_rate = 5: finetune.learning_rate: must be below 1"),
        ("lora_r: 8\nlora_alpha: [1]", "not taken over: lora_alpha = [1]: local.adapter.alpha: must be a whole number"),
        ("lora_r: 8\nload_in_4bit: some", "load_in_4bit = 'some': must be true or false"),
        ("seed: 8\nlora_r: yes", "not taken over: lora_r = True: local.adapter.r: must be a number"),
        ("lora_r: 8\nnum_train_epochs: 1.5", "finetune.epochs: must be a whole number"),
        ("lora_r: 8\nper_device_train_batch_size: many", "must be a whole number"),
        ("lora_r: 8\nprompt_tmpl_path: ../../etc/none.toml", "no such file here; set judge.prompts"),
        ("lora_r: 8\nservice_llm_provider: other\nservice_model_name: m", "'other' is unknown"),
        ("dataset_mixer: {a/b: 0.0033}", "instead of 0.33%: set coverage.limit"),
        ("dataset_mixer: {a/b: .nan}", "not between 0 and 1"),
    ],
)
def test_what_cannot_be_taken_over_is_said(text: str, note: str, tmp_path: Path) -> None:
    assert any(note in line for line in recipe.read(written(tmp_path, text)).notes)


def test_a_later_file_wins_with_a_note(tmp_path: Path) -> None:
    read = recipe.read(written(tmp_path, "seed: 1", "seed: 2"))
    assert read.values == {"loop": {"seed": 2}}
    assert "Note: loop.seed = 2 (seed) replaces 1" in read.notes


def test_a_file_without_a_known_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no key of these files has a counterpart"):
        recipe.read(written(tmp_path, "type: task"))


def test_settings_are_merged_by_table() -> None:
    base = {"local": {"model": "a", "adapter": {"r": 1}}, "finetune": {"epochs": 3}}
    assert recipe.merged(base, {"local": {"model": "b"}}) == {**base, "local": {"model": "b", "adapter": {"r": 1}}}
    assert base["local"]["model"] == "a"


def test_texts_of_digits_stay_texts_and_numbers_have_64_bits(tmp_path: Path) -> None:
    text = "model_revision: '12345678'\nlora_r: 123456789012345678901234567890\nseed: 1e30\nnum_train_epochs: '3'\n"
    found = recipe.read(written(tmp_path, text))
    assert found.values["local"] == {"revision": "12345678"}
    assert found.values["finetune"]["epochs"] == 3
    assert sum("more than 64 bits" in note for note in found.notes) == 2
