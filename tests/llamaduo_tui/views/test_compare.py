"""Two runs with the same dev prompts: what differs is found, and 100,000 answers are streamed."""

from __future__ import annotations

from pathlib import Path

import frozen
import pytest
from frozen import make

from engine.protocol import jsonl
from engine.protocol.errors import InputError
from engine.protocol.rows import Response, Verdict
from engine.protocol.run_dir import Run
from llamaduo_tui.views import compare_lines
from llamaduo_tui.views.compare import as_row, compare
from llamaduo_tui.views.text import cells


def answered(run: Run, number: int, scores: dict[str, float]) -> Run:
    """The answers of a round, each with a verdict and one that does not count."""
    folder = run.round(number)
    responses = [
        Response(
            id=id_,
            sample=0,
            prompt=[{"role": "user", "content": f"What is {id_}?"}],
            target="x",
            response=f"{run.name} says [b]{id_}[/b]",
            finish_reason="stop",
            prompt_tokens=1,
            completion_tokens=1,
            model="m",
            adapter="",
        )
        for id_ in scores
    ]
    verdicts = [
        Verdict(
            id=id_,
            sample=0,
            repeat=repeat,
            judge="j",
            similarity=score,
            precision=score,
            similarity_reason="",
            precision_reason="",
            error="",
            pilot=repeat == 1,
        )
        for id_, score in scores.items()
        for repeat in (0, 1)
    ]
    for name, rows in (("infer/responses", responses), ("judge/verdicts", verdicts)):
        file = folder / f"{name}.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        jsonl.write(file, [row.to_row() for row in rows])
    return run


@pytest.fixture
def two(root: Path) -> tuple[Run, Run]:
    first = answered(make(root, "small", "reached", frozen.REACHED), 2, {"a": 90, "b": 40, "c": 70})
    second = answered(make(root, "large", "waiting", frozen.WAITING), 1, {"a": 92, "b": 95, "d": 1})
    second.settings_file.write_text(second.settings_file.read_text() + "[finetune]\nepochs = 3\n")
    return first, second


def test_settings_scores_losses_and_answers(two: tuple[Run, Run]) -> None:
    compared = compare([(run, None) for run in two])
    assert compared.settings.pop("coverage.source")[0].endswith("small/a.jsonl")
    assert compared.settings == {"finetune.epochs": (10, 3)}
    assert [side.round for side in compared.sides] == [2, 1]
    assert [(one.id, one.first, one.second) for one in compared.shared] == [("b", 40, 95), ("a", 90, 92)]
    assert (compared.better, compared.worse) == (1, 0)
    assert len(compared.sides[0].losses) == 120 and len(compared.sides[1].losses) == 48
    assert compared.sides[1].text("b") == ("What is b?", "large says [b]b[/b]")
    assert compared.sides[1].text("c") == ("", "")
    text = "\n".join(compare_lines.lines(compared, 1))
    (epochs,) = (line.split() for line in text.split("\n") if line.startswith("finetune.epochs"))
    assert epochs == ["finetune.epochs", "10", "3"]
    assert "against small, large is better by 10 points or more on 1, worse on 0, and about alike on 1" in text
    assert "small: small says [b]b[/b]" in text
    row = as_row(compared, 1)
    assert row["answers"][0]["answers"] == ["small says [b]b[/b]", "large says [b]b[/b]"]
    assert row["runs"][0]["precision"]["mean"] == pytest.approx(93.4)


def test_rounds_of_one_run(two: tuple[Run, Run]) -> None:
    compared = compare([(two[0], 1), (two[0], 2)])
    assert [side.name for side in compared.sides] == ["small@1", "small@2"] and not compared.settings
    with pytest.raises(InputError, match="small has no round 7") as missing:
        compare([(two[0], 7), (two[0], 2)])
    assert missing.value.hint == "its last is round 2"


@pytest.mark.parametrize("width", [56, 76, 140])
def test_tables_have_room_and_paths_that_begin_alike_show_their_ends(two: tuple[Run, Run], width: int) -> None:
    compared = compare([(run, None) for run in two])
    compared.settings["coverage.source"] = tuple(f"{'/a/long/way' * 9}/{name}.jsonl" for name in ("small", "large"))
    told = compare_lines.lines(compared, width=width)
    assert max(map(len, told)) <= width
    (source,) = (line.split() for line in told if line.startswith("coverage.source"))
    assert [source[1].endswith("small.jsonl"), source[2].endswith("large.jsonl")] == [True, True]


def test_all_bounds_stand_on_one_axis(two: tuple[Run, Run]) -> None:
    lines = compare_lines.scores(compare([(run, None) for run in two]))
    axes = [line[line.index(" 0 ") :] for line in lines if " 0 " in line]
    assert len(axes) == 4 and {len(axis) for axis in axes} == {len(axes[0])}
    assert axes[0].index("●") > axes[1].index("●")


@pytest.mark.parametrize(
    ("width", "name"), [(50, "n" * 64), (57, "n" * 64), (120, "日本語の要約" * 5), (57, "日本語の要約" * 5)]
)
def test_scores_and_tables_stand_below_each_other_whatever_the_names(root: Path, width: int, name: str) -> None:
    made = [make(root, one, "waiting", frozen.WAITING) for one in ("small", name)]
    compared = compare([(run, None) for run in made])
    scores = [line for line in compare_lines.scores(compared, width) if " 0 " in line]
    assert {cells(line) for line in scores} == {cells(scores[0])} and cells(scores[0]) <= width
    assert len({cells(line[: line.index(" 0 ")]) for line in scores}) == 1
    run, state, *_ = compare_lines.facts(compared, width)
    assert cells(run[: run.rindex("  ") + 2]) == cells(state[: state.rindex("waiting")])


def test_of_three_runs_the_first_two_share_their_prompts(two: tuple[Run, Run], root: Path) -> None:
    three = [*two, make(root, "third", "waiting", frozen.WAITING)]
    assert "2 dev prompts in the first two: against" in compare_lines.shared(compare([(run, None) for run in three]))
