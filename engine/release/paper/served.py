"""Sections of the paper about the model that is served: the gate, the worth, the way back, what all of it rests on."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from engine.protocol.decision import evidence, percent
from engine.protocol.durations import duration
from engine.protocol.release import Cause, Gate, Result
from engine.protocol.version import version
from engine.release.paper import figures
from engine.release.paper.facts import Facts
from engine.release.paper.html import Child, Html, joined, named, quoted, table, tag
from engine.stages.markdown import interval

MARKS = {Result.PASSED: "✓", Result.FAILED: "✗ failed", Result.DOES_NOT_APPLY: "–"}


def gate(facts: Facts) -> Iterator[Html]:
    """Each artefact as served against the adapter that was judged: outcome, differences, checks, first differences."""
    yield tag("h2", "The model as served")
    if not facts.gates:
        yield tag("p", "Nothing is released yet.")
        return
    yield tag(
        "p",
        "Each artefact was started and asked the sealed prompts over HTTP, as any client would. Answers that are not "
        "those of the judged adapter, word by word, were judged. An artefact is released where neither lower bound is "
        "below the margin, the broken line.",
    )
    head = ["artefact", "", "same answers", "served minus judged, in points", ""]
    yield table(head, _gate_rows(facts.gates), "figures gates")
    for one in facts.gates:
        if not one.passed:
            yield from _refused(one)
    yield tag("h3", "Causes of a loss between training and serving, checked by name")
    yield table(["cause", *(named(one.artefact) for one in facts.gates)], _check_rows(facts.gates))


def _gate_rows(gates: Sequence[Gate]) -> Iterator[list[Child]]:
    bounds = [bound for one in gates for bound in (one.precision, one.similarity) if bound is not None]
    low = min([-1.5 * one.margin for one in gates] + [bound.low for bound in bounds])
    high = max([one.margin for one in gates] + [bound.high for bound in bounds])
    for one in gates:
        same = f"{one.identical:,} of {evidence(one.prompts, one.families)}" if one.prompts else "not asked"
        words, pictures = list[Html](), list[Html]()
        for name, found in (("precision", one.precision), ("similarity", one.similarity)):
            if found is not None:
                words.append(tag("div", f"{name} {interval(found)}"))
                said = f"{name} {interval(found)}; {-one.margin:g} is allowed"
                pictures.append(figures.interval_strip(found, low, high, [-one.margin, 0.0], said))
        artefact = joined(named(one.artefact), tag("br"), tag("span", named(one.engine), class_="soft"))
        yield [artefact, outcome(one), same, joined(*words), joined(*pictures)]


def outcome(one: Gate) -> Html:
    """Whether an artefact passed, in a word."""
    return tag("span", "released" if one.passed else "refused", class_=f"verdict {'good' if one.passed else 'bad'}")


def _refused(one: Gate) -> Iterator[Html]:
    """Why an artefact was refused, and its first differences."""
    yield tag("h3", named(one.artefact), " was refused")
    yield tag("p", one.reason[:1].upper() + one.reason[1:])
    for difference in one.differences:
        scores = [
            "no score" if score is None else f"{score:.0f} points"
            for score in (difference.adapter_score, difference.served_score)
        ]
        sides = (
            tag("div", tag("h4", f"{name}, {score}"), quoted(text))
            for name, score, text in zip(
                ("judged adapter", "as served"), scores, (difference.adapter, difference.served), strict=True
            )
        )
        yield tag("div", *sides, class_="answers answer")


def _check_rows(gates: Sequence[Gate]) -> Iterator[list[Child]]:
    found = [{check.cause: check for check in one.checks} for one in gates]
    for cause in Cause:
        checks = [by_cause.get(cause) for by_cause in found]
        if any(check is not None for check in checks):
            yield [
                cause.value,
                *(
                    "not reached" if check is None
                    else joined(MARKS[check.result], " ", named(check.detail)) if check.result is Result.FAILED
                    else tag("span", MARKS[check.result], title=check.detail)
                    for check in checks
                ),
            ]  # fmt: skip


def worth(facts: Facts) -> Iterator[Html]:
    """What the migration is worth, each figure with its assumption; nothing where nobody worked it out."""
    if not facts.worth:
        return
    yield tag("h2", "What it is worth")
    rows = [[named(label), named(value), named(assumption, 400)] for label, value, assumption in facts.worth]
    yield table(["", "", "assumption"], rows, "figures worth")


def way_back(facts: Facts) -> Iterator[Html]:
    """How to roll back, with the commands."""
    name = shlex.quote(facts.run.name)
    steps: list[tuple[str, str]] = [
        (
            "At once, with the door at work: the service answers everything from the next request on, and your code "
            "stays as it is. In the app it is b on the take-over screen.",
            f"llamaduo-tui takeover {name} --roll-back",
        ),
        (
            "Without the door: set the base URL in your code back to the service's. There, nothing was changed.",
            "",
        ),
        (
            "Before the service is cancelled: rehearse the day on which it is gone, and the day on which the local "
            "model fails.",
            f"llamaduo-tui drill {name}",
        ),
    ]
    yield tag("h2", "How to roll back")
    yield tag(
        "ol",
        *(tag("li", text, *([quoted(command)] if command else [])) for text, command in steps),
    )
    yield tag(
        "p",
        "The way in has steps, too: in shadow the service answers and the local model is compared; as a canary it gets "
        "a share, which ends by itself where it is shown to be worse than the margin; then it answers first, with the "
        "service behind it. Keep the service's account and key for as long as you want this way back.",
    )


def rests_on(facts: Facts) -> Iterator[Html]:
    """The model, the data and the files behind the figures, and how to check them."""
    settings, status, final = facts.settings, facts.status, facts.final
    sealed_on, seal = facts.seal
    seconds = sum(stage.seconds for stage in facts.stages)
    judges = ", ".join(settings.judge_models)
    own = ", which also answered before: judges favour their own style"
    adapter = f"trained in round {final.best_round}, a LoRA adapter of rank {settings.local.adapter.r}"
    took = f"{status.calls:,} paid calls of the service, ${status.cost_usd:.2f}, {duration(seconds)} of work"
    rows: list[list[Child]] = [
        ["run", named(facts.run.name)],
        ["task", named(settings.task.topic or settings.task.name)],
        ["from", named(settings.service.model)],
        ["to", joined(named(facts.model), f", {adapter}")],
        ["judged by", named(f"{judges}{own if settings.own_judges else ''}")],
        ["sealed prompts", f"{final.sealed.evidence}, each bound with a risk of {percent(final.risk)}"],
        ["it took", took],
    ]
    rows += [["ended", facts.ended]] if facts.ended else []
    rows += [["sealed on", f"{sealed_on}, SHA-256 {seal}"]] if seal else []
    rows += [["record of the run", f"SHA-256 {status.record}"]] if status.record else []
    rows.append(["written by", f"llamaduo-tui {version()}, run format {facts.run.format}"])
    yield tag("h2", "What this rests on")
    yield table(["", ""], rows)
    check = "This checks every file of the run against its record, offline, and makes its decisions again:"
    yield tag("p", f"{check}", class_="soft")
    yield quoted(f"llamaduo-tui verify {shlex.quote(facts.run.name)}")


def to_sign(_: Facts) -> Iterator[Html]:
    """Room for a decision by people."""
    yield tag("h2", "Decision")
    lines = ("Decided: shadow, canary, first, or not", "The service is kept until", "Name and role", "Date, signature")
    rows = (tag("tr", tag("th", line, scope="row"), tag("td")) for line in lines)
    yield tag("div", tag("table", tag("tbody", *rows)), class_="sign")
