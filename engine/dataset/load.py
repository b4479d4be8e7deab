"""The coverage dataset as pairs: what can be used, and every row that cannot, with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from engine.dataset import sources
from engine.dataset.errors import RowError
from engine.dataset.formats import category_of, to_messages, tools_of
from engine.dataset.sources import Dropped
from engine.protocol.errors import InputError
from engine.protocol.rows import Pair, prompt_id, prompt_text
from engine.settings.schema import Columns, Coverage

__all__ = ["Dropped", "Loaded", "load"]


class Loaded(NamedTuple):
    """The pairs, one a prompt and in the order of the source, and the rows that were left out."""

    pairs: list[Pair]
    dropped: list[Dropped]


def load(coverage: Coverage, misfit: Callable[[Pair], str] = lambda _: "") -> Loaded:
    """Read a coverage dataset; of the rows with the same prompt the first is kept.

    `misfit` says why the local model cannot take a pair, or "" where it can.

    Raises InputError where there is no such file or dataset, it cannot be read, or none of its rows can be used.
    """
    label = sources.label(coverage.source)
    pairs: dict[str, Pair] = {}
    dropped: list[Dropped] = []
    unfit: set[str] = set()
    for record in sources.read(coverage.source, coverage.columns):
        if isinstance(record, Dropped):
            dropped.append(record)
            continue
        try:
            pair = _pair(record, coverage.columns, label)
        except RowError as error:
            dropped.append(record.dropped(str(error)))
            continue
        if reason := misfit(pair):
            unfit.add(reason)
            dropped.append(record.dropped(reason))
            continue
        twin = pairs.setdefault(pair.id, pair)
        if twin is not pair:
            dropped.append(record.dropped(_same_prompt(pair, twin), twin.id))
    if not pairs:
        raise _nothing_usable(coverage.source, dropped, unfit)
    return Loaded(list(pairs.values()), dropped)


def _pair(record: sources.Record, columns: Columns, label: str) -> Pair:
    messages, tools = to_messages(record.value, columns), tools_of(record.value, columns)
    if len(prompt_text(messages, tools)) > sources.MAX_ROW:
        raise RowError(sources.TOO_LARGE)
    category = category_of(record.value, columns)
    return Pair(
        id=prompt_id(messages[:-1], tools),
        messages=messages,
        category=category,
        source=f"{label}:{record.line}",
        tools=tools,
    )


def _same_prompt(pair: Pair, twin: Pair) -> str:
    other = "" if pair.target == twin.target else ", with another response"
    return f"same prompt as {twin.source}{other}"


def _nothing_usable(source: str, dropped: list[Dropped], unfit: set[str]) -> InputError:
    if not dropped:
        return InputError(f"{source}: holds no rows", "each row is a prompt with a response that you were happy with")
    first = dropped[0]
    count = "its one row cannot" if len(dropped) == 1 else f"none of its {len(dropped)} rows can"
    return InputError(
        f"{source}: {count} be used; row {first.line}: {first.reason}",
        "choose another model in local.model, one whose chat template knows what these rows hold"
        if first.reason in unfit
        else "rows are chat `messages`, or have a prompt and a response: see coverage.columns",
    )
