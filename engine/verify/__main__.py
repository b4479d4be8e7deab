"""`python -m engine.verify RUN`: check a run from its own folder, offline; exit status 1 where it does not hold."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from engine.protocol import records
from engine.protocol.errors import LlamaDuoError
from engine.protocol.run_dir import Run
from engine.protocol.sharing import denied
from engine.protocol.terminal import one_line, say, visible
from engine.verify.checks import Finding, Verification
from engine.verify.verification import verify

MARKS = {Finding.HOLDS: "ok", Finding.BROKEN: "BROKEN", Finding.UNKNOWN: "?", Finding.ABSENT: "-"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.verify", description=__doc__)
    parser.add_argument("run", type=Path, help="the run directory")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args()
    try:
        found = verify(Run(args.run.resolve()))
    except LlamaDuoError as error:
        say(f"{error.message}; {error.hint}", err=True)
        return error.exit_status
    except PermissionError as error:
        told = denied(error)
        say(f"{told.message}; {told.hint}", err=True)
        return told.exit_status
    except OSError as error:
        say(f"{error.filename}: cannot be read: {error.strerror}", err=True)
        return 1
    print(json.dumps(records.to_row(found), indent=1) if args.json else lines_of(found))
    return 0 if found.holds else 1


def lines_of(found: Verification) -> str:
    """A verification in lines for a terminal: each claim, all files that are not right, and what people changed."""
    lines = [f"{MARKS[check.finding]:<7}{check.name:<10}{one_line(check.text)}" for check in found.checks]
    several = [problem for check in found.checks for problem in check.problems[1:]]
    lines += [f"       also: {one_line(str(problem))}" for problem in several]
    lines += [one_line(note) for note in found.notes]
    if found.sealed:
        lines.append(f"sealed prompts: sha256 {found.sealed}")
    if found.record:
        lines.append(f"record of the run: sha256 {found.record} (keep it elsewhere: it tells a rewritten record)")
    lines.append(_verdict(found))
    return "\n".join(lines)


def _verdict(found: Verification) -> str:
    broken = [check.name for check in found.checks if check.finding is Finding.BROKEN]
    unknown = [check.name for check in found.checks if check.finding is Finding.UNKNOWN]
    if broken:
        return f"{visible(found.run)} does not hold: {', '.join(broken)}"
    if unknown:
        return f"{visible(found.run)} cannot be shown to hold: {', '.join(unknown)}"
    return f"{visible(found.run)} holds"


if __name__ == "__main__":
    sys.exit(main())
