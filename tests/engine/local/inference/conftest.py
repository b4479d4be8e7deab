"""A stand-in for the executables that serve models, and an adapter with weights that do something."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).parent))

import fake_openai


@pytest.fixture(scope="session")
def executable(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program that serves as `vllm serve` does."""
    path = tmp_path_factory.mktemp("bin") / "vllm"
    path.write_text(f"#!{sys.executable} -S\n{Path(fake_openai.__file__).read_text()}")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    folder.mkdir()
    save_file({"layer.lora_B.weight": torch.ones(2, 2)}, folder / "adapter_model.safetensors")
    return folder
