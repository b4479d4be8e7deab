"""The coverage dataset as pairs, and every row that cannot be used, with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from engine.dataset import sources
from engine.dataset.formats import category_of, to_messages, tools_of
from engine.dataset.record import MAX_ROW, TOO_LARGE, Dropped, Record, RowError
from engine.protocol.errors import InputError
from engine.protocol.rows import Pair, prompt_id, prompt_text
from engine.settings.schema import Columns, Coverage


class Loaded(NamedTuple):
    """The pairs, one per prompt and in the order of the source, and the rows that are left out."""

    pairs: list[Pair]
    dropped: list[Dropped]


def load(coverage: Coverage, unsupported: Callable[[Pair], str] = lambda _: "") -> Loaded:
    """Read a coverage dataset; of several rows with the same prompt the first is kept.

    `unsupported` gives the reason why the local model cannot represent a pair, or "" where it can.

    Raises InputError where there is no such file or dataset, it cannot be read, or none of its rows can be used.
    """
    label = sources.label(coverage.source)
    pairs: dict[str, Pair] = {}
    dropped: list[Dropped] = []
    unsupported_reasons: set[str] = set()
    for record in sources.read(coverage.source, coverage.columns):
        if isinstance(record, Dropped):
            dropped.append(record)
            continue
        try:
            pair = _pair(record, coverage.columns, label)
        except RowError as error:
            dropped.append(record.dropped(str(error)))
            continue
        if reason := unsupported(pair):
            unsupported_reasons.add(reason)
            dropped.append(record.dropped(reason))
            continue
        twin = pairs.setdefault(pair.id, pair)
        if twin is not pair:
            dropped.append(record.dropped(_same_prompt(pair, twin), twin.id))
    if not pairs:
        raise _nothing_usable(coverage.source, dropped, unsupported_reasons)
    return Loaded(list(pairs.values()), dropped)


def _pair(record: Record, columns: Columns, label: str) -> Pair:
    messages, tools = to_messages(record.value, columns), tools_of(record.value, columns)
    if len(prompt_text(messages, tools)) > MAX_ROW:
        raise RowError(TOO_LARGE)
    return Pair(
        id=prompt_id(messages[:-1], tools),
        messages=messages,
        category=category_of(record.value, columns),
        source=f"{label}:{record.line}",
        tools=tools,
    )


def _same_prompt(pair: Pair, twin: Pair) -> str:
    other = "" if pair.target == twin.target else ", with another response"
    return f"same prompt as {twin.source}{other}"


def _nothing_usable(source: str, dropped: list[Dropped], unsupported: set[str]) -> InputError:
    if not dropped:
        return InputError(f"{source}: has no rows", "each row is a prompt with a response that you are happy with")
    first = dropped[0]
    count = "the only row is unusable" if len(dropped) == 1 else f"all {len(dropped)} rows are unusable"
    return InputError(
        f"{source}: {count}; row {first.line}: {first.reason}",
        "choose a model in local.model whose chat template supports these rows"
        if first.reason in unsupported
        else "rows are chat `messages`, or have a prompt and a response: see coverage.columns",
    )
