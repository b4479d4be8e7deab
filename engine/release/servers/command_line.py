"""The command line that all servers have: the artefact, and where to serve it."""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.release.engines import TRUST


def arguments(module: str, description: str | None) -> argparse.Namespace:
    """`artefact`, a folder or its file; `host` and `port`; `slots`, the requests that are answered at once."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("artefact", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--slots", type=int, required=True)
    parser.add_argument(TRUST, dest="trusted", action="store_true", help="run code that comes with the model")
    return parser.parse_args()
