"""`python -m engine.takeover`: begin a take-over, keep its door, be the door, or rehearse."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.takeover", description=__doc__)
    tasks = parser.add_subparsers(dest="task", required=True)
    begin = tasks.add_parser("begin", help="write the settings; checks them first")
    begin.add_argument("run", type=Path)
    begin.add_argument("--mode", required=True)
    begin.add_argument("--anyway", action="store_true")
    for name, kind in (("host", str), ("port", int), ("key-env", str), ("local", str), ("local-model", str)):
        begin.add_argument(f"--{name}", type=kind)
    keep = tasks.add_parser("keep", help="hold the port and keep a door at work")
    keep.add_argument("run", type=Path)
    door = tasks.add_parser("door", help="be the door")
    door.add_argument("run", type=Path)
    door.add_argument("folder", type=Path)
    door.add_argument("--socket", type=int, required=True)
    args = parser.parse_args()

    from engine.protocol.errors import LlamaDuoError

    try:
        match args.task:
            case "begin":
                _begin(args)
                return 0
            case "keep":
                from engine.takeover.keeper import main_keeper

                return main_keeper(args.run.resolve())
            case _:
                from engine.takeover.process import main_door

                return main_door(args.run.resolve(), args.folder.resolve(), args.socket)
    except LlamaDuoError as error:
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_status


def _begin(args: argparse.Namespace) -> None:
    import asyncio
    from dataclasses import replace

    from engine.protocol.run_dir import Run
    from engine.protocol.takeover import Mode
    from engine.settings.load import settings_of
    from engine.takeover import setup
    from engine.takeover.access import door_key

    run = Run(args.run.resolve())
    mode = Mode(args.mode)
    setup.check_mode(mode, run.final_decision(), args.anyway)
    options = {name: getattr(args, name) for name in ("host", "port", "key_env", "local", "local_model")}
    settings = setup.door_settings(run, settings_of(run), **options)
    door_key(settings)
    if not settings.local_model:
        settings = replace(settings, local_model=asyncio.run(setup.local_model(settings)))
    setup.begin(run, settings, mode)


if __name__ == "__main__":
    sys.exit(main())
