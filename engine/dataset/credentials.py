"""Keys, tokens and passwords, found by the forms that services give them."""

from __future__ import annotations

import re
from collections.abc import Iterator

Span = tuple[int, int]

_MARKS = (
    "sk-", "k_live_", "k_test_", "AKIA", "ASIA", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox",
    "AIza", "hf_", "eyJ", "npm_", "SG.", "earer ",
)  # fmt: skip
"""What the keys begin with: a cheap screen."""

_KEY = re.compile(
    r"(?:sk-(?<![\w.-]sk-)[A-Za-z0-9_-]{20,300}"
    r"|sk_(?:live|test)_[A-Za-z0-9]{16,200}|rk_(?:live|test)_[A-Za-z0-9]{16,200}"
    r"|AKIA[0-9A-Z]{16}|ASIA[0-9A-Z]{16}"
    r"|gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_[A-Za-z0-9_]{22,255}|glpat-[\w-]{20,64}"
    r"|xox[abeprs]-[A-Za-z0-9-]{10,250}"
    r"|AIza[\w-]{35}"
    r"|hf_[A-Za-z0-9]{30,64}|npm_[A-Za-z0-9]{30,64}"
    r"|SG\.[\w-]{16,32}\.[\w-]{32,64}"
    r"|eyJ(?<![\w.-]eyJ)[\w-]{8,4096}\.eyJ[\w-]{8,8192}\.[\w-]{8,4096}"
    r")(?![\w-])",
    re.ASCII,
)
_WITHIN = re.compile(r"[\w.-]", re.ASCII)
_BEARER = re.compile(r"(?<!\w)[Bb]earer +([A-Za-z0-9._~+/-]{20,4096}=*)")
_BLOCK = re.compile(r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----")
_BLOCK_END = re.compile(r"-----END [A-Z ]{0,30}PRIVATE KEY-----")
_IN_URL = re.compile(
    r"(?<![\w+.-])[A-Za-z][A-Za-z0-9+.-]{1,20}://([^\s/:@\"'<>\[\]]{1,128}:([^\s/@\"'<>\[\]]{1,256}))@"
)
_FILL_IN = re.compile(r"pass(?:word)?|pwd|secret|x{2,}|\*+|\.{2,}|changeme|token|[$%{].*", re.IGNORECASE)
"""What stands in a manual's example instead of a password."""


def keys(text: str) -> Iterator[Span]:
    """API keys, tokens, and blocks of private keys."""
    if any(map(text.__contains__, _MARKS)):
        for match in _KEY.finditer(text):
            within = _WITHIN.match(text[max(0, match.start() - 1) : match.start()])
            if not within and any(sign.isdigit() for sign in match[0]):
                yield match.span()
        for match in _BEARER.finditer(text):
            if any(sign.isdigit() for sign in match[1]):
                yield match.span(1)
    start = 0
    while "-----BEGIN" in text and (begins := _BLOCK.search(text, start)):
        ends = _BLOCK_END.search(text, begins.end())
        start = ends.end() if ends else len(text)
        yield begins.start(), start


def passwords(text: str) -> Iterator[Span]:
    """Names with passwords in URLs: "user:secret" of "https://user:secret@host"."""
    if "://" not in text or "@" not in text:
        return
    for match in _IN_URL.finditer(text):
        if not _FILL_IN.fullmatch(match[2]):
            yield match.span(1)
