"""The records of a coverage dataset, in order, each with its line or number, from whatever holds them.

Knows containers (JSONL, JSON, CSV, Parquet, Arrow, the Hub), compressed or not, in files, folders, pipes or behind
addresses; but not what a record means.
"""

from engine.dataset.sources.expand import files, hub_id, located
from engine.dataset.sources.reading import read

__all__ = ["files", "hub_id", "located", "read"]
