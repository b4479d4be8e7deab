from __future__ import annotations

import subprocess
import sys

import pytest

from engine.protocol.notices import last_message

WARNING = ["/site-packages/x.py:33: FutureWarning: `a` is deprecated.", "  warnings.warn("]


@pytest.mark.parametrize(
    ("lines", "last"),
    [
        (["Killed", *WARNING], "Killed"),
        (["Killed", "WARNING bitsandbytes.backends.cpu: Failed to load x from kernels"], "Killed"),
        (["Killed", "[transformers] Setting `pad_token_id` to 0."], "Killed"),
        (["Killed", "[rank0]:W1127 10:00:00.123000 12 torch/x.py:5] slow", "I1127 10:00:00.1 12 y.cc:7] z"], "Killed"),
        (["Killed", "Loading weights:  50%|█████     | 5/10 [00:01<00:01]"], "Killed"),
        ([*WARNING, "Traceback (most recent call last):", '  File "a.py", line 1', "MemoryError"], "MemoryError"),
        (["ERROR engine.x: out of range", ""], "ERROR engine.x: out of range"),
        (["terminate called after 'std::bad_alloc'", *WARNING, *WARNING], "terminate called after 'std::bad_alloc'"),
        (WARNING, ""),
        ([], ""),
    ],
)
def test_the_last_message_is_no_notice_of_a_library(lines: list[str], last: str) -> None:
    assert last_message(lines) == last


def test_what_libraries_log_is_told_from_what_ends_a_process() -> None:
    program = (
        "import logging, warnings; from engine.protocol.notices import label_notices; label_notices(); "
        "log = logging.getLogger('a.library'); log.error('no device'); log.warning('no kernels'); warnings.warn('old')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert last_message(done.stderr.splitlines()) == "ERROR a.library: no device"
