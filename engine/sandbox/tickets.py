"""The sandbox's one subject: short support tickets, and their triage to product, kind and priority.

`write_ticket` makes up a ticket with its right answer; `triage` finds that answer from the text alone.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections.abc import Mapping

from engine.protocol import jsonl

MAX_LENGTH = 4000
"""Characters of the longest text that counts as a ticket."""

HEADINGS = ("Triage this ticket:", "Triage this support ticket:")

PRODUCTS: dict[str, tuple[str, ...]] = {
    "DeskPilot": ("agent queue", "reply macro", "customer chat", "callback list", "case history"),
    "MailHarbor": ("newsletter draft", "mailing list", "welcome series", "click report", "sender profile"),
    "StockLark": ("stock count", "purchase order", "barcode label", "supplier sheet", "warehouse map"),
    "TimeForge": ("timesheet", "shift plan", "leave calendar", "overtime summary", "project clock"),
}
"""Each product with things that one works on in it."""

PROBLEMS: dict[str, tuple[str, ...]] = {
    "how-to": (
        "How do I copy last week's {thing} in {product}?",
        "Is there a guide to the {product} {thing} for beginners?",
        "What is the best way to share a single {thing} between {number} people in {product}?",
        "Please explain how {product} decides who may see the {thing}.",
        "Where can I find the page of {product} on which {name} changes her password?",
    ),
    "feature": (
        "Could you add a dark mode to the {thing} in {product}?",
        "It would be great if {product} sent the {thing} to {name} every {day}.",
        "I wish that {product} grouped the {thing} by region.",
        "Please consider keyboard shortcuts for the {thing} of {product}.",
        "Could you add our logo to the invoice that {product} makes?",
    ),
    "billing": (
        "{product} charged our card twice in {month}.",
        "We cancelled {product} on {day} and expect a refund.",
        "The receipt for {product} lacks our tax number.",
        "{name} was billed for a whole year of {product} instead of a month.",
        "Our bank sent the payment for {product} on {day}, yet you still remind {name} of it.",
    ),
    "access": (
        "{name} cannot log in to {product} since {day}.",
        "{product} locked me out after {number} attempts.",
        "The sign-in code of {product} never reaches my phone.",
        "The password reset of {product} ends at an expired link.",
        "{product} tells {name} that the account is disabled.",
    ),
    "bug": (
        "{product} crashes as soon as {name} opens the {thing}.",
        "Saving the {thing} in {product} stops with error {number}.",
        "{product} freezes for {number} minutes when I sort the {thing}.",
        "The {thing} stays blank in {product} since {day}.",
        "After the update {product} mixes up the dates in the {thing}.",
    ),
}

IMPACTS: dict[str, tuple[str, ...]] = {
    "high": (
        "The whole {place} office stands still.",
        "Nobody in {team} can work until this is settled.",
        "It blocks {team} completely.",
    ),
    "normal": (
        "It slows {team} down a little.",
        "We have a workaround, but it is tedious.",
        "This costs me {number} minutes a day.",
    ),
    "low": (
        "There is no hurry on our side.",
        "This can wait until {month}.",
        "Take your time, nothing depends on it.",
    ),
}

ASIDES = (
    "We have {product} too, and it works fine.",
    "By the way, {name} is very fond of {product}.",
    "Our {product} is not affected.",
    "We came to you from {product}, as you may recall.",
)
"""Sentences that name another product only in passing."""

QUOTES = (
    "> Earlier ticket: {product} invoice wrong, all of {team} blocked",
    "> You wrote on {day}: the {product} password is reset now",
    "> Closed in {month}: {product} crashes, no hurry",
)
"""Quoted lines of tickets that are long settled."""

LOUD = ("URGENT!!!", "ASAP please!!", "I need an answer NOW!", "This is ridiculous!", "Top priority!!!")
"""A tone that says nothing about what is at stake."""

OPENINGS = ("", "", "Hello,", "Hi team,", "Good morning,", "Dear support,", "Hi, {name} from {team} here.")
CLOSINGS = ("", "", "", "Thanks!", "Best, {name}", "Kind regards from {place}", "Many thanks, {name}")

NAMES = ("Amara", "Bjorn", "Chiara", "Dmitri", "Elif", "Farid", "Greta", "Hana", "Ivo", "Jamila", "Kofi", "Linnea")
PLACES = ("Porto", "Leeds", "Ghent", "Turku", "Bilbao", "Graz", "Odense", "Lyon")
TEAMS = ("sales", "payroll", "logistics", "marketing", "the night shift", "purchasing", "our call centre")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
MONTHS = ("January", "March", "April", "June", "August", "October", "November")

KIND_CUES = (
    # A question or a wish decides, whatever its subject, so these two come first.
    (
        "how-to",
        r"\bhow do I\b|\bwhere can I find\b|\bis there a guide\b|\bbest way to\b|\bexplain how\b|\basks how to\b",
    ),
    (
        "feature",
        r"\bcould you add\b|\bwould be great if\b|\bany plans for\b|\bI wish\b|\bplease consider\b|\bwe miss\b",
    ),
    (
        "billing",
        r"\b(?:over)?charged\b|\binvoices?\b|\brefund|\breceipts?\b|\bbill(?:ed)?\b|\bpayments?\b|\bsubscriptions?\b",
    ),
    (
        "access",
        r"\blog ?in\b|\blocked (?:me|us|out)\b|\bsign-in\b|\bsign-on\b|\bpermissions?\b|\bpasswords?\b"
        r"|\baccount is disabled\b|\binvitation\b",
    ),
    (
        "bug",
        r"\bcrash|\berror\b|\bfreez|\bfroze|\bblank\b|\bmix(?:es|ed) up\b|\bvanish|\bgarbled\b|\bdoubled\b|\bbroken\b",
    ),
)
PRIORITY_CUES = (
    ("low", r"\bno hurry\b|\bcan wait\b|\btake your time\b|\bsmall thing\b"),
    (
        "high",
        r"\bstands still\b|\bnobody\b.{0,40}\bcan work\b|\blose orders\b|\bblocks\b",
    ),
)
ASIDE_CUE = re.compile(r"\bworks fine\b|\bby the way\b|\bnot affected\b|\bcame to you from\b", re.IGNORECASE)
PRODUCT_CUE = re.compile("|".join(PRODUCTS))
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")


def write_ticket(rng: random.Random, product: str | None = None, kind: str | None = None) -> tuple[str, str]:
    """A made-up ticket behind its heading, and the JSON that answers it; `product` and `kind` may be given."""
    product = product or rng.choice(list(PRODUCTS))
    kind = kind or rng.choice(list(PROBLEMS))
    priority = rng.choice(list(IMPACTS))

    problem = _fill(rng, rng.choice(PROBLEMS[kind]), product)
    impact = _fill(rng, rng.choice(IMPACTS[priority]), product)
    body = [problem, impact] if rng.random() < 0.75 else [impact, problem]
    other = rng.choice([name for name in PRODUCTS if name != product])
    trap = rng.random()
    if trap < 0.2:
        body.insert(rng.randrange(3), _fill(rng, rng.choice(ASIDES), other))
    elif trap < 0.32:
        body.insert(rng.choice((0, 2)), rng.choice(LOUD))

    opening = _fill(rng, rng.choice(OPENINGS), product)
    closing = _fill(rng, rng.choice(CLOSINGS), product)
    lines = [line for line in (opening, " ".join(body), closing) if line]
    if trap > 0.9:
        lines.insert(rng.choice((0, len(lines))), _fill(rng, rng.choice(QUOTES), other))
    instruction = "\n".join((rng.choice(HEADINGS), *lines))
    return instruction, answer_line({"product": product, "kind": kind, "priority": priority})


def triage(text: str) -> dict[str, str] | None:
    """Product, kind and priority of a ticket, from its text alone; None where the text is no ticket."""
    if len(text) > MAX_LENGTH:
        return None
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(">")]
    sentences = SENTENCE_END.split("\n".join(lines))
    own = " ".join(sentence for sentence in sentences if not ASIDE_CUE.search(sentence))
    product = PRODUCT_CUE.search(own)
    kind = _first_cue(KIND_CUES, own)
    if product is None or kind is None:
        return None
    return {"product": product[0], "kind": kind, "priority": _first_cue(PRIORITY_CUES, own) or "normal"}


def answer_line(answer: dict[str, str]) -> str:
    """The answer as the tickets' responses write it: compact JSON in one line, keys in a fixed order."""
    return json.dumps(answer, separators=(",", ":"))


