"""Lets these tests import the servers that lie beside them, and gives each the service's key."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def litellm() -> None:
    """Imported before any event loop runs: the first import takes seconds, which no door may stand still for."""
    from engine.service.models import load_litellm

    load_litellm()


@pytest.fixture(autouse=True)
def service_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from door_sides import KEY

    monkeypatch.setenv("SERVICE_TEST_KEY", KEY)
