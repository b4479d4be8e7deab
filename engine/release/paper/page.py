"""Writes the pages of a release: report.md, which goes behind the run's report, and REPORT.html for those who sign."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources

from engine.protocol import jsonl
from engine.protocol.counts import number_of
from engine.protocol.release import PAGE_FILE, PAPER_FILE
from engine.protocol.run_dir import Run
from engine.protocol.sums import SUMS_FILE
from engine.release.gate_markdown import section
from engine.release.paper import scores, served
from engine.release.paper.facts import Facts, Worth, facts_of
from engine.release.paper.html import Html, document, joined, named, tag
from engine.release.sums import write_sums
from engine.stages.markdown import interval

MODE = 0o600
"""Of the pages: they have prompts and answers in them."""


def write_pages(run: Run, worth: Worth = ()) -> None:
    """Write RUN/release/report.md, REPORT.html and their sums; the same run and release give the same bytes.

    The run's own files stay as its record vouches for them. `worth` are rows for a section of its own. Raises
    InputError before the sealed test, DamagedError for a file that can't be read.
    """
    facts = facts_of(run, worth)
    sums = run.release / SUMS_FILE
    sums.unlink(missing_ok=True)  # never sums of other pages than these
    written = {PAGE_FILE: section(facts.gates), PAPER_FILE: paper(facts)}
    for name, text in written.items():
        jsonl.replace(run.release / name, text, MODE)
    write_sums(run.release, [run.release / name for name in written])


def paper(facts: Facts) -> str:
    """The whole of REPORT.html, which needs no other file and no network."""
    css = resources.files("engine.release.paper").joinpath("paper.css").read_text(encoding="utf-8")
    sections = (
        scores.scores_by_round,
        scores.sealed_test,
        scores.kinds,
        scores.may_move,
        served.gate,
        served.worth,
        scores.worst_answers,
        served.way_back,
        served.rests_on,
        served.to_sign,
    )
    drawn = [list(section(facts)) for section in sections]
    body = [*_top(facts), *(tag("section", *parts) for parts in drawn if parts)]
    return document(f"{facts.run.name}: migration paper", css, tag("main", *body))


def _top(facts: Facts) -> Iterator[Html]:
    """The outcome, and the four figures that a reader takes along."""
    final, sealed = facts.final, facts.final.sealed
    share_it = "It has prompts and answers of the task in it: share it as you share those."
    yield tag("p", " · ".join(filter(None, ("Migration paper", facts.ended, share_it))), class_="kicker")
    verdict = "target reached" if final.reached else "target not reached"
    yield tag("h1", named(facts.run.name, 80), " ", tag("span", verdict, class_=f"verdict {_tone(final.reached)}"))
    route = joined("From ", named(facts.settings.service.model, 80), " to ", named(facts.settings.local.model, 80))
    yield tag("p", route, f", tuned in round {final.best_round}. ", final.told)
    share, _ = scores.moving(facts)
    tiles = (
        ("precision, sealed prompts", f"{sealed.precision.mean:.1f}", _bounds(interval(sealed.precision))),
        ("similarity, sealed prompts", f"{sealed.similarity.mean:.1f}", _bounds(interval(sealed.similarity))),
        ("of the answers may move", f"{share:.0%}", "certified part" if 0 < share < 1 else ""),
        ("artefacts released", f"{len(facts.released)} of {len(facts.gates)}", "each proven as served"),
    )
    yield tag(
        "div",
        *(
            tag("div", tag("b", figure), tag("span", what), *([tag("span", more)] if more else []), class_="tile")
            for what, figure, more in tiles
        ),
        class_="tiles",
    )
    if warnings := [tag("li", warning) for warning in _warnings(facts)]:
        yield tag("div", tag("p", tag("b", "Read this first")), tag("ul", *warnings), class_="careful")


def _tone(good: bool) -> str:
    return "good" if good else "bad"


def _bounds(words: str) -> str:
    """The bounds of an interval in words: "92.2 to 99.2"."""
    return words.partition("(")[2].rstrip(")")


def _warnings(facts: Facts) -> Iterator[str]:
    """What speaks for reading the figures with care."""
    decision = facts.decision
    if facts.settings.uses_sandbox:
        yield (
            "The service was the sandbox, an offline stand-in and not a real LLM: this shows that the loop works, not "
            "how good a model is."
        )
    if not facts.released:
        yield "No artefact is released: none may be served."
    if decision is not None and decision.reviews is not None and decision.reviews.warning:
        yield f"{decision.reviews.warning[:1].upper()}{decision.reviews.warning[1:]}; all scores here are the judge's."
    for one in facts.drift:
        if one.shifted:
            yield f"{one.judge} scored otherwise than in round 0 when it judged the sealed test ({one.change})."
    if decision is not None and decision.flagged:
        flagged = number_of(len(decision.flagged), "prompt")
        yield f"Dev scores leave out {flagged} whose reference a reviewer flagged as bad."
