"""Reading a run's pairs: what is listed, what becomes of it, and what is never opened."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import data_run
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.dataset.prepare import SEALED, TEST
from engine.protocol import commands, jsonl
from engine.protocol.commands import PairChoice, PairChoices
from engine.protocol.errors import LlamaDuoError
from engine.protocol.run_dir import Run
from engine.settings.schema import Synthesis
from engine.stages.training_mix import training_mix
from llamaduo_tui.views import pairs as module
from llamaduo_tui.views.pairs import (
    LoadedFile,
    PairEntry,
    PairFilter,
    PairReader,
    arrange,
    can_choose,
    search,
    status_of,
    tally,
    twin_of,
)


@pytest.fixture
def run(make_run: Callable[..., Run]) -> Run:
    return data_run.synthesis(data_run.synthesis(data_run.coverage(make_run()), 1), 2)


def loaded(run: Run) -> list[LoadedFile]:
    return list(PairReader(run).read_new())


def statuses(items: list[PairEntry], choices: PairChoices | None = None) -> list[str]:
    return [status_of(item, choices or {}) for item in items]


def test_every_row_is_listed_with_what_becomes_of_it(run: Run) -> None:
    found = loaded(run)
    assert statuses(arrange(found, PairFilter("coverage"), {})) == ["train"] * 6 + ["dev"] + ["dropped"] * 2
    refused = ["refused", "leak", "refused", "refused", "refused", "refused"]
    assert statuses(arrange(found, PairFilter(1), {})) == ["new"] * 5 + refused
    assert len(arrange(found, PairFilter(), {})) == 9 + 11 + 8
    assert PairReader(run).sealed() == 1


def test_the_sealed_test_is_never_opened(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    watching = [True]
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if watching and event == "open" else None)
    pairs = PairReader(run)
    found = list(pairs.read_new())
    for item in arrange(found, PairFilter(), {}):
        shown = pairs.detail(item)
        twin_of(found, shown)
    search(pairs.files(), "trial ends", lambda: False)
    watching.clear()
    assert any(name.endswith("dev.jsonl") for name in opened)
    assert not [name for name in opened if Path(name).name in (SEALED, TEST)]


def test_choices_are_what_the_merge_makes_of_them(run: Run) -> None:
    found = arrange(loaded(run), PairFilter(), {})
    for item in found:
        if item.id and item.file.round is not None:
            commands.send(run.commands_file, PairChoice(round=item.file.round, pairs=[item.id], keep=bool(item.offset)))
    choices = PairReader(run).new_choices()
    assert choices is not None
    folders = [run.round(number) / "synthesize" for number in (1, 2)]
    mix = training_mix(run.coverage, folders, choices, Synthesis())
    trained = [item for item in found if status_of(item, choices) in ("train", "new", "kept")]
    assert len(trained) == len(mix.chats)
    counts = [tally(loaded(run), number, choices) for number in (1, 2)]
    assert sum(count.out for count in counts) == mix.refused_by_hand == 2
    assert sum(count.kept for count in counts) == mix.kept_by_hand > 0
    assert sum(count.trained for count in counts) + 6 == len(mix.chats)


def test_only_choices_with_an_effect_are_allowed(run: Run) -> None:
    items = arrange(loaded(run), PairFilter(1), {})
    assert [can_choose(item, {}, keep=False) for item in items] == [True] * 5 + [False] * 6
    # The leak, the reply without a pair and the row of an older version stay as they are.
    assert [can_choose(item, {}, keep=True) for item in items] == [False] * 5 + [True, False, True, False, True, False]
    choices = {(1, items[0].id): False, (1, items[5].id): True, (1, items[6].id): True}
    assert [status_of(items[n], choices) for n in (0, 5, 6)] == ["out", "kept", "leak"]
    assert can_choose(items[0], choices, keep=True) and can_choose(items[5], choices, keep=False)


def test_filters_and_sort_orders(run: Run) -> None:
    found = loaded(run)
    wrong = arrange(found, PairFilter(1, reason="near-duplicate prompt"), {})
    assert statuses(wrong) == ["refused", "leak"]
    assert statuses(arrange(found, PairFilter(1, statuses=frozenset({"leak"})), {})) == ["leak"]
    assert {item.category for item in arrange(found, PairFilter("coverage", category="bug"), {})} == {"bug"}
    sizes = [item.size for item in arrange(found, PairFilter(sort="longest"), {})]
    assert sizes == sorted(sizes, reverse=True)
    reasons = [item.reason for item in arrange(found, PairFilter(sort="reason"), {})]
    assert reasons == sorted(reasons)


@pytest.mark.parametrize(
    "text, count", [("KOFI", 3), ("日本語", 1), ("\x1b]52", 1), ('"priority": "urgent"', 3), ("assistant", 1)]
)
def test_search_reads_texts_and_reasons(run: Run, text: str, count: int) -> None:
    assert len(search(PairReader(run).files(), text, lambda: False)) == count
    assert len(search(PairReader(run).files(), "no json in", lambda: False)) == 2, "a reason; the keys of rows are none"


@given(text=st.text(min_size=1, max_size=20), around=st.text(max_size=20))
def test_search_finds_what_is_there(tmp_path_factory: pytest.TempPathFactory, text: str, around: str) -> None:
    run = Run(tmp_path_factory.mktemp("run"))
    row = {"id": "a", "messages": [{"role": "user", "content": around + text}, {"role": "assistant", "content": ""}]}
    jsonl.write(run.coverage / "train.jsonl", [row])
    assert len(search(PairReader(run).files(), text, lambda: False)) == 1


def test_a_twin_is_found_and_a_sealed_one_is_not(run: Run) -> None:
    pairs, found = PairReader(run), loaded(run)
    items = arrange(found, PairFilter(1), {})
    twins = [twin_of(found, pairs.detail(item)) for item in items]
    assert [twin.file.kind if twin else None for twin in twins[5:]] == ["train", "dev", None, None, "new", None]
    dropped = arrange(found, PairFilter("coverage"), {})[7]
    twin = twin_of(found, pairs.detail(dropped))
    assert twin is not None and twin.file.kind == "train"


def test_only_what_is_new_is_read_again(run: Run) -> None:
    pairs = PairReader(run)
    assert len(list(pairs.read_new())) == 7
    assert list(pairs.read_new()) == []
    jsonl.append(run.coverage / "dropped.jsonl", [{"line": 11, "reason": "no", "row": "x", "twin": ""}])
    (again,) = pairs.read_new()
    assert len(again.entries) == 3
    assert pairs.new_choices() == {}
    assert pairs.new_choices() is None


def test_the_beginning_of_a_long_file_comes_first(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST", 3)
    train = [one for one in loaded(run) if one.file.kind == "train"]
    assert [(len(one.entries), one.complete) for one in train] == [(3, False), (6, True)]
    assert train[1].categories == {"bug": 2, "question": 2, "wish": 1, "billing": 1}


@pytest.mark.parametrize("line", [b"\xff\n", b"[]\n", b"{}\n", b'{"messages": []}\n', b'{"messages": [{"role": 1}]}\n'])
def test_lines_of_another_form_are_counted(run: Run, line: bytes) -> None:
    file = run.round(1) / "synthesize" / "pairs.jsonl"
    file.write_bytes(line + file.read_bytes() + b'{"torn')
    one = next(one for one in loaded(run) if one.file.path == file)
    assert (len(one.entries), one.unreadable) == (5, 1)


def test_a_rewritten_file_is_reported(run: Run) -> None:
    pairs = PairReader(run)
    item = next(pairs.read_new()).entries[1]
    item.file.path.write_text("{}\n" * 400)
    with pytest.raises(LlamaDuoError, match="was rewritten"):
        pairs.detail(item)


any_row: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "messages", "role", "content", "reason", "twin", "row"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)


@given(rows=st.lists(any_row, max_size=4))
@example(rows=[{"id": None, "reason": "", "twin": []}])
def test_any_rows_are_listed_or_counted(tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    run = Run(tmp_path_factory.mktemp("run"))
    for name in ("pairs", "rejected"):
        jsonl.write(run.round(1) / "synthesize" / f"{name}.jsonl", rows)
    pairs = PairReader(run)
    found = list(pairs.read_new())
    assert all(len(one.entries) + one.unreadable == len(rows) for one in found)
    for item in arrange(found, PairFilter(), {}):
        pairs.detail(item)