def rows(seed: int, count: int, weights: Mapping[str, float] | None = None) -> list[jsonl.Row]:
    """Coverage rows of `count` different tickets, with their kind as category; `weights` say how frequent kinds are."""
    rng = random.Random(seed)
    tickets: dict[str, jsonl.Row] = {}
    while len(tickets) < count:
        kind = rng.choices([*weights], [*weights.values()])[0] if weights else None
        instruction, response = write_ticket(rng, kind=kind)
        messages = [{"role": "user", "content": instruction}, {"role": "assistant", "content": response}]
        tickets[instruction] = {"messages": messages, "category": json.loads(response)["kind"]}
    return list(tickets.values())


def _first_cue(cues: tuple[tuple[str, str], ...], text: str) -> str | None:
    return next((label for label, pattern in cues if re.search(pattern, text, re.IGNORECASE)), None)


def _fill(rng: random.Random, template: str, product: str) -> str:
    return template.format(
        product=product,
        thing=rng.choice(PRODUCTS[product]),
        name=rng.choice(NAMES),
        place=rng.choice(PLACES),
        team=rng.choice(TEAMS),
        day=rng.choice(DAYS),
        month=rng.choice(MONTHS),
        number=rng.randint(3, 48),
    )


def main() -> None:
    """`python -m engine.sandbox.tickets`: print coverage rows, such as those of the demo."""
    parser = argparse.ArgumentParser(prog="python -m engine.sandbox.tickets", description="Print made-up tickets.")
    parser.add_argument("--seed", type=int, default=1, help="other seeds give other tickets; default: 1")
    parser.add_argument("--count", type=int, default=80, help="number of tickets; default: 80")
    options = parser.parse_args()
    sys.stdout.writelines(jsonl.dumps(row) + "\n" for row in rows(options.seed, options.count))


if __name__ == "__main__":
    main()
