"""Cut a model's thoughts off its reply.

Thoughts stand at the beginning of a reply. Services pass them on in many markings, often without the opening one, which
the chat template has put into the prompt. A marking elsewhere is part of the answer: it may be about such markings.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from engine.service.json_reading import closing_bracket, decoded_end

NAMES = ("think", "thinking", "thought", "thoughts", "reasoning", "reflection", "scratchpad", "seed:think")
CLOSING = {
    **{f"<{name}>": f"</{name}>" for name in NAMES},
    "[think]": "[/think]",  # Magistral
    "◁think▷": "◁/think▷",  # Kimi
    "<|begin_of_thought|>": "<|end_of_thought|>",  # OpenThinker
    "<|start_thinking|>": "<|end_thinking|>",  # Command A
    "<unused94>": "<unused95>",  # Gemma
}
"""The marking that closes thoughts by the one that opens them, in lower case."""

FENCE = "```"
BRACKETS = ("{", "[")
FLAGS = re.IGNORECASE | re.ASCII
MARKING = re.compile("|".join(re.escape(tag) for pair in CLOSING.items() for tag in pair), FLAGS)
SPACE = re.compile(r"[\s\ufeff]*")
ONLY_FENCE = re.compile(r"(?:```\w*)?\s*")
LINE_START = re.compile(r"\n[ \t]*\Z")
QUOTED = re.compile(r"(?:\A|[\s(\[{,:=])[\"'`“‘«]\Z")
NAMED = re.compile(r"\b(?:the|an?|opening|closing|tags?|tokens?|with|using|of|and|or) \Z")
IN_SENTENCE = re.compile(r"[\w,;:] \Z")
CALLED_TAG = re.compile(r" (?:tags?|tokens?|markers?|elements?)\b")
NEARBY = 16
"""Characters before a marking that tell whether it is only mentioned."""

CHANNEL = re.compile(r"(?:<\|start\|>assistant)?<\|channel\|>\s*(?:analysis|commentary|final)\b")
FINAL_CHANNEL = re.compile(r"<\|channel\|>\s*final\b[^<]{0,80}(?:<\|constrain\|>[^<]{0,40})?<\|message\|>")
FINAL_MESSAGE = re.compile(rf"<\|start\|>assistant{FINAL_CHANNEL.pattern}")
MESSAGE_ENDS = ("<|return|>", "<|end|>")
BARE_ANALYSIS = re.compile(r"analysis(?=\S)")
BARE_FINAL = re.compile("assistantfinal")
BARE_THOUGHT = re.compile(r"analysis(?:We|The user|User|I|Need|Let|They|This|Okay|OK|So)[ ,']")
"""Harmony, the format of gpt-oss, with its special tokens and without them."""

TOKEN = re.compile(rf"{MARKING.pattern}|{FINAL_MESSAGE.pattern}|{FENCE}|[{{\[](?=\s*[\"'{{\[])", FLAGS)
"""What decides whether a closing marking is one: markings, fences of code, and brackets that may begin JSON."""


IN_WORDS = re.compile(r"Here(?: is|'s) my thought process:")
RESPONSE_IN_WORDS = re.compile(r"^Here(?: is|'s) my response:", re.MULTILINE)
"""Granite's markings."""

WRAPPINGS = {
    "<answer>": "</answer>",
    "<output>": "</output>",
    "<response>": "</response>",
    "<|begin_of_solution|>": "<|end_of_solution|>",
    "<|start_response|>": "<|end_response|>",
}
"""What may mark the answer as such, after thoughts."""

MAX_BROKEN = 50
"""Brackets without a JSON value that are looked into: each may take as long as the reply."""

MAX_UNCLOSED = 4
"""Opening markings without their own closing one that are looked into: likewise."""


def without_thoughts(text: str) -> str:
    """The reply after the thoughts with which it begins; the text itself where it begins with none.

    Empty where there is nothing but thoughts. A second call changes nothing. Takes linear time.
    """
    reply = _Reply(text)
    start = reply.answer_start()
    if start == 0:
        return text
    answer = _unwrapped(text[start:].strip(), in_harmony=reply.in_harmony)
    return answer[_Reply(answer).answer_start() :].strip()


@dataclass(slots=True)
class _Json:
    """The JSON in a reply so far: whether the reply begins with it, where it ends, and whether it has no end."""

    is_first: bool = False
    end: int | None = None
    is_broken: bool = False


