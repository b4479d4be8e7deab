"""Which version of llamaduo-tui this is."""

from __future__ import annotations


def version() -> str:
    """The version of the installed package."""
    import importlib.metadata

    try:
        return importlib.metadata.version("llamaduo-tui")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
