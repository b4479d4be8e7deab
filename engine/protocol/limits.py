"""The largest numbers that people and files may give, by kind: a slip of the finger is refused before it costs a thing.

They are far above every use that we know of, and low enough that what is sized by them fits in memory and on a disk.
"""

from __future__ import annotations

MOST_PAIRS = 1_000_000
"""New pairs in a round; the paper writes 256,000 at most."""

MOST_ROUNDS = 999
"""Rounds of a run; settings allow 100."""

MOST_ROWS = 1_000_000_000
"""Rows, samples and words."""

MOST_TOKENS = 10_000_000
"""Tokens of a text."""

MOST_USD = 1_000_000_000.0
MOST_CALLS = 1_000_000_000
MOST_A_MINUTE = 1_000_000_000
"""Requests or tokens a minute."""

LONGEST_CALL_S = 86_400.0
"""Seconds for one response: a day, as batches have it."""

LONGEST_S = 31_536_000.0
"""Seconds to wait for anything: a year."""

MOST_COUNTED = 1e15
"""Rows, tokens and losses that a stage counts."""

MOST_PROCESSES = 10_000
