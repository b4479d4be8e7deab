"""Whether a request fails alone, by what else succeeds."""

import random

import pytest

from engine.service.record import CONTROL, FREE_TRIES, Record


def record(passed: int, failed: int, key: str = "other") -> Record:
    found = Record()
    for number in range(passed + failed):
        found.add(f"{key} {number}" if key != CONTROL else CONTROL, 1.0 + number, passed=number < passed)
    return found


def tries(found: Record, *, random: bool) -> int | None:
    return next((n for n in range(1, 200) if found.fails_alone("odd", 0.5, n, random=random, controls=True)), None)


@pytest.mark.parametrize(
    ("passed", "failed", "unclear", "faulty"),
    [(0, 0, None, None), (0, 9, None, None), (1, 0, 3, 11), (20, 0, 3, 4), (70, 30, 10, 10), (10, 90, 101, 101)],
)
def test_the_worse_the_others_fare_the_more_tries_it_takes(
    passed: int, failed: int, unclear: int | None, faulty: int | None
) -> None:
    found = record(passed, failed)

    assert tries(found, random=False) == unclear
    assert tries(found, random=True) == faulty


def test_only_calls_of_others_sent_since_the_first_failure_count() -> None:
    found = record(20, 0)
    assert not found.fails_alone("odd", 100.0, 20, random=False, controls=True)
    assert not record(1, 0).fails_alone("other 0", 0.5, 20, random=False, controls=True)
    found.add("odd", 200.0, passed=True)
    assert not found.fails_alone("odd", 100.0, 20, random=False, controls=True)


def test_controls_tell_where_all_others_are_odd() -> None:
    found = record(0, 30)
    assert tries(found, random=True) is None
    for number in range(6):
        found.add(CONTROL, 50.0 + number, passed=True)
    assert tries(found, random=True) == 6


def test_a_service_that_fails_at_random_refuses_hardly_any() -> None:
    """At 60 % of failures a call needs 25 in a row to seem odd."""
    dice, alone = random.Random(1), 0
    for _ in range(3000):
        found, failures = record(40, 60), 0
        while dice.random() < 0.6:
            failures += 1
            alone += failures >= FREE_TRIES and found.fails_alone("odd", 0.5, failures, random=True, controls=True)
    assert alone == 0
