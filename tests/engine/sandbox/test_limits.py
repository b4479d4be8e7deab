import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.sandbox.limits import Limits


def test_no_limits_admit_everything() -> None:
    limits = Limits(None, None)

    assert [limits.admit(10**6, now=0.0) for _ in range(100)] == [0.0] * 100
    assert limits.headers() == {}


@given(
    rpm=st.integers(1, 6000),
    gaps=st.lists(st.floats(0, 5), min_size=1, max_size=200),
)
def test_never_more_than_the_rate_and_a_second_s_burst(rpm: int, gaps: list[float]) -> None:
    limits = Limits(rpm, None)
    now, admitted = 1000.0, 0
    for gap in gaps:
        now += gap
        admitted += limits.admit(1, now) == 0

    assert 1 <= admitted <= max(1, rpm / 60) + (now - 1000 + 1e-3) * rpm / 60


@given(st.integers(1, 6000), st.integers(1, 10**6), st.lists(st.integers(1, 5000), min_size=1, max_size=30))
def test_the_wait_that_it_names_suffices(rpm: int, tpm: int, sizes: list[int]) -> None:
    limits = Limits(rpm, tpm)
    now = 50.0
    for size in sizes:
        now += limits.admit(size, now)
        if limits.admit(size, now) == 0:
            limits.charge(size)
        else:
            now += limits.admit(size, now)
            assert limits.admit(size, now) == pytest.approx(0, abs=1e-4)


def test_tokens_of_answers_count() -> None:
    limits = Limits(None, 600)
    assert limits.admit(5, now=0.0) == 0
    limits.charge(25)

    # 10 tokens at most, 30 spent, 10 a second.
    assert limits.admit(5, now=0.0) == pytest.approx(2.5)
    assert limits.admit(5, now=2.5) == 0


def test_a_request_larger_than_the_bucket_passes_when_it_is_full() -> None:
    limits = Limits(None, 60)

    assert limits.admit(1000, now=0.0) == 0
    assert limits.admit(1, now=0.0) == pytest.approx(1000)


def test_a_refused_request_costs_nothing() -> None:
    limits = Limits(6, 60_000)
    assert limits.admit(1, now=0.0) == 0
    for _ in range(5):
        assert limits.admit(900, now=0.0) == pytest.approx(10)
    assert limits.headers()["x-ratelimit-remaining-tokens"] == "999"
    assert limits.headers()["x-ratelimit-remaining-requests"] == "0"