class _Reply:
    """One pass over a reply."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.last_fence = text.rfind(FENCE)
        self.broken = 0
        self.unclosed = 0
        self.in_harmony = False
        self._found: dict[re.Pattern[str], re.Match[str] | None] = {}

    def answer_start(self) -> int:
        """Where the answer begins: 0 where no thoughts come before it, the text's length where nothing follows them."""
        start = 0
        while True:
            begin = self._after_space(start)
            end = self._marked(begin)
            if end is None:
                end = self._unopened(begin)
            if end is None:
                return start
            start = end

    def _marked(self, begin: int) -> int | None:
        """The end of the thoughts that a marking at `begin` opens; None where there is no such marking."""
        text = self.text
        opening = MARKING.match(text, begin)
        if opening and opening[0].lower() in CLOSING and not CALLED_TAG.match(text, opening.end()):
            return self._closed(opening)
        if CHANNEL.match(text, begin):
            self.in_harmony = True
            final = self._first(FINAL_CHANNEL, begin)
            return final.end() if final else len(text)
        if BARE_ANALYSIS.match(text, begin):
            if final := self._first(BARE_FINAL, begin):
                return final.end()
            return len(text) if BARE_THOUGHT.match(text, begin) else None
        if IN_WORDS.match(text, begin):
            response = self._first(RESPONSE_IN_WORDS, begin)
            return response.end() if response else None
        return None

    def _first(self, pattern: re.Pattern[str], begin: int) -> re.Match[str] | None:
        """The first match from `begin` on; `begin` never goes back, so that all searches are one pass."""
        found = self._found.get(pattern)
        if pattern not in self._found or (found and found.start() < begin):
            found = self._found[pattern] = pattern.search(self.text, begin)
        return found

    def _closed(self, opening: re.Match[str]) -> int:
        """The end of thoughts with an opening marking: their own closing one, else another one."""
        closing = CLOSING[opening[0].lower()]
        opened: Counter[str] = Counter()
        other = None
        for match in MARKING.finditer(self.text, opening.end()):
            found = match[0].lower()
            if self._is_mentioned(match, opening.end()):
                continue
            if found == closing:
                return match.end()
            if found in CLOSING:
                opened[CLOSING[found]] += 1
            elif opened[found]:
                opened[found] -= 1
            elif other is None:
                other = match.end()
        self.unclosed += 1
        return other if other and self.unclosed <= MAX_UNCLOSED else len(self.text)

    def _unopened(self, begin: int) -> int | None:
        """The end of thoughts that the prompt opened: the first closing marking that nothing opens, unless it may be
        part of an answer, as markings in JSON, in code and in mid-sentence after a JSON value may be."""
        opened: Counter[str] = Counter()
        in_code, json = False, _Json()
        position = begin
        while match := TOKEN.search(self.text, position):
            found, position = match[0].lower(), match.end()
            if found == FENCE:
                in_code = not in_code
            elif found in BRACKETS:
                position = self._skip_json(json, begin, match.start())
            elif self._is_mentioned(match, begin) or (in_code and match.start() < self.last_fence):
                continue
            elif found in CLOSING:
                opened[CLOSING[found]] += 1
            elif opened[found]:
                opened[found] -= 1
            elif self._ends_thoughts(match, begin, json):
                self.in_harmony |= FINAL_MESSAGE.match(found) is not None
                return match.end()
        return None

    def _skip_json(self, json: _Json, begin: int, start: int) -> int:
        """Where to read on after the bracket at `start`, which may begin JSON."""
        if json.is_broken or self.broken > MAX_BROKEN:
            return start + 1
        json.is_first |= json.end is None and bool(ONLY_FENCE.fullmatch(self.text, begin, start))
        end = decoded_end(self.text, start)
        if end is None:
            self.broken += 1
            end = closing_bracket(self.text, start)
        json.is_broken = end is None
        json.end = end or start + 1
        return json.end

    def _ends_thoughts(self, match: re.Match[str], begin: int, json: _Json) -> bool:
        """Whether a closing marking that nothing opens is one."""
        if json.end is None or self._begins_line(match, begin):
            return True
        if json.is_first or json.is_broken:
            return self._after_space(json.end) >= match.start()
        return not IN_SENTENCE.search(self._before(match, begin))

    def _after_space(self, position: int) -> int:
        match = SPACE.match(self.text, position)
        return match.end() if match else position

    def _before(self, match: re.Match[str], begin: int) -> str:
        return self.text[max(begin, match.start() - NEARBY) : match.start()]

    def _begins_line(self, match: re.Match[str], begin: int) -> bool:
        return match.start() == begin or bool(LINE_START.search(self._before(match, begin)))

    def _is_mentioned(self, match: re.Match[str], begin: int) -> bool:
        """Whether a marking is quoted, or spoken of as a tag."""
        before = self._before(match, begin)
        if QUOTED.search(before) or NAMED.search(before):
            return True
        return bool(IN_SENTENCE.search(before) and CALLED_TAG.match(self.text, match.end()))


def _unwrapped(answer: str, *, in_harmony: bool) -> str:
    """The answer without what marks it as such after thoughts."""
    if in_harmony:
        ends = [end for end in MESSAGE_ENDS if answer.endswith(end)]
        return answer.removesuffix(ends[0]).strip() if ends else answer
    for opening, closing in WRAPPINGS.items():
        if answer[: len(opening)].lower() == opening:
            inner = answer[len(opening) :]
            if inner[-len(closing) :].lower() == closing:
                return inner[: -len(closing)].strip()
            return inner.strip() if opening.startswith("<|") else answer  # special tokens stand in no answer
    return answer
