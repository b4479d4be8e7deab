from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest


def test_rows_are_decoded_by_their_types(monkeypatch: pytest.MonkeyPatch, reading: Any) -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"content": datasets.Json(), "n": datasets.Value("decimal128(4, 2)"), "nested": {"a": datasets.Value("string")}}
    )
    rows = [{"content": [{"text": "a"}], "n": Decimal("4.50"), "nested": {"a": None}}]
    dataset = datasets.Dataset.from_list(rows, features=features)
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: dataset)
    found = reading("org/name:dev", "org/name:dev")
    assert found.values == [{"content": [{"text": "a"}], "n": 4.5, "nested": {}}]
    assert found.values[0]["n"].text == "4.50"
    assert (found.places, found.records[0].container) == (["org/name:dev:1"], "Hub")


def test_an_unknown_configuration_names_those_there_are(monkeypatch: pytest.MonkeyPatch, refusal: Any) -> None:
    datasets = pytest.importorskip("datasets")

    def fails(*_: Any, **__: Any) -> Any:
        raise ValueError("BuilderConfig 'x' not found. Available: ['main', 'small']\nMore")

    monkeypatch.setattr(datasets, "load_dataset", fails)
    assert "Available: ['main', 'small']" in refusal("org/name").message
