import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.protocol import commands
from engine.protocol.commands import Choice, Command, Kind

sent = st.lists(
    st.builds(Command, kind=st.sampled_from(["approve", "reject", "stop"]), round=st.none() | st.integers(0, 3))
)


@given(given_=sent)
def test_the_first_answer_for_a_round_wins(tmp_path_factory: pytest.TempPathFactory, given_: list[Command]) -> None:
    path = tmp_path_factory.mktemp("run") / "commands.jsonl"
    for command in given_:
        commands.send(path, command)

    assert commands.read(path) == given_
    for round_ in range(4):
        answers = [c for c in given_ if c.round == round_ and c.kind != "stop"]
        assert commands.answer(path, round_) == (answers[0] if answers else None)


@pytest.mark.parametrize("kind", ["approve", "reject"])
def test_a_change_of_mind_is_too_late(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "commands.jsonl"
    assert commands.answer(path, 1) is None
    commands.send(path, Command(kind="stop", worker=7))
    commands.send(path, Command(kind="approve", round=2, pairs=5))
    first = Command(kind=kind, round=1)
    commands.send(path, first)
    commands.send(path, Command(kind="reject" if kind == "approve" else "approve", round=1))

    assert commands.answer(path, 1) == first


chosen = st.lists(
    st.builds(Choice, round=st.integers(1, 2), pairs=st.lists(st.sampled_from("abc"), max_size=3), keep=st.booleans())
)


@given(sent=chosen)
def test_of_the_choices_for_a_pair_the_newest_counts(
    tmp_path_factory: pytest.TempPathFactory, sent: list[Choice]
) -> None:
    path = tmp_path_factory.mktemp("run") / "commands.jsonl"
    commands.send(path, Command(kind="approve", round=1))
    for choice in sent:
        commands.send(path, choice)
    path.open("a").write('{"kind": "choose", "round": 1, "pairs": [7], "keep": true}\n')

    for (round_, id_), keep in commands.choices(path).items():
        naming = [choice for choice in sent if choice.round == round_ and id_ in choice.pairs]
        assert keep is naming[-1].keep
    assert commands.answer(path, 1, ("train",)) is None, "a choice is no answer"


def test_each_command_has_an_id_of_its_own() -> None:
    assert Command(kind="stop").id != Command(kind="stop").id


GOOD = {"kind": "approve", "round": 1, "pairs": 20, "worker": None, "id": "x", "time": 1.0}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no json",
        "\xff\xfe",
        "[1]",
        "null",
        '"approve"',
        json.dumps(GOOD | {"kind": "explode"}),
        json.dumps(GOOD | {"kind": ["approve"]}),
        json.dumps(GOOD | {"round": "1"}),
        json.dumps(GOOD | {"round": True}),
        json.dumps(GOOD | {"pairs": "many"}),
        json.dumps(GOOD | {"pairs": -5}),
        json.dumps(GOOD | {"pairs": 0}),
        json.dumps(GOOD | {"id": 3}),
        "[" * 100_000,
        '{"kind": "approve", "round": 1, "pairs": 1' + "0" * 5000 + "}",
    ],
)
def test_lines_of_another_form_are_passed_over(tmp_path: Path, line: str) -> None:
    path = tmp_path / "commands.jsonl"
    path.write_bytes(line.encode("latin-1") + b"\n" + json.dumps(GOOD).encode() + b'\n{"kind": "st')

    assert commands.read(path) == [Command(kind="approve", round=1, pairs=20, id="x", time=1.0)]


def test_what_a_person_types_needs_no_id(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    path.write_text('{"kind": "approve", "round": 1, "note": "go on"}\n')

    found = commands.answer(path, 1)
    assert found is not None and found.pairs is None and found.id
