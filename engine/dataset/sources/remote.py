"""Files behind an address such as s3://bucket/logs/*.jsonl, by fsspec and its plugins."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from engine.dataset.sources.errors import first_line, without_secrets
from engine.dataset.sources.folder import named_as_data, natural
from engine.dataset.sources.place import Place
from engine.protocol.errors import InputError
from engine.settings.source import is_pattern

PAGES = ("http", "https")
"""Protocols without folders, whose addresses hold a query rather than a pattern."""

ACCESS = "check the address, the network, and your access to it"


def remote_files(address: str) -> list[Place]:
    """The files that an address names: one, those of a folder, or those that match a pattern, in the order of names.

    Raises InputError where there is none, or the plugin for it is not installed.
    """
    name = without_secrets(address)
    system, path = _connected(address, name)
    try:
        sizes = _sizes(system, path, one=address.partition("://")[0] in PAGES)
    except FileNotFoundError as error:
        cause = error.__cause__  # fsspec says so of a server that cannot be reached, too
        if cause is not None and not isinstance(cause, FileNotFoundError):
            raise InputError(f"{name}: cannot be read: {first_line(cause)}", ACCESS) from None
        sizes = {}
    except Exception as error:  # noqa: BLE001 - each file system raises errors of its own
        raise InputError(f"{name}: cannot be read: {first_line(error)}", ACCESS) from None
    if not sizes:
        raise InputError(f"{name}: no such file", ACCESS)
    return [_place(system, file, size) for file, size in sorted(sizes.items(), key=lambda item: natural(item[0]))]


def _connected(address: str, name: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    import fsspec  # type: ignore[import-untyped]  # slow to import

    try:
        system, path = fsspec.core.url_to_fs(address)
    except ImportError as error:
        package = _package(address.partition("://")[0].partition("::")[0]) or error.name
        raise InputError(f"{name}: its file system is not installed", f"pip install {package}") from None
    except Exception as error:  # noqa: BLE001 - each file system raises errors of its own
        raise InputError(f"{name}: cannot be read: {first_line(error)}", "check the address") from None
    return system, path


def _package(protocol: str) -> str:
    """The package on PyPI that reads a protocol, "" where fsspec itself does."""
    from fsspec.registry import known_implementations  # type: ignore[import-untyped]

    package: str = known_implementations.get(protocol, {}).get("class", "").partition(".")[0]
    return "" if package == "fsspec" else package


def _sizes(system: Any, path: str, *, one: bool) -> dict[str, int | None]:
    """The size of each file that a path names."""
    if one:
        return {path: system.info(path).get("size")}
    if is_pattern(path) and not system.exists(path):
        found = system.glob(path, detail=True)
    elif system.isdir(path):
        found = system.find(path, detail=True)
        found = {file: info for file, info in found.items() if _is_data(file[len(path) :])}
    else:
        return {path: system.info(path).get("size")}
    return {file: info.get("size") for file, info in found.items() if info.get("type") == "file"}


def _is_data(path: str) -> bool:
    *folders, name = PurePosixPath(path.lstrip("/")).parts
    return bool(named_as_data(name)) and not any(folder.startswith((".", "_")) for folder in folders)


def _place(system: Any, path: str, size: int | None) -> Place:
    address = system.unstrip_protocol(path)
    return Place(
        name=without_secrets(address),
        key=address,
        opener=lambda: system.open(path, "rb"),
        size=size,
        again=size is not None,
    )
