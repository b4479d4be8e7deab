import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.protocol import jsonl
from engine.sandbox import tickets

DEMO = Path(tickets.__file__).parents[1] / "demo"


@settings(max_examples=3000)
@given(st.integers(min_value=0))
def test_answers_every_ticket_that_it_writes(seed: int) -> None:
    instruction, response = tickets.write_ticket(random.Random(seed))

    assert tickets.answer_line(tickets.triage(instruction) or {}) == response


def test_every_sentence_is_read_as_what_it_stands_for() -> None:
    rng = random.Random(0)
    for product in tickets.PRODUCTS:
        for kind, problems in tickets.PROBLEMS.items():
            for problem in problems:
                for priority, impacts in tickets.IMPACTS.items():
                    for impact in impacts:
                        text = f"{tickets._fill(rng, problem, product)} {tickets._fill(rng, impact, product)}"
                        assert tickets.triage(text) == {"product": product, "kind": kind, "priority": priority}, text


def test_product_and_kind_can_be_asked_for() -> None:
    for seed in range(50):
        _, response = tickets.write_ticket(random.Random(seed), product="StockLark", kind="access")
        assert json.loads(response).items() >= {"product": "StockLark", "kind": "access"}.items()


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("URGENT!!! How do I export data from TimeForge? There is no hurry.", ("TimeForge", "how-to", "low")),
        ("By the way, we love StockLark. MailHarbor crashes.", ("MailHarbor", "bug", "normal")),
        ("> DeskPilot password, no hurry\nTimeForge charged us.", ("TimeForge", "billing", "normal")),
        ("Could you add an invoice page to DeskPilot? It blocks us.", ("DeskPilot", "feature", "high")),
        ("I am locked out of DeskPilot.", ("DeskPilot", "access", "normal")),
    ],
)
def test_traps(text: str, answer: tuple[str, str, str]) -> None:
    assert tuple((tickets.triage(text) or {}).values()) == answer


@pytest.mark.parametrize(
    "text", ["", "Hello", "How do I boil an egg?", "DeskPilot", "TimeForge crashes. " + "x" * 4000]
)
def test_other_texts_are_no_tickets(text: str) -> None:
    assert tickets.triage(text) is None


def test_tickets_differ_from_each_other() -> None:
    texts = [tickets.write_ticket(random.Random(seed))[0] for seed in range(1000)]
    sizes = [len(text.split()) for text in texts]

    assert len(set(texts)) > 995
    assert min(sizes) >= 10 and max(sizes) <= 60


def test_demo_is_what_the_command_prints() -> None:
    command = [sys.executable, "-m", "engine.sandbox.tickets", "--seed", "1", "--count", "160"]
    printed = subprocess.run(command, capture_output=True, check=True).stdout

    assert printed == (DEMO / "tickets.jsonl").read_bytes()
    rows = list(jsonl.read(DEMO / "tickets.jsonl"))
    assert {row["category"] for row in rows} == set(tickets.PROBLEMS)
    for row in rows:
        ask, target = row["messages"]
        assert json.loads(target["content"]) == tickets.triage(ask["content"])


def test_weights_make_kinds_rare() -> None:
    kinds = [row["category"] for row in tickets.rows(1, 200, {"bug": 9, "billing": 1})]

    assert set(kinds) == {"bug", "billing"} and 5 < kinds.count("billing") < 45
