"""A person's reviews: the last label in the file counts, and what was said at once is undone at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.protocol import commands
from engine.protocol.commands import Label, RecordedLabels, ResponseKey
from llamaduo_tui.views.annotation import Annotations

A, B, C = ((1, id_, 0) for id_ in "abc")


def label(key: ResponseKey, time: float = 0.0, **values: object) -> Label:
    return Label(round=key[0], responses=[(key[1], key[2])], time=time, **values)  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "commands.jsonl"


def test_a_change_keeps_the_other_fields() -> None:
    annotations = Annotations()
    [first] = annotations.change([A], "Agreed", agrees=True)
    [second] = annotations.change([A], "Noted", note="why")
    assert isinstance(second, Label)
    assert (second.agrees, second.note) == (True, "why")
    assert second.id != first.id


def test_the_last_label_in_the_file_counts_whatever_the_clocks_say(file: Path) -> None:
    """Another machine's clock is an hour behind, so that its later label has an earlier time."""
    annotations = Annotations()
    mine = annotations.change([A], "Agreed", agrees=True)
    annotations.written(mine, commands.send(file, *mine))
    commands.send(file, label(A, mine[0].time - 3600, agrees=False))
    annotations.update(commands.recorded_labels(file))
    assert annotations.labels[A].agrees is False


def test_what_is_not_in_the_file_as_it_was_read_stands_behind_it(file: Path) -> None:
    annotations = Annotations()
    commands.send(file, label(A, 9e9, agrees=False))
    read_before = commands.recorded_labels(file)
    mine = annotations.change([A], "Agreed", agrees=True)
    annotations.update(read_before)
    assert annotations.labels[A].agrees is True, "not written yet"
    annotations.written(mine, commands.send(file, *mine))
    annotations.update(read_before)
    assert annotations.labels[A].agrees is True, "written behind what was read"
    commands.send(file, label(A, note="later"))
    annotations.update(commands.recorded_labels(file))
    assert annotations.labels[A].note == "later"


def test_what_could_not_be_written_is_forgotten() -> None:
    annotations = Annotations()
    annotations.change([A], "Agreed", agrees=True)
    annotations.forget()
    annotations.update(RecordedLabels({}, 0))
    assert annotations.labels == {} and not annotations.can_undo and not annotations.reviewed(1)


def test_many_are_one_command_for_each_thing_that_is_said_of_them(file: Path) -> None:
    annotations = Annotations()
    annotations.change([B], "Flagged", flagged=True)
    said = annotations.change([A, B, C], "Agreed", agrees=True)
    assert [label.keys for label in said] == [[A, C], [B]]
    commands.send(file, *said)
    read = commands.labels(file)
    assert {key: (one.agrees, one.flagged) for key, one in read.items()} == {
        A: (True, False),
        B: (True, True),
        C: (True, False),
    }
    assert annotations.labels == read


def test_undo_gives_back_what_was_said_before_unless_somebody_said_more_since(file: Path) -> None:
    annotations = Annotations()
    annotations.update(RecordedLabels({B: label(B, agrees=False, note="no")}, 0))
    said = annotations.change([A, B, C], "Agreed", agrees=True, note="")
    commands.send(file, *said, label(C, flagged=True))
    annotations.written(said, commands.size(file))
    annotations.update(commands.recorded_labels(file))
    undone = annotations.undo()
    assert undone is not None
    assert (undone.words, undone.responses) == ("Agreed", 2)
    commands.send(file, *undone.said)
    read = commands.labels(file)
    assert (read[A].agrees, read[B].agrees, read[B].note, read[C].flagged) == (None, False, "no", True)
    assert annotations.reviewed(1) == {"b", "c"}
    assert annotations.undo() is None


def test_the_signs_of_a_prompt_are_those_of_its_samples_in_this_round() -> None:
    annotations = Annotations()
    assert annotations.marks(1, "a", (0, 1)) == ""
    annotations.change([A], "Agreed", agrees=True)
    assert annotations.marks(1, "a", (0, 1)) == "✓"
    annotations.change([(1, "a", 1)], "Own scores", agrees=False, flagged=True, note="wrong")
    assert annotations.marks(1, "a", (0, 1)) == "✗⚑✎"
    assert annotations.marks(0, "a", (0, 1)) == annotations.marks(1, "b", (0,)) == ""


def test_a_review_that_was_withdrawn_is_no_review() -> None:
    annotations = Annotations()
    annotations.update(RecordedLabels({A: label(A), C: label(C, agrees=True)}, 0))
    annotations.change([B], "Flagged", flagged=True)
    annotations.change([C], "Withdrawn", agrees=None)
    assert annotations.reviewed(1) == {"b"}
    assert annotations.reviewed(None) == set()
