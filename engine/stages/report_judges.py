"""Sections of the report about the models behind its scores: the judges, whether they changed, and who answered."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import groupby, pairwise

from engine.protocol.decision import Drift, plus_minus
from engine.service.answerers import Answerer
from engine.settings.schema import Migration, bare
from engine.stages.markdown import inline

SHOWN = 20
"""How many names and fingerprints to list of one model: a service may send another one with each reply."""

NAMED = 5
"""How many of them a sentence names."""

NAME_CUT = 100
"""Characters of a name or a fingerprint from a service."""


def own_judges(settings: Migration, answered: Sequence[Answerer]) -> str:
    """A sentence for each judge that is the service's model, by the name asked for or by those that answered."""
    service = _names(settings.service.model, answered)
    own = [model for model in dict.fromkeys(settings.judge_models) if service & _names(model, answered)]
    return "".join(
        f" {inline(model)} judged answers against its own earlier ones; judges favour their own style." for model in own
    )


def _names(model: str, answered: Sequence[Answerer]) -> set[str]:
    return {bare(model), *(bare(row.answered_by) for row in answered if row.model == model and row.answered_by)}


def careful(*measured: Sequence[Drift]) -> list[str]:
    """A warning where a judge shifted when it scored what a verdict rests on."""
    judges = dict.fromkeys(one.judge for several in measured for one in several if one.shifted)
    return [
        f"**Careful**: {inline(judge)} scored otherwise than in round 0 when it judged this; see judge drift below."
        for judge in judges
    ]


def drift(measured: dict[str, tuple[Drift, ...]], settings: Migration) -> list[str]:
    """How each judge scored answers of round 0 again; `measured` by round, in words."""
    rows = [(name, one) for name, several in measured.items() for one in several]
    if not rows:
        return ["Judge drift was not measured: `judge.drift` is 0."] if settings.judge.drift == 0 else []
    shifted = ", ".join(dict.fromkeys(name for name, one in rows if one.shifted))
    told = (
        f"**A judge scores otherwise than in round 0 in {shifted}**: there, part of a gain or a loss may be the "
        "judge's and not the local model's."
        if shifted
        else "No judge shifted beyond noise."
    )
    text = (
        "Judge drift: after round 0, the judges judged some of its answers again. The table shows the mean change of "
        f"their scores, in points, with 99% confidence. {told}"
    )
    lines = ["| judged again in | judge | answers | precision | similarity | |", "|---|---|---|---|---|---|"]
    return [text, "\n".join([*lines, *(_drift(name, one) for name, one in rows)])]


def _drift(name: str, drift: Drift) -> str:
    answers = f"{drift.answers} ({drift.missing} without a verdict)" if drift.missing else f"{drift.answers}"
    means = [plus_minus(mean) if mean is not None else "" for mean in (drift.precision, drift.similarity)]
    found = "**a shift**" if drift.shifted else "no shift beyond noise" if drift.answers else "no readable verdict"
    return f"| {name} | {inline(drift.judge)} | {answers} | {means[0]} | {means[1]} | {found} |"


def which_answered(answered: Sequence[Answerer]) -> list[str]:
    """The models that answered, by the model asked for, and where one changed during the run."""
    if not answered:
        return []
    lines = ["| asked for | answered by | fingerprint | replies | from | to |", "|---|---|---|---|---|---|"]
    warnings = []
    for model, rows in _by_model(answered):
        lines += [_line(row) for row in rows[:SHOWN]]
        if len(rows) > SHOWN:
            lines.append(f"| {inline(model)} | and {len(rows) - SHOWN} more | | | | |")
        warnings += _changes(model, rows)
    return ["## Which models answered", "\n".join(lines), *warnings]


def _by_model(answered: Sequence[Answerer]) -> list[tuple[str, list[Answerer]]]:
    ordered = sorted(answered, key=lambda row: (row.model, row.first))
    return [(model, list(rows)) for model, rows in groupby(ordered, lambda row: row.model)]


def _line(row: Answerer) -> str:
    name, fingerprint = _shown(row.answered_by) or "not recorded", _shown(row.fingerprint)
    return f"| {inline(row.model)} | {name} | {fingerprint} | {row.calls:,} | {_at(row.first)} | {_at(row.last)} |"


def _changes(model: str, rows: Sequence[Answerer]) -> list[str]:
    """A sentence where other names answered later, or by turns, and one where a name had several fingerprints."""
    told = []
    names = _spans({row.answered_by: [r for r in rows if r.answered_by == row.answered_by] for row in rows})
    if len(names) > 1:
        in_turn = any(last > first for (_, _, last), (_, first, _) in pairwise(names))
        shown = [
            _shown(name) if in_turn else f"{_shown(name)} from {_at(first)} to {_at(last)}"
            for name, first, last in names[:NAMED]
        ]
        more = [f"{len(names) - NAMED} more"] if len(names) > NAMED else []
        how = "was answered by several models in turn" if in_turn else "changed during the run"
        told.append(
            f"**Careful**: {inline(model)} {how}: {', '.join([*shown, *more])}. Scores from before and after a change "
            "may not compare."
        )
    for name, _, _ in names[:NAMED]:
        marks = {row.fingerprint for row in rows if row.answered_by == name and row.fingerprint}
        if len(marks) > 1:
            told.append(
                f"{_shown(name)} answered with {len(marks)} fingerprints: its provider changed how it serves the "
                "model, or serves it in several ways."
            )
    return told


def _spans(by_name: dict[str, list[Answerer]]) -> list[tuple[str, float, float]]:
    """Each name that was recorded with the time of its first and of its last reply, in the order of the first."""
    spans = [
        (name, min(row.first for row in rows), max(row.last for row in rows)) for name, rows in by_name.items() if name
    ]
    return sorted(spans, key=lambda span: span[1:])


def _shown(name: str) -> str:
    return inline(name[:NAME_CUT])


def _at(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
