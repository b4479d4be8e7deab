"""Sections of the paper about the model that was judged: scores, kinds of prompts, the part that may move, answers."""

from __future__ import annotations

from collections.abc import Iterator

from engine.protocol.decision import Interval, percent
from engine.release.paper import figures
from engine.release.paper.facts import Facts
from engine.release.paper.figures import Column
from engine.release.paper.html import Child, Html, joined, named, quoted, table, tag
from engine.stages import report_sections
from engine.stages.markdown import interval
from engine.stages.report import target_words
from engine.stages.report_rows import Example, RoundRow

MOST_KINDS = 40
"""Rows of a table of kinds, the weakest first."""


def scores_by_round(facts: Facts) -> Iterator[Html]:
    """The rounds on the dev prompts, then the sealed test: a picture, and its figures in a table."""
    final, service = facts.final, facts.final.service
    columns = [Column(_round(row), row.precision, row.similarity) for row in facts.rounds]
    columns.append(Column("sealed test", final.sealed.precision, final.sealed.similarity, apart=bool(columns)))
    if service is not None:
        columns.append(Column("the service", service.precision, service.similarity))
    said = "; ".join(f"{one.name}: precision {interval(one.precision)}" for one in columns)
    yield tag("h2", "Scores by round")
    yield tag(
        "figure",
        figures.legend(),
        figures.scores_by_round(columns, _targets(facts), f"Mean scores with their bounds. {said}."),
        tag(
            "figcaption",
            f"Mean scores out of 100 with their bounds. {target_words(facts.target)} The rounds are scored on the dev "
            "prompts, which steered them; the sealed prompts were opened once, at the end.",
        ),
    )
    rows = [
        [_round(row), "" if row.pairs is None else f"{row.pairs:,}", interval(row.precision), interval(row.similarity)]
        for row in facts.rounds
    ]
    rows.append(["sealed test", "", interval(final.sealed.precision), interval(final.sealed.similarity)])
    if service is not None:
        rows.append(["the service", "", interval(service.precision), interval(service.similarity)])
    yield table(["", "trained on pairs", "precision", "similarity"], rows, "figures")


def sealed_test(facts: Facts) -> Iterator[Html]:
    """How the sealed prompts scored one by one, and how often a decision like this is wrong."""
    final = facts.final
    precisions = [score.precision for score in facts.sealed]
    target = _targets(facts)
    yield tag("h2", "The sealed test")
    shares = (
        f"{final.sealed.coverage_50.precision:.0%} of the prompts have a precision of at least 50, "
        f"{final.sealed.coverage_70.precision:.0%} of at least 70."
    )
    if precisions:
        said = f"Precision of {len(precisions):,} sealed prompts. {shares}"
        yield tag(
            "figure",
            figures.histogram(precisions, target[0] if target else None, said),
            tag("figcaption", f"Sealed prompts by precision, in steps of {figures.BIN} points. {shares}"),
        )
    if final.service is not None:
        gap = report_sections.gap_to_service(final.service)
        yield tag("p", f"{report_sections.service_scores(final.service, 'sealed')} {gap}")
    for text in (report_sections.error_rate(final), *report_sections.not_sealed(facts.run)):
        yield tag("p", text, class_="soft")


def kinds(facts: Facts) -> Iterator[Html]:
    """Each kind of prompt before and after, the weakest now first; nothing where there is only one kind."""
    if not facts.kinds:
        return
    best = next((place for place, row in enumerate(facts.rounds) if row.number == facts.final.best_round), -1)
    found = [(row, row.precision[0], row.precision[best]) for row in facts.kinds if row.precision[best] is not None]
    found.sort(key=lambda one: (one[2] or 0.0, one[0].name))
    rows: list[list[Child]] = [
        [
            named(row.name, 80),
            f"{row.prompts:,}",
            "" if before is None else f"{before:.1f}",
            f"{after:.1f}",
            figures.from_to(before, after, f"from {before or 0:.0f} to {after:.0f}"),
        ]
        for row, before, after in found[:MOST_KINDS]
        if after is not None
    ]
    yield tag("h2", "Kinds of prompts")
    yield tag(
        "p",
        "Mean precision on the dev prompts, before training (hollow) and of the tested model, the weakest first."
        + (f" {len(found) - MOST_KINDS:,} more kinds are in final/report.md." if len(found) > MOST_KINDS else ""),
    )
    yield table(["kind", "prompts", "untuned", f"round {facts.final.best_round}", "0 to 100"], rows, "figures")


