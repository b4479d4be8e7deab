"""Play every known behaviour of providers against a stage, on loopback; `--check` exits 1 where one is not met.

    python bench/providers.py [--check] [--trace] [WORDS]

One line each: verdicts (answers, pairs) right or honestly left out and none wrong; booked what the mock billed; the run
alive, or ended with the true cause; the requests it took, and the simulated seconds. WORDS choose the rows that hold
them. Waiting is jumped over, so that hours of outage take as long as the work between them.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "engine"))
from behaviour import PRICES, play, problems
from behaviours import TABLE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="exit 1 where a behaviour is not met")
    parser.add_argument("--trace", action="store_true", help="show where a row hangs")
    parser.add_argument("words", nargs="*", help="play only the rows whose name holds all of these")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)  # litellm's own lines about each failure
    rows = [row for row in TABLE if all(word in row.name for word in args.words)]
    console, missed, began = Console(highlight=False), 0, time.monotonic()
    for row in rows:
        if args.trace:
            faulthandler.dump_traceback_later(20)
        with tempfile.TemporaryDirectory() as folder:
            played = play(row, Path(folder))
            wrong = list(problems(row, played))
        missed += bool(wrong)
        billed = played.mock.usd(PRICES["input_price"], PRICES["output_price"])
        ended = f"; ended: {played.error[:100]}" if played.error else ""
        console.print(
            f"{'MISSED' if wrong else 'met   '} {row.name} ({row.model}):"
            f" {played.right} right, {played.missing} left out,"
            f" {len(played.mock.asked)} asked, ${billed:.5f} billed, ${played.spent:.5f} booked,"
            f" {played.seconds:.0f} s{ended}",
            markup=False,
            soft_wrap=True,
        )
        for problem in wrong:
            console.print(f"         {problem}", markup=False, soft_wrap=True)
    console.print(f"{len(rows) - missed} of {len(rows)} behaviours met, in {time.monotonic() - began:.0f} s")
    return int(args.check and bool(missed))


if __name__ == "__main__":
    sys.exit(main())
