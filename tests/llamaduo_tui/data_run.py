"""A run's coverage dataset and synthetic pairs, written as the stages write them."""

from __future__ import annotations

from engine.dataset.contamination import fingerprints
from engine.dataset.prepare import DEV, SEALED, TRAIN
from engine.dataset.record import Dropped
from engine.protocol import jsonl
from engine.protocol.manifest import Manifest, finish
from engine.protocol.rows import Message, Pair, SyntheticPair, prompt_id
from engine.protocol.run_dir import Run

HEAD = "Triage this support ticket as JSON with product, kind and priority:\n"
TOLD = [
    ("DeskPilot crashes as soon as Kofi opens the queue.", "DeskPilot", "bug", "high"),
    ("How do I copy last week's summary into TimeForge?", "TimeForge", "question", "low"),
    ("Please add a dark theme to LedgerLeaf.", "LedgerLeaf", "wish", "low"),
    ("The invoice of March was charged twice.", "LedgerLeaf", "billing", "high"),
    ("Nobody of our team can log in since this morning.", "DeskPilot", "bug", "urgent"),
    ("Where do I find the export of all my hours?", "TimeForge", "question", "normal"),
]
STEERS = ("The report of [bold]May[/x] is empty \x1b[31magain\x1b[0m.", "LedgerLeaf", "bug", "normal")
LEFT = ("Our trial ends tomorrow, can it be extended by a week?", "DeskPilot", "billing", "normal")
HOSTILE = "Show \x1b]52;c;aGk=\x07 [/x] [bold]and[/bold] \u202eevil 日本語 e\u0301"
NEW = {
    1: [
        ("DeskPilot freezes when two people open the same ticket.", "DeskPilot", "bug", "high"),
        ("Can TimeForge round my hours to quarters?", "TimeForge", "question", "low"),
        ("The total on the invoice of April is wrong by a cent.", "LedgerLeaf", "billing", "normal"),
        (HOSTILE, "DeskPilot", "bug", "low"),
        ("Please let me sort the queue by the age of a ticket.", "DeskPilot", "wish", "low"),
    ],
    2: [
        ("The mobile app of TimeForge forgets the running timer.", "TimeForge", "bug", "high"),
        ("Which roles may approve an expense?", "LedgerLeaf", "question", "normal"),
    ],
}


def chat(told: tuple[str, str, str, str]) -> list[Message]:
    text, product, kind, priority = told
    response = f'{{"product": "{product}", "kind": "{kind}", "priority": "{priority}"}}'
    return [{"role": "user", "content": HEAD + text}, {"role": "assistant", "content": response}]


def pair(told: tuple[str, str, str, str], line: int = 1) -> Pair:
    messages = chat(told)
    return Pair(id=prompt_id(messages[:-1]), messages=messages, category=told[2], source=f"tickets.jsonl:{line}")


def new(told: tuple[str, str, str, str], round_: int) -> jsonl.Row:
    messages = chat(told)
    seed = prompt_id(chat(TOLD[0])[:-1])
    return SyntheticPair(
        id=prompt_id(messages[:-1]), messages=messages, category=told[2], generator="gpt-4o", seed_id=seed, round=round_
    ).to_row()


def refused(told: tuple[str, str, str, str], round_: int, reason: str, twin: str = "") -> jsonl.Row:
    row = new(told, round_)
    return {**row, "id": prompt_id(row["messages"]), "reason": reason, **({"twin": twin} if twin else {})}


def coverage(run: Run) -> Run:
    """Six train pairs, one dev pair, one sealed, two dropped rows."""
    train, dev, test = [pair(told, line) for line, told in enumerate(TOLD, 1)], [pair(STEERS, 7)], [pair(LEFT, 8)]
    for name, pairs in ((TRAIN, train), (DEV, dev), (SEALED, test)):
        jsonl.write(run.coverage / name, (row.to_row() for row in pairs))
    dropped = [
        Dropped(
            9, "same prompt as tickets.jsonl:3, with another response", jsonl.dumps(train[2].to_row()), train[2].id
        ),
        Dropped(10, "not JSON: Expecting value: line 1", '{"messages": [oops'),
    ]
    jsonl.write(run.coverage / "dropped.jsonl", (row.to_row() for row in dropped))
    jsonl.write(run.coverage / "fingerprints.jsonl", (dict(row) for row in fingerprints([*dev, *test])))
    counts = {"rows": 10, "dropped": 2, "duplicates": 1, "train": 6, "dev": 1, "test": 1}
    finish(run.coverage, Manifest(stage="coverage", inputs={}, settings="", seed=1, counts=counts, seconds=0.1))
    return run


def synthesis(run: Run, round_: int) -> Run:
    """A round's new pairs, and refused ones: copies, a look-alike of dev, a broken contract, a bad reply."""
    train, seen = prompt_id(chat(TOLD[0])[:-1]), NEW[round_][0]
    copy = (TOLD[0][0].replace("as soon as", "when"), "DeskPilot", "bug", "urgent")
    rejected = [
        refused(copy, round_, "near-duplicate prompt", train),
        refused((STEERS[0] + "!", *STEERS[1:]), round_, "near-duplicate prompt", prompt_id(chat(STEERS)[:-1])),
        refused(("Is TimeForge down?", "TimeForge", "bug", "no idea"), round_, "breaks the contract: schema"),
        {"reason": "unreadable reply: no JSON in it", "seed_id": train},
        refused((seen[0], *seen[1:3], "low"), round_, "same prompt", prompt_id(chat(seen)[:-1])),
        {"instruction": "Of an older version", "response": "{}", "reason": "too long", "seed_id": train},
    ]
    folder = run.round(round_) / "synthesize"
    jsonl.write(folder / "pairs.jsonl", (new(told, round_) for told in NEW[round_]))
    jsonl.write(folder / "rejected.jsonl", rejected)
    counts = {"accepted": len(NEW[round_]), "rejected": len(rejected), "calls": 3}
    finish(folder, Manifest(stage="synthesize", inputs={}, settings="", seed=1, counts=counts, seconds=0.1))
    return run
