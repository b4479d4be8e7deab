"""`python -m engine.release RUN`: release the model of a run; what happens goes to standard output, line by line."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from engine.protocol.errors import LlamaDuoError
from engine.protocol.release import MARGIN, lacking_for_gguf
from engine.protocol.run_dir import Run
from engine.protocol.secrets import Redacted

REFUSED = 3
"""The exit status where an artefact was refused."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m engine.release", description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("--format", action="append", default=[])
    parser.add_argument("--quantize", action="append", default=[])
    parser.add_argument("--margin", type=float, default=MARGIN)
    parser.add_argument("--push")
    args = parser.parse_args()
    out = Redacted(sys.stdout)
    sys.stdout = sys.stderr  # libraries print what they please

    def tell(line: str) -> None:
        out.write(" ".join(line.split()) + "\n")
        out.flush()

    tell("the release begins; loading what it needs takes some seconds")
    from engine.release.formats import chosen_formats
    from engine.release.release import lines_of, release

    try:
        gguf = lacking_for_gguf() == ""
        names = args.format or (["gguf"] if args.quantize else ["safetensors", *(["gguf"] if gguf else [])])
        quantizations = args.quantize or ([] if args.format else ["q8_0"] * gguf)
        formats = chosen_formats(names, quantizations)
        gates = release(Run(args.run.resolve()), formats, margin=args.margin, tell=tell, push_to=args.push)
    except LlamaDuoError as error:
        tell(f"error: {error.message}")
        if error.hint:
            tell(f"hint: {error.hint}")
        return error.exit_status
    for gate in gates:
        for line in lines_of(gate):
            out.write(line + "\n")
    out.flush()
    return 0 if all(gate.passed for gate in gates) else REFUSED


if __name__ == "__main__":
    sys.exit(main())
