"""The worst answers of a run, as they stand on its screen."""

from __future__ import annotations

from pathlib import Path

import frozen
import pytest
import review_run
from frozen import make

from engine.protocol.run_dir import Run
from llamaduo_tui.views import answers
from llamaduo_tui.widgets.answers_view import lines, title


@pytest.fixture
def run(root: Path) -> Run:
    return review_run.rounds(make(root, "tickets", "waiting", frozen.WAITING))


def test_the_worst_of_the_newest_judged_round_come_first_with_the_words_that_differ(run: Run) -> None:
    found = answers.worst(run)
    assert found is not None and (found.round, found.prompts, len(found.worst)) == (1, 4, 4)
    first, last = found.worst[0], found.worst[-1]
    assert (first.precision, first.similarity, first.change) == (40.0, 50.0, -40.0)
    assert [piece.text for piece in first.local if piece.changed] == ["TimeForge"]
    assert [piece.text for piece in first.service if piece.changed] == ["DeskPilot"]
    assert last.same and not first.same
    assert title(found) == "[2] answers · round 1 · lowest first"
    shown = [line.plain.rstrip() for line in lines(found, 60)]
    assert shown[0].split()[:5] == ["40", "50", "▼40", "DeskPilot", "crashes"] and shown[0].endswith("…")
    assert shown[1].split()[0] == "service" and shown[2].split()[0] == "local"
    assert max(map(len, shown)) <= 60 and not any("\x1b" in line for line in shown)


def test_a_run_without_verdicts_has_none_and_a_huge_one_is_left_to_the_review(
    run: Run, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert answers.worst(make(root, "fresh", "running", frozen.WAITING[:3])) is None
    monkeypatch.setattr(answers, "MOST_BYTES", 10)
    huge = answers.worst(run)
    assert huge is not None and not huge.worst
    assert "v opens them" in lines(huge, 80)[0].plain
    assert "once a round is judged" in lines(None, 80)[0].plain
