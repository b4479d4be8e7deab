"""The table of providers says what litellm says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from engine.preflight import doctor
from engine.service import catalog
from engine.service.models import load_litellm
from engine.service.providers import PROVIDERS, Provider, provider_of


@pytest.mark.parametrize("provider", PROVIDERS, ids=lambda provider: provider.name)
def test_keys_are_those_that_litellm_reads(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    litellm, model = load_litellm(), f"{provider.name}/any"
    assert litellm.get_llm_provider(model)[1] == provider.name
    missing = litellm.validate_environment(model)["missing_keys"]
    assert {name for name in missing if name.endswith("_KEY")} == set(provider.keys)
    for name in set(missing) - set(provider.keys):
        monkeypatch.setenv(name, "an address or a version")
    for name in provider.keys:
        with monkeypatch.context() as environment:
            environment.setenv(name, "sk-planted")
            assert litellm.validate_environment(model)["missing_keys"] == []


def test_bare_names_are_of_the_provider_that_litellm_finds() -> None:
    bare = [model for model in catalog.listed() if "/" not in model.name]
    named = {model.name: provider for model in bare if (provider := provider_of(model.name)) is not None}
    assert {name: provider.name for name, provider in named.items()} == {
        model.name: model.provider for model in bare if model.name in named
    }
    assert {"gpt-4o", "o3-mini", "claude-sonnet-4-5"} <= named.keys()


@pytest.mark.parametrize(
    ("model", "name"),
    [("gemini/gemini-2.5-pro", "gemini"), ("hosted_vllm/x", None), ("my-model", None), ("openai/my-model", "openai")],
)
def test_a_prefix_names_the_provider(model: str, name: str | None) -> None:
    provider = provider_of(model)
    assert (provider.name if provider else None) == name


def test_the_doctor_looks_for_every_key() -> None:
    assert {key for provider in PROVIDERS for key in provider.keys} < set(doctor.KEYS)


def test_litellm_is_not_imported() -> None:
    code = "import sys, engine.service.providers; print('litellm' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
