"""What is worth a look in pairs that can be used: refusals, reasoning and error messages as answers, personal data.

Nothing is dropped for it: whether such an answer is right is the user's decision.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from engine.dataset.personal import KINDS, counted, kinds_in
from engine.protocol.counts import number_of
from engine.protocol.data_summary import Concern
from engine.protocol.rows import Pair

MOST_SEARCHED = 50_000
"""Pairs that are searched for personal data, chosen at random: more take long and tell no more."""

SHORT = 400
"""Characters of an answer up to which a refusal at its start is all of it."""

EXCERPT = 80

_APOSTROPHES = str.maketrans("’‘ʼ`´", "'''''")
_REFUSALS = (
    # English
    r"(?:(?:i'm|i am|we're|we are) (?:so |very |really |truly |terribly )?(?:sorry|afraid)|sorry|my apologies|"
    r"i apologi[sz]e|unfortunately|regrettably)\b[^.!?\n]{0,60}?\b(?:i|we)(?:'m| am|'re| are)? "
    r"(?:can't|cannot|can not|won't|(?:not |un)able to|not (?:allowed|permitted) to|must decline|don't feel "
    r"comfortable)",
    r"(?:i|we) (?:can't|cannot|can not|won't|will not|am not able to|am unable to|must decline to) (?:help|assist|"
    r"provide|comply|fulfil|do that|answer|support|discuss|engage|participate|create|generate|write|continue)",
    r"i'm (?:not able|unable) to (?:help|assist|provide|answer|discuss|fulfil)",
    r"as an (?:ai|artificial intelligence)(?: language)?(?: model| assistant| system| chatbot)?"
    r"(?:,| (?:i|developed|created|trained|designed|programmed)\b)",
    r"as a (?:large )?language model\b",
    r"i'm (?:just )?an ai\b[^.\n]{0,40}\b(?:can't|cannot|don't|unable)",
    # German
    r"(?:es tut mir leid|tut mir leid|entschuldigung|leider)\b[^.!?\n]{0,60}\b(?:kann|darf|konnte) "
    r"(?:ich|wir|dir|ihnen)\b[^.!?\n]{0,80}\b(?:nicht|keine[nr]?)\b",
    r"(?:es tut mir leid|tut mir leid|leider),? (?:aber )?(?:ich|wir) (?:kann|darf|können|dürfen)\b"
    r"[^.!?\n]{0,80}\b(?:nicht|keine[nr]?)\b",
    r"als (?:ki|künstliche intelligenz|ai|sprachmodell|großes sprachmodell)\b",
    r"dabei kann ich (?:dir |ihnen )?(?:leider )?nicht",
    # French
    r"(?:je suis (?:vraiment )?désolée?|désolée?|je m'excuse|malheureusement)\b[^.!?\n]{0,40}"
    r"\bje ne (?:peux|suis|puis)\b",
    r"je ne peux pas (?:vous |t')?(?:aider|répondre|fournir)",
    r"en tant (?:qu'(?:ia|intelligence artificielle|assistant)|que modèle de langage)",
    # Spanish
    r"(?:lo siento|lo lamento|disculp[ae]|lamentablemente)\b[^.!?\n]{0,30}\bno (?:puedo|podemos|me es posible)",
    r"no puedo (?:ayudar|responder|proporcionar)",
    r"como (?:una )?(?:ia|inteligencia artificial|modelo de lenguaje)\b",
    # Italian
    r"(?:mi dispiace|mi spiace|purtroppo)\b[^.!?\n]{0,30}\bnon (?:posso|possiamo|sono in grado)",
    r"come (?:ia|intelligenza artificiale|modello linguistico)\b",
    # Portuguese
    r"(?:desculpe|sinto muito|lamento|infelizmente)\b[^.!?\n]{0,30}\bnão (?:posso|podemos)",
    r"como (?:um )?modelo de linguagem\b",
    # Dutch
    r"(?:het spijt me|sorry|helaas)\b[^.!?\n]{0,30}\b(?:kan ik|ik kan)\b[^.!?\n]{0,60}\bniet\b",
    r"als (?:een )?(?:ai|taalmodel)\b",
    # Russian
    r"(?:извините|простите|к сожалению)[^.!?\n]{0,30}\bя не могу",
    r"как (?:языковая модель|ии)\b",
    # Chinese, Japanese, Korean
    r"(?:很?抱歉|对不起|對不起|很遗憾)[^。！？\n]{0,20}(?:无法|不能|無法)",
    r"作为(?:一个|一名)?(?:ai|人工智能|语言模型|大语言模型)",
    r"(?:申し訳(?:ありません|ございません)|すみません|ごめんなさい)[^！？\n]{0,40}"
    r"(?:できません|できかねます|お答えできない)",
    r"(?:ai|大規模言語モデル|言語モデル)として",
    r"죄송(?:합니다|하지만)[^!?\n]{0,60}(?:수 없|어렵)",
)
_REFUSAL = re.compile("|".join(_REFUSALS))
_BEGINS_REFUSAL = frozenset(
    [
        "i'm",
        "i",
        "sorry",
        "my",
        "we",
        "we're",
        "unfortunately",
        "regrettably",
        "as",
        "es",
        "tut",
        "entschuldigung",
        "leider",
        "als",
        "dabei",
        "je",
        "désolé",
        "désolée",
        "malheureusement",
        "en",
        "lo",
        "disculpa",
        "disculpe",
        "lamentablemente",
        "no",
        "como",
        "mi",
        "purtroppo",
        "come",
        "desculpe",
        "sinto",
        "lamento",
        "infelizmente",
        "het",
        "helaas",
        "извините",
        "простите",
        "к",
        "как",
    ]
)
_THOUGHT = re.compile(
    r"</?(?:think|thinking|thought|reasoning|reflection|scratchpad)>|\[/?THINK(?:ING)?\]|<\|(?:begin|end)_of_thought\|>|"
    r"◁/?think▷|<\|channel\|>analysis|<seed:think>",
    re.IGNORECASE,
)
_ERRORS = (
    r"error(?: code)?\s?[:\-]?\s?\(?[45]\d\d\b",
    r"(?:http(?: status)?|status code|error code)[ :]{1,3}[45]\d\d\b",
    r"[45]\d\d (?:internal server error|bad gateway|service unavailable|too many requests|gateway time-?out|"
    r"unauthorized|forbidden|not found|bad request)",
    r"(?:openai|anthropic|litellm|google|azure|httpx|requests|botocore)[\w.]{0,60}(?:error|exception)\b",
    r"[\w.]{0,60}(?:RateLimit|Timeout|APIConnection|InternalServer|Authentication|BadRequest|ContextWindowExceeded|"
    r"ServiceUnavailable|ContentPolicyViolation|API)(?:Error|Exception)\b",
    r"traceback \(most recent call last\)",
    r"(?:an? )?(?:internal )?(?:server )?error:? (?:an? )?"
    r"(?:internal|unexpected|request|rate limit|timed? ?out|the server|connection)",
    r"rate limit (?:exceeded|reached)|too many requests|request timed out|upstream (?:connect )?error",
    r"connection (?:error|refused|reset)|service (?:temporarily )?unavailable|internal server error|bad gateway",
    r"an error occurred (?:while|during|processing)",
)
_ERROR = re.compile(rf"\s*(?:{'|'.join(_ERRORS)})", re.IGNORECASE)


def concerns(pairs: Sequence[Pair]) -> list[Concern]:
    """What is worth a look in these pairs; nothing where there is nothing."""
    found = [
        *_of_answers(
            pairs, "refusal", is_refusal, "that refuse the request", "remove them, unless refusing is the task"
        ),
        *_of_answers(
            pairs, "reasoning", has_reasoning, "with tags of reasoning", "the local model would learn to write them"
        ),
        *_of_answers(pairs, "error", is_error, "that look like an error message", "remove these rows: a call failed"),
    ]
    return [*found, *_personal(pairs)]


def is_refusal(answer: str) -> bool:
    """Whether a short answer begins as refusals do, in one of several languages."""
    if len(answer) > SHORT:
        return False
    begin = answer[:240].strip(" \t\n\"'*_").translate(_APOSTROPHES).lower()
    first = begin.split(None, 1)[0].rstrip(",.!:") if begin else ""
    if first.isascii() and first not in _BEGINS_REFUSAL and not first.startswith("ai"):
        return False
    return _REFUSAL.match(begin) is not None


def has_reasoning(answer: str) -> bool:
    """Whether tags of a model's reasoning are left in an answer."""
    return any(mark in answer for mark in ("<", "[", "◁")) and _THOUGHT.search(answer) is not None


