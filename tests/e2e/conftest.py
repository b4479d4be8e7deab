"""A migration that takes a minute: the demo's tickets, the sandbox, and a tiny model with random weights."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.tiny import make_model

DEMO = Path(__file__).parents[2] / "engine" / "demo" / "tickets.jsonl"

SETTINGS = """
[task]
name = "tiny"
topic = "support tickets"
[coverage]
source = "tickets.jsonl"
[service]
model = "sandbox"
[judge]
repeats = 1
[local]
model = "{model}"
adapter = {{ r = 4, alpha = 8, dropout = 0.05 }}
[finetune]
epochs = 2
learning_rate = 1e-3
batch_size = 4
[inference]
samples = 2
max_new_tokens = 16
[synthesis]
pairs_per_round = 12
pairs_per_call = 3
[loop]
max_rounds = 2
approval = "auto"
"""


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    make_model(folder)
    return folder


@pytest.fixture
def tiny_migration(tmp_path: Path, tiny_model: Path) -> Path:
    """Its migration.toml, with the coverage file beside it."""
    shutil.copy(DEMO, tmp_path / "tickets.jsonl")
    file = tmp_path / "migration.toml"
    file.write_text(SETTINGS.format(model=tiny_model))
    return file
