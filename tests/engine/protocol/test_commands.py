import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.protocol import commands
from engine.protocol.commands import Control, Label, PairChoice
from engine.protocol.questions import APPROVE, BUDGET, PAIRS, REJECT, ROUND, Answer, Question


def ask(number: int, kind: str = ROUND) -> Question:
    return Question(kind=kind, round=number, reason="", choices=(APPROVE, REJECT))


answers = st.builds(
    Answer,
    question=st.sampled_from([ask(number).key for number in range(3)]),
    choice=st.sampled_from([APPROVE, REJECT, "maybe"]),
)
controls = st.builds(Control, kind=st.sampled_from(["pause", "resume", "stop"]), worker=st.integers(1, 3))


@given(sent=st.lists(answers | controls))
def test_the_first_answer_to_a_question_counts(
    tmp_path_factory: pytest.TempPathFactory, sent: list[Answer | Control]
) -> None:
    path = tmp_path_factory.mktemp("run") / "commands.jsonl"
    for command in sent:
        commands.send(path, command)

    assert commands.read(path) == sent
    assert commands.controls(path) == [command for command in sent if isinstance(command, Control)]
    for number in range(3):
        key = ask(number).key
        taken = [c for c in sent if isinstance(c, Answer) and c.question == key and c.choice != "maybe"]
        assert commands.answer(path, ask(number)) == (taken[0] if taken else None)


@pytest.mark.parametrize("choice", [APPROVE, REJECT])
def test_a_change_of_mind_is_too_late(tmp_path: Path, choice: str) -> None:
    path = tmp_path / "commands.jsonl"
    assert commands.answer(path, ask(1)) is None
    commands.send(path, Control(kind="stop", worker=7))
    commands.send(path, Answer(question=ask(2).key, choice=APPROVE, pairs=5))
    first = Answer(question=ask(1).key, choice=choice)
    commands.send(path, first)
    commands.send(path, Answer(question=ask(1).key, choice=REJECT if choice == APPROVE else APPROVE))

    assert commands.answer(path, ask(1)) == first


def test_a_budget_that_is_used_up_again_is_another_question() -> None:
    first = Question(kind=BUDGET, round=1, reason="", cap="usd", used=4.9, least=5.1)
    again = Question(kind=BUDGET, round=1, reason="", cap="usd", used=9.9, least=10.1)
    calls = Question(kind=BUDGET, round=1, reason="", cap="calls", used=4.9, least=5.1)

    assert len({question.key for question in (first, again, calls, ask(1), ask(1, PAIRS))}) == 5


chosen = st.lists(
    st.builds(
        PairChoice, round=st.integers(1, 2), pairs=st.lists(st.sampled_from("abc"), max_size=3), keep=st.booleans()
    )
)


@given(sent=chosen)
def test_of_the_choices_for_a_pair_the_newest_counts(
    tmp_path_factory: pytest.TempPathFactory, sent: list[PairChoice]
) -> None:
    path = tmp_path_factory.mktemp("run") / "commands.jsonl"
    commands.send(path, Answer(question=ask(1).key, choice=APPROVE))
    for choice in sent:
        commands.send(path, choice)
    path.open("a").write('{"kind": "choose", "round": 1, "pairs": [7], "keep": true}\n')

    for (round_, id_), keep in commands.pair_choices(path).items():
        naming = [choice for choice in sent if choice.round == round_ and id_ in choice.pairs]
        assert keep is naming[-1].keep
    assert commands.answer(path, ask(1, PAIRS)) is None, "a choice is no answer"


def test_of_the_labels_for_a_response_the_newest_counts(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    first, other = Label(round=1, responses=[("a", 0)], agrees=True), Label(round=None, responses=[("a", 0)])
    second = Label(round=1, responses=[("a", 0)], agrees=False, precision=40, note="wrong")
    for label in (first, other, second):
        commands.send(path, label)

    assert commands.labels(path) == {(1, "a", 0): second, (None, "a", 0): other}


def test_a_stop_of_an_older_version_waits_for_calls(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    path.write_text('{"kind": "stop", "worker": 7, "id": "x", "time": 1.0}\n')
    commands.send(path, Control(kind="stop", worker=7, now=True))
    assert [control.now for control in commands.controls(path)] == [False, True]


def test_each_command_has_its_own_id() -> None:
    assert Control(kind="stop", worker=1).id != Control(kind="stop", worker=1).id


GOOD = {"kind": "answer", "question": "round/1", "choice": "approve", "pairs": 20, "id": "x", "time": 1.0}
LABEL = {"kind": "labels", "round": 1, "responses": [["a", 0]]}


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no json",
        "\xff\xfe",
        "[1]",
        "null",
        '"answer"',
        json.dumps(GOOD | {"kind": "explode"}),
        json.dumps(GOOD | {"kind": ["answer"]}),
        json.dumps(GOOD | {"question": 1}),
        json.dumps(GOOD | {"choice": True}),
        json.dumps(GOOD | {"pairs": "many"}),
        json.dumps(GOOD | {"pairs": -5}),
        json.dumps(GOOD | {"pairs": 0}),
        json.dumps(GOOD | {"id": 3}),
        json.dumps(LABEL | {"precision": 0}),
        json.dumps(LABEL | {"similarity": 100.5}),
        json.dumps(LABEL | {"responses": [["a", "0"]]}),
        json.dumps({"kind": "label", "round": 1, "prompt": "a", "sample": "0"}),
        json.dumps({"kind": "label", "round": 1, "prompt": "a"}),
        '{"kind": "stop"}',
        "[" * 100_000,
        '{"kind": "answer", "question": "round/1", "choice": "approve", "pairs": 1' + "0" * 5000 + "}",
    ],
)
def test_lines_of_another_form_are_passed_over(tmp_path: Path, line: str) -> None:
    path = tmp_path / "commands.jsonl"
    path.write_bytes(line.encode("latin-1") + b"\n" + json.dumps(GOOD).encode() + b'\n{"kind": "st')

    assert commands.read(path) == [Answer(question="round/1", choice=APPROVE, pairs=20, id="x", time=1.0)]


def test_a_line_that_a_person_types_needs_no_id(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    path.write_text('{"kind": "answer", "question": "round/1", "choice": "approve", "note": "go on"}\n')

    answer = commands.answer(path, ask(1))
    assert answer is not None and answer.pairs is None and answer.id


def test_one_line_reviews_many_responses(tmp_path: Path) -> None:
    path = tmp_path / "commands.jsonl"
    commands.send(path, Label(round=1, responses=[("a", 0)], note="first"))
    many = Label(round=1, responses=[("a", 0), ("b", 2)], agrees=True, by="ann@gpu-7")
    end = commands.send(path, many, Label(round=None, responses=[("a", 0)], flagged=True))
    recorded = commands.recorded_labels(path)

    assert recorded.end == end == commands.size(path)
    assert recorded.labels == commands.labels(path)
    assert list(recorded.labels) == [(1, "a", 0), (1, "b", 2), (None, "a", 0)]
    both = [recorded.labels[1, "a", 0], recorded.labels[1, "b", 2]]
    assert [(one.agrees, one.note, one.by, one.id, one.time) for one in both] == [
        (True, "", "ann@gpu-7", many.id, many.time)
    ] * 2
    assert commands.read(path)[1] == many