def may_move(facts: Facts) -> Iterator[Html]:
    """The share of the answers that the local model may give, with what shows it."""
    final, part = facts.final, facts.final.part
    yield tag("h2", "What may move")
    share, low = moving(facts)
    bar = joined(
        figures.share_bar(share, low, f"{share:.0%} of the answers may be the local model's"),
        tag("p", tag("span", f"■ local model {share:.0%}"), tag("span", f"□ service {1 - share:.0%}"), class_="legend"),
    )
    if final.reached:
        yield tag("figure", bar, tag("figcaption", "The whole task: the target is reached on all sealed prompts."))
        return
    if part is None:
        yield tag("figure", bar, tag("figcaption", f"No part was tested: {final.reason}"))
        return
    risk = f" Both claims, the share and the scores, hold together except with a risk of {percent(part.risk)}."
    at_least = f" The mark is the least share for prompts like these, {part.share_low:.0%}.{risk}"
    yield tag("figure", bar, tag("figcaption", f"{part.reason}{at_least if part.certified else ''}"))
    if part.rule is not None and part.certified:
        yield tag("p", f"The local model gives {part.rule.words}; the service gives the others.")
    if part.precision is not None and part.similarity is not None:
        kind = "minus the service's" if part.relative else "out of 100"
        rows = [["precision", interval(part.precision)], ["similarity", interval(part.similarity)]]
        yield table([f"the {part.moved:,} of {part.answers:,} answers that may move", f"mean {kind}"], rows, "figures")


def moving(facts: Facts) -> tuple[float, float]:
    """The share of the answers that may move, and the least that it is."""
    part = facts.final.part
    if facts.final.reached:
        return 1.0, 1.0
    return (part.share, part.share_low) if part is not None and part.certified else (0.0, 0.0)


def worst_answers(facts: Facts) -> Iterator[Html]:
    """The worst sealed answers, next to the service's."""
    if not facts.worst:
        return
    yield tag("h2", "Worst answers")
    which = "prompt with the lowest score" if len(facts.worst) == 1 else "prompts with the lowest scores"
    yield tag("p", f"The {len(facts.worst)} sealed {which}, as they are.")
    for place, one in enumerate(facts.worst, start=1):
        yield _answer(place, one)


def _answer(place: int, one: Example) -> Html:
    sides = (
        tag("div", tag("h4", name), quoted(text)) for name, text in (("service", one.expected), ("local", one.response))
    )
    judge = joined("Judge: ", named(one.reason, 600)) if one.reason else Html("No readable verdict.")
    return tag(
        "div",
        tag("h3", f"{place}: precision {one.precision:.0f}, similarity {one.similarity:.0f}"),
        quoted(one.prompt),
        tag("div", *sides, class_="answers"),
        tag("p", judge, class_="soft"),
        class_="answer",
    )


def _round(row: RoundRow) -> str:
    return f"round {row.number}" if row.number else "untuned"


def _targets(facts: Facts) -> tuple[float, float] | None:
    """The targets of precision and similarity in points; of one relative to the service by the service's means."""
    target, service = facts.target, facts.final.service
    if target.relative_to_teacher is None:
        return target.precision, target.similarity
    if service is None:
        return None

    def below(score: Interval) -> float:
        return score.mean - (target.relative_to_teacher or 0.0)

    return below(service.precision), below(service.similarity)
