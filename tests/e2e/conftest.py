"""A migration that takes half a minute: half of the demo's tickets, the sandbox, a tiny model with random weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import make_model

DEMO = Path(__file__).parents[2] / "engine" / "demo" / "tickets.jsonl"
ROWS = 80

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
    lines = DEMO.read_text(encoding="utf-8").splitlines(keepends=True)
    (tmp_path / "tickets.jsonl").write_text("".join(lines[:ROWS]), encoding="utf-8")
    file = tmp_path / "migration.toml"
    file.write_text(SETTINGS.format(model=tiny_model))
    return file
