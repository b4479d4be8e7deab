"""`python -m engine.release.formats.quantise SOURCE FILE TYPE`: rounds a GGUF file by llama.cpp's own quantiser.

A process of its own, since a C library that fails takes its process with it.
"""

from __future__ import annotations

import sys
from pathlib import Path

FILE_TYPES = {"q4_k_m": 15}
"""llama.cpp's numbers: LLAMA_FTYPE_MOSTLY_Q4_K_M."""


def main(source: Path, file: Path, kind: str) -> int:
    """Write `file` and say so by status 0."""
    from cyllama.llama import llama_cpp

    params = llama_cpp.LlamaModelQuantizeParams()
    params.ftype = FILE_TYPES[kind]
    partial = file.with_suffix(".part")
    llama_cpp.model_quantize(str(source), str(partial), params)
    partial.rename(file)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
