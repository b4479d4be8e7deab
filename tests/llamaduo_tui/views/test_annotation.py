"""A person's reviews: the newest label counts, and a prompt's signs are those of all its samples."""

from __future__ import annotations

from dataclasses import replace

from engine.protocol.commands import Label
from llamaduo_tui.views.annotation import Annotations


def test_a_change_keeps_the_other_fields_and_is_newer() -> None:
    annotations = Annotations()
    first = annotations.change((1, "a", 0), agrees=True)
    second = annotations.change((1, "a", 0), note="why")
    assert (second.agrees, second.note) == (True, "why")
    assert second.id != first.id and second.time >= first.time


def test_the_newest_label_counts_whoever_wrote_it() -> None:
    annotations = Annotations()
    mine = annotations.change((None, "a", 0), agrees=True)
    older, newer = replace(mine, agrees=False, time=mine.time - 1), replace(mine, agrees=False, time=mine.time + 1)
    annotations.update({(None, "a", 0): older})
    assert annotations.labels[None, "a", 0].agrees is True
    annotations.update({(None, "a", 0): newer})
    assert annotations.labels[None, "a", 0].agrees is False


def test_the_signs_of_a_prompt_are_those_of_its_samples_in_this_round() -> None:
    annotations = Annotations()
    assert annotations.marks(1, "a", (0, 1)) == ""
    annotations.change((1, "a", 0), agrees=True)
    assert annotations.marks(1, "a", (0, 1)) == "✓"
    annotations.change((1, "a", 1), agrees=False, flagged=True, note="wrong")
    assert annotations.marks(1, "a", (0, 1)) == "✗⚑✎"
    assert annotations.marks(0, "a", (0, 1)) == annotations.marks(1, "b", (0,)) == ""


def test_a_review_that_was_withdrawn_is_no_review() -> None:
    annotations = Annotations()
    annotations.update({(1, "a", 0): Label(round=1, prompt="a", sample=0)})
    annotations.change((1, "b", 0), flagged=True)
    assert annotations.reviewed(1) == {"b"}
    assert annotations.reviewed(None) == set()
