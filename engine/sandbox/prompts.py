"""Recognise a prompt's task: to judge a response or a pair, to write new pairs, or something else.

It reads the project's own prompts, whose texts stand between tags, and LlamaDuo's, whose texts stand in fences or
behind headings. A judged response can imitate any of these marks, so the outermost ones count.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

DEFAULT_COUNT = 5
MAX_COUNT = 50

JUDGE_TAGS = ("instruction", "reference_response", "model_response")
PAIR_TAGS = ("instruction", "response")

FENCE = re.compile(r"^[ \t]*```[ \t]*$", re.MULTILINE)
FENCED_HEADING = re.compile(r"^[^\n]{0,60}\b(?:instruction|response)\b[^\n]{0,20}\n[ \t]*```\w*[ \t]*\n", re.I | re.M)
MARKED = re.compile(r"\s{0,9}<(\w{1,30}-[0-9a-f]{8})>\n")
KIND = re.compile(r"^Kind: (\S[^\n]{0,80})\.$", re.MULTILINE)
COUNT = re.compile(r"\b(\d{1,6}) (?:new |more )?(?:\([^)\n]{0,40}\) )?pairs\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class JudgeRequest:
    """A response to compare with its reference."""

    instruction: str
    reference: str
    response: str


@dataclass(frozen=True, slots=True)
class SynthesisRequest:
    """A seed pair, how many new ones to write (1 to 50), and of what kind, "" for any."""

    instruction: str
    response: str
    count: int
    kind: str = ""


@dataclass(frozen=True, slots=True)
class PairRequest:
    """A pair to judge without a reference."""

    instruction: str
    response: str


Request = JudgeRequest | PairRequest | SynthesisRequest


def read(prompt: str) -> Request | None:
    """The prompt's request; None where it is neither a judge's prompt nor one for synthesis."""
    if "similarity_assessment" in prompt and "precision_assessment" in prompt:
        texts = _sections(prompt, JUDGE_TAGS)
        if texts is not None:
            return JudgeRequest(*texts)
    if '"contents"' in prompt:
        texts = _sections(prompt, PAIR_TAGS) or _headed(prompt)
        if texts is not None:
            template = prompt.replace(texts[0], "")
            kind = KIND.search(template.replace(texts[1], ""))
            return SynthesisRequest(texts[0], texts[1], _count(template), kind[1] if kind else "")
    elif "precision_assessment" in prompt:
        texts = _sections(prompt, PAIR_TAGS)
        if texts is not None:
            return PairRequest(*texts)
    return None


def _sections(prompt: str, tags: tuple[str, ...]) -> list[str] | None:
    """The texts in the first marks, which are always those of the template."""
    heading = FENCED_HEADING.search(prompt)
    before_heading = prompt[: heading.start()] if heading else prompt
    opening = re.search(rf"^<{tags[0]}(-\w+)?>\n", before_heading, re.MULTILINE)
    if heading and not opening:
        return _fenced(prompt, len(tags))
    mark = opening[1] or "" if opening else ""
    return _tagged(prompt, tuple(tag + mark for tag in tags))


def _tagged(prompt: str, tags: tuple[str, ...]) -> list[str] | None:
    """The texts between tags on separate lines.

    The borders between texts are the first ones, since only the last text is a model's; that one ends at the last tag.
    """
    parts = re.split(rf"^<{tags[0]}>\n", prompt, maxsplit=1, flags=re.MULTILINE)
    for tag, following in pairwise(tags):
        parts[-1:] = re.split(rf"^</{tag}>\s*^<{following}>\n", parts[-1], maxsplit=1, flags=re.MULTILINE)
    last, end, _ = parts[-1].rpartition(f"\n</{tags[-1]}>")
    if len(parts) != len(tags) + 1 or not end:
        return None
    return [text.strip() for text in (*parts[1:-1], last)]


def _fenced(prompt: str, count: int) -> list[str] | None:
    """The contents of the first `count` fences under a heading; the last one ends at the prompt's last fence."""
    texts = []
    rest = prompt
    for index in range(count):
        heading = FENCED_HEADING.search(rest)
        if heading is None:
            return None
        rest = rest[heading.end() :]
        following = FENCED_HEADING.search(rest)
        inside = rest[: following.start()] if following and index < count - 1 else rest
        fences = list(FENCE.finditer(inside))
        if not fences:
            return None
        texts.append(_unmarked(inside[: fences[-1].start()]))
        rest = rest[fences[-1].end() :]
    return texts


def _headed(prompt: str) -> list[str] | None:
    parts = re.split(r"^instruction:", prompt, maxsplit=1, flags=re.IGNORECASE | re.MULTILINE)
    parts[-1:] = re.split(r"^response:", parts[-1], maxsplit=1, flags=re.IGNORECASE | re.MULTILINE)
    return [_unmarked(text) for text in parts[1:]] if len(parts) == 3 else None


def _unmarked(text: str) -> str:
    """A text without the markers that a user's prompt gets around it."""
    inside = MARKED.match(text)
    end = text.find(f"\n</{inside[1]}>") if inside else -1
    return (text[inside.end() : end] if inside and end >= 0 else text).strip()


def _count(template: str) -> int:
    counts = COUNT.findall(template)
    return min(max(int(counts[-1]), 1), MAX_COUNT) if counts else DEFAULT_COUNT
