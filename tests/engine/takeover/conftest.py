"""Lets these tests import the servers that lie beside them, and gives each the service's key."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def service_key(monkeypatch: pytest.MonkeyPatch) -> None:
    from door_sides import KEY

    monkeypatch.setenv("SERVICE_TEST_KEY", KEY)