def is_error(answer: str) -> bool:
    """Whether a short answer looks like the error message of a service or a program."""
    return len(answer) <= SHORT and _ERROR.match(answer[:240]) is not None


def _of_answers(
    pairs: Sequence[Pair], kind: str, test: Callable[[str], bool], what: str, hint: str
) -> Iterator[Concern]:
    found = [pair for pair in pairs if not pair.target_calls and test(pair.messages[-1]["content"])]
    if found:
        answers = number_of(len(found), "answer")
        words = what.replace("refuse ", "refuses ").replace("look ", "looks ") if len(found) == 1 else what
        excerpt = _excerpt(found[0].messages[-1]["content"])
        yield Concern(
            kind=kind, count=len(found), text=f"{answers} {words}", place=found[0].source, excerpt=excerpt, hint=hint
        )


def _personal(pairs: Sequence[Pair]) -> Iterator[Concern]:
    searched = pairs
    if len(pairs) > MOST_SEARCHED:
        searched = [pairs[number] for number in sorted(random.Random(0).sample(range(len(pairs)), MOST_SEARCHED))]
    counts: Counter[str] = Counter()
    found: list[Pair] = []
    for pair in searched:
        if kinds := kinds_in(pair):
            counts.update(kinds)
            found.append(pair)
    if not found:
        return
    rows = number_of(len(found), "row")
    of = "" if len(searched) == len(pairs) else f" of the {len(searched):,} that were searched"
    kinds_in_words = ", ".join(counted(kind, counts[kind]) for kind in KINDS if counts[kind])
    yield Concern(
        kind="personal",
        count=len(found),
        text=f"{rows}{of} with personal data: {kinds_in_words}",
        place=found[0].source,
        excerpt="",  # a report may be shared; the place leads to the row
        hint="mask it with coverage.redact = true",
    )


def _excerpt(text: str) -> str:
    line = " ".join(text[: EXCERPT * 4].split())
    return line if len(line) <= EXCERPT else line[: EXCERPT - 1] + "…"
