"""`python -m engine.takeover`: begin a take-over, keep its door, be the door, or rehearse."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

OPTIONS = ("host", "port", "key_env", "local", "local_model", "local_key_env", "contents")
"""Of `begin`: the settings of a door that they replace."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.takeover", description=__doc__)
    tasks = parser.add_subparsers(dest="task", required=True)
    begin = tasks.add_parser("begin", help="write the settings; checks them first")
    begin.add_argument("run", type=Path)
    begin.add_argument("--mode", required=True)
    begin.add_argument("--anyway", action="store_true")
    for name, kind in (("host", str), ("port", int), ("key-env", str), ("local", str), ("local-model", str)):
        begin.add_argument(f"--{name}", type=kind)
    for name in ("local-key-env", "artefact"):
        begin.add_argument(f"--{name}")
    begin.add_argument("--contents", action=argparse.BooleanOptionalAction)
    keep = tasks.add_parser("keep", help="hold the port and keep a door at work")
    keep.add_argument("run", type=Path)
    keep.add_argument("--folder", type=Path, help="the take-over's folder, if not RUN/takeover")
    drill = tasks.add_parser("drill", help="rehearse the day on which the service is gone")
    drill.add_argument("run", type=Path)
    for name in ("local", "local-key-env", "artefact"):
        drill.add_argument(f"--{name}")
    drill.add_argument("--requests", type=int, default=200)
    drill.add_argument("--rate", type=float, default=5.0)
    door = tasks.add_parser("door", help="be the door")
    door.add_argument("run", type=Path)
    door.add_argument("folder", type=Path)
    door.add_argument("--socket", type=int, required=True)
    args = parser.parse_args()
    os.umask(0o077)  # the files of a take-over are for their owner, whichever library writes them

    from engine.protocol.errors import LlamaDuoError
    from engine.protocol.takeover import TakeoverFiles
    from engine.protocol.terminal import say

    try:
        match args.task:
            case "begin":
                _begin(args)
                return 0
            case "keep":
                from engine.takeover.keeper import main_keeper

                run = args.run.resolve()
                return main_keeper(run, TakeoverFiles((args.folder or run / "takeover").resolve()))
            case "drill":
                return _drill(args)
            case _:
                from engine.takeover.process import main_door

                return main_door(args.run.resolve(), args.folder.resolve(), args.socket)
    except LlamaDuoError as error:
        say(f"error: {error.message}", err=True)
        if error.hint:
            say(f"hint: {error.hint}", err=True)
        return error.exit_status


def _begin(args: argparse.Namespace) -> None:
    import asyncio
    from dataclasses import replace

    from engine.protocol.run_dir import Run
    from engine.protocol.takeover import DoorCommand, Mode, files, send
    from engine.settings.load import settings_of
    from engine.takeover import setup
    from engine.takeover.access import check_mode, door_key
    from engine.takeover.lock import lock

    run = Run(args.run.resolve())
    mode = Mode(args.mode)
    check_mode(mode, run.final_decision(), args.anyway)
    options = {name: getattr(args, name) for name in OPTIONS}
    settings = setup.door_settings(run, settings_of(run), args.artefact, **options)
    door_key(settings)
    if not settings.local_model:
        settings = replace(settings, local_model=asyncio.run(setup.local_model(settings)))
    with lock(files(run.folder)):  # the settings and the mode of a door at work, or about to be, are left alone
        send(setup.begin(run, settings, mode), DoorCommand(kind="mode", mode=mode))


def _drill(args: argparse.Namespace) -> int:
    import asyncio
    from dataclasses import replace

    from engine.protocol.run_dir import Run
    from engine.settings.load import settings_of
    from engine.takeover import drill, setup

    run = Run(args.run.resolve())
    options = {"local": args.local, "local_key_env": args.local_key_env, "host": "127.0.0.1"}
    settings = setup.door_settings(run, settings_of(run), args.artefact, start=True, **options)
    if not settings.local_model:
        settings = replace(settings, local_model=asyncio.run(setup.local_model(settings)))
    return int(bool(asyncio.run(drill.rehearse(run, settings, args.requests, args.rate))))


if __name__ == "__main__":
    sys.exit(main())
