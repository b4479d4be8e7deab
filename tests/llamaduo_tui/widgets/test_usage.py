"""What is left of a run, in the figures next to its rounds."""

from engine.protocol.outlook import Outlook, Range
from llamaduo_tui.widgets.usage import ahead

AHEAD = Outlook(
    at=0.0,
    left_s=Range(least=3600, expected=7800, most=14_400),
    usd=Range(least=1.5, expected=3.4, most=6.1),
    spent_usd=1.2,
    rounds=Range(least=1, expected=2, most=4),
)


def test_time_and_money_of_the_whole_run() -> None:
    assert [line.plain[9:] for line in ahead(AHEAD)] == [
        "about 2.2 h", "60 min to 4.0 h", "about $3.40 in all",
    ]  # fmt: skip
    (line,) = ahead(AHEAD, whole=True)
    assert "about 2 h 10 min of work left (1 h to 4 h); $1.20 so far, about $3.40 in all" in line.plain
    assert ahead(None) == []
