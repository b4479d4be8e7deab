"""`python -m engine.worker RUN`: work on a run until it ends, is stopped or fails; killed, it can be started again."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.worker", description=__doc__)
    parser.add_argument("run", type=Path, help="the run directory, with its migration.toml")
    parser.add_argument("--yes", action="store_true", help="approve every round of synthesis")
    args = parser.parse_args()

    from engine.protocol.errors import LlamaDuoError
    from engine.protocol.full_disk import full
    from engine.worker import process

    try:
        return process.main(args.run.resolve(), yes=args.yes)
    except LlamaDuoError as error:
        print(f"{error.message}; {error.hint}", file=sys.stderr)
        return error.exit_status
    except Exception as error:
        if (used_up := full(error)) is None:
            raise
        print(f"{used_up.what}; {used_up.hint}, then resume", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
