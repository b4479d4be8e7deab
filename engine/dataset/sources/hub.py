"""Rows of a dataset of the Hub, by the `datasets` library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from engine.dataset.record import Dropped, Record
from engine.dataset.sources.errors import first_line
from engine.dataset.sources.place import HubDataset
from engine.protocol.errors import InputError

BATCH = 256


def hub_rows(place: HubDataset) -> Iterator[Record | Dropped]:
    """The rows of a split, numbered from 1. Raises InputError where it cannot be loaded."""
    from engine.dataset.sources.arrow_tables import DAMAGED, table_rows

    dataset = _loaded(place)
    try:
        yield from table_rows(_schema(dataset), _batches(dataset), place.dataset, place.label, "Hub")
    except DAMAGED as error:
        raise InputError(f"{place.dataset}: the dataset cannot be read: {first_line(error)}") from None


def _loaded(place: HubDataset) -> Any:
    import datasets  # type: ignore[import-untyped]
    import httpx
    from datasets.exceptions import DatasetNotFoundError, DatasetsError  # type: ignore[import-untyped]

    name = place.dataset
    try:
        return datasets.load_dataset(name, split=place.split)
    except DatasetNotFoundError:
        hint = "check the id; for a private or gated dataset run: hf auth login"
        raise InputError(f"{name}: no such file, and no such dataset on the Hub", hint) from None
    except (ConnectionError, httpx.TransportError):
        hint = "check the network, or download the dataset and name the file"
        raise InputError(f"{name}: no such file, and the Hub cannot be reached", hint) from None
    except (ValueError, RuntimeError, OSError, DatasetsError, httpx.HTTPError) as error:
        raise InputError(f"{name}: the dataset cannot be loaded: {first_line(error)}") from None


def _schema(dataset: Any) -> Any:
    return dataset.features.arrow_schema


def _batches(dataset: Any) -> Iterator[Any]:
    for table in dataset.with_format("arrow").iter(batch_size=BATCH):
        yield from table.to_batches()
