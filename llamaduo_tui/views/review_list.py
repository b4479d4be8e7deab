"""The list of a review: which prompts of a round it has and in which order, and how far the drawn answers are reviewed.

Pure functions over entries that are in memory, quick enough for a key press with 100,000 of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any, Literal

from engine.evaluation.drawn import Progress, progress
from engine.protocol.commands import Label, ResponseKey
from llamaduo_tui.views.review import LoadedRound, PromptEntry, reviewed

DISAGREES = 10.0
"""Points between the verdicts on one response from which on they count as disagreeing."""

ReviewSort = Literal["worst", "drawn", "best", "change", "spread", "longest", "id"]
ReviewFilter = Literal[
    "all",
    "changed",
    "regressed",
    "improved",
    "spread",
    "opposed",
    "broken",
    "errors",
    "unreviewed",
    "reviewed",
    "flagged",
    "bookmarked",
]
Labelled = Mapping[ResponseKey, Label]
"""The label of each response that has one."""

Contract = Literal["kept", "broken"]
Agreement = Literal["agreed", "opposed", "together", "apart"]

SORTS: list[tuple[str, ReviewSort]] = [
    ("worst first", "worst"),
    ("drawn for you", "drawn"),
    ("best first", "best"),
    ("most changed", "change"),
    ("most disagreement", "spread"),
    ("longest first", "longest"),
    ("by id", "id"),
]
FILTERS: list[tuple[str, ReviewFilter]] = [
    ("all prompts", "all"),
    ("changed", "changed"),
    ("regressed", "regressed"),
    ("improved", "improved"),
    ("repeats disagree", "spread"),
    ("you disagree", "opposed"),
    ("contract broken", "broken"),
    ("judge errors", "errors"),
    ("not reviewed", "unreviewed"),
    ("reviewed", "reviewed"),
    ("flagged", "flagged"),
    ("bookmarked", "bookmarked"),
]
CONTRACTS: list[tuple[str, Contract]] = [("kept", "kept"), ("broken", "broken")]
AGREEMENTS: list[tuple[str, Agreement]] = [
    ("you and the judge agree", "agreed"),
    ("you and the judge disagree", "opposed"),
    ("its verdicts agree", "together"),
    ("its verdicts disagree", "apart"),
]


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What a list is narrowed to, on top of its filter; None for any.

    `lowest` and `highest` limit a prompt's mean score, in points, `shortest` and `longest` the characters of its
    longest response.
    """

    lowest: float | None = None
    highest: float | None = None
    kind: str | None = None
    contract: Contract | None = None
    agreement: Agreement | None = None
    shortest: int | None = None
    longest: int | None = None

    @property
    def words(self) -> list[str]:
        """Each condition in a few words."""
        contracts, agreements = ({key: name for name, key in names} for names in (CONTRACTS, AGREEMENTS))
        return [
            *_range("score", self.lowest, self.highest),
            *([f"kind {self.kind}"] if self.kind is not None else []),
            *([f"contract {contracts[self.contract]}"] if self.contract else []),
            *([agreements[self.agreement]] if self.agreement else []),
            *_range("length", self.shortest, self.longest),
        ]


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of prompts besides their answers: reviews, bookmarks, kinds, and the matches of a search."""

    labels: Labelled = field(default_factory=dict)
    bookmarks: Set[str] = frozenset()
    kinds: Mapping[str, str] = field(default_factory=dict)
    matches: Set[str] | None = None


def arrange(
    loaded: LoadedRound,
    known: Known,
    sort: ReviewSort = "worst",
    wanted: ReviewFilter = "all",
    narrowing: Narrowing | None = None,
) -> list[PromptEntry]:
    """The entries of a round that pass a filter, a narrowing and a search, sorted; those without scores come last.

    The order "drawn" has only the prompts of the drawn answers, as they were drawn.
    """
    entries: Iterable[PromptEntry] = loaded.entries.values()
    for test in (*_searched(known), *_filter(loaded, known, wanted), *_tests(loaded, known, narrowing or Narrowing())):
        entries = filter(test, entries)
    if sort == "drawn":
        places = {answer.id: place for place, answer in enumerate(loaded.drawn)}
        return sorted((entry for entry in entries if entry.id in places), key=lambda entry: places[entry.id])
    return sorted(entries, key=_KEYS[sort])


def drawn_progress(loaded: LoadedRound, labels: Labelled) -> Progress:
    """How many of a round's drawn answers have a person's scores."""
    given = (labels.get((loaded.number, answer.id, answer.sample)) for answer in loaded.drawn)
    return progress([label is not None and label.scored for label in given])


def queue_words(done: Progress) -> str:
    """How far the drawn answers are reviewed, and what is left until scores are corrected."""
    if not done.left:
        return f"{done.drawn} drawn, all reviewed: the report gives their mean"
    skipped = f", {done.skipped} skipped" if done.skipped else ""
    return f"{done.drawn} drawn, {done.reviewed} reviewed{skipped}; {done.left} more until scores are corrected"


def unread(loaded: LoadedRound, entries: Iterable[PromptEntry], labels: Labelled) -> list[ResponseKey]:
    """The responses that a person may agree with as they are listed: fully judged, and without a review.

    Drawn answers are left out: they correct the scores because a person has read each.
    """
    drawn = {(answer.id, answer.sample) for answer in loaded.drawn}
    keys = (
        (loaded.number, entry.id, sample)
        for entry in entries
        if entry.score is not None and not entry.errors
        for sample in entry.samples
        if (entry.id, sample) not in drawn
    )
    return [key for key in keys if key not in labels or not reviewed(labels[key])]


def unflagged(loaded: LoadedRound, entries: Iterable[PromptEntry], labels: Labelled) -> list[ResponseKey]:
    """The first response of each prompt whose reference nobody has flagged in this round."""
    number = loaded.number
    flagged = {id_ for (round_, id_, _), label in labels.items() if round_ == number and label.flagged}
    return [(number, entry.id, entry.samples[0]) for entry in entries if entry.id not in flagged]


Test = Callable[[PromptEntry], bool]

_KEYS: dict[str, Callable[[PromptEntry], Any]] = {
    "worst": lambda entry: (entry.mean is None, entry.mean),
    "best": lambda entry: -(entry.mean or 0.0),
    "change": lambda entry: -abs(entry.change or 0.0),
    "spread": lambda entry: -entry.spread,
    "longest": lambda entry: -entry.length,
    "id": lambda entry: entry.id,
}


def _searched(known: Known) -> list[Test]:
    matches = known.matches
    return [] if matches is None else [lambda entry: entry.id in matches]


def _filter(loaded: LoadedRound, known: Known, wanted: ReviewFilter) -> list[Test]:
    match wanted:
        case "changed" | "regressed" | "improved":
            worse, better = _moved(loaded)
            moved = worse | better if wanted == "changed" else worse if wanted == "regressed" else better
            return [lambda entry: entry.id in moved]
        case "spread":
            return [lambda entry: entry.spread >= DISAGREES]
        case "broken":
            return [lambda entry: entry.broken]
        case "errors":
            return [lambda entry: bool(entry.errors)]
        case "bookmarked":
            return [lambda entry: entry.id in known.bookmarks]
        case "opposed":
            return _labelled(loaded, known, lambda label: label.agrees is False)
        case "flagged":
            return _labelled(loaded, known, lambda label: label.flagged)
        case "reviewed":
            return _labelled(loaded, known, reviewed)
        case "unreviewed":
            return _labelled(loaded, known, reviewed, other=True)
    return []


def _tests(loaded: LoadedRound, known: Known, wanted: Narrowing) -> list[Test]:
    tests: list[Test] = []
    if wanted.lowest is not None or wanted.highest is not None:
        low, high = _limits(wanted.lowest, wanted.highest)
        tests.append(lambda entry: (mean := entry.mean) is not None and low <= mean <= high)
    if wanted.kind is not None:
        tests.append(lambda entry: known.kinds.get(entry.id) == wanted.kind)
    if wanted.contract is not None:
        broken = wanted.contract == "broken"
        tests.append(lambda entry: entry.broken is broken)
    if wanted.agreement in ("together", "apart"):
        apart = wanted.agreement == "apart"
        tests.append(lambda entry: entry.score is not None and (entry.spread >= DISAGREES) is apart)
    elif wanted.agreement is not None:
        agrees = wanted.agreement == "agreed"
        tests += _labelled(loaded, known, lambda label: label.agrees is agrees)
    if wanted.shortest is not None or wanted.longest is not None:
        least, most = _limits(wanted.shortest, wanted.longest)
        tests.append(lambda entry: least <= entry.length <= most)
    return tests


def _labelled(loaded: LoadedRound, known: Known, said: Callable[[Label], bool], other: bool = False) -> list[Test]:
    """The prompts with a response whose label says so in this round, or the `other` ones."""
    ids = {id_ for (number, id_, _), label in known.labels.items() if number == loaded.number and said(label)}
    return [(lambda entry: entry.id not in ids) if other else (lambda entry: entry.id in ids)]


def _moved(loaded: LoadedRound) -> tuple[set[str], set[str]]:
    """The ids of the prompts that got worse and better: by the decision, without one by their scores alone."""
    if loaded.changes is not None:
        worse, better = loaded.changes.regressed, loaded.changes.improved
        return {change.id for change in worse}, {change.id for change in better}
    changed = [(entry.id, entry.change) for entry in loaded.entries.values() if entry.change]
    return {id_ for id_, change in changed if change < 0}, {id_ for id_, change in changed if change > 0}


def _limits(low: float | None, high: float | None) -> tuple[float, float]:
    return (float("-inf") if low is None else low), (float("inf") if high is None else high)


def _range(name: str, low: float | None, high: float | None) -> list[str]:
    """A range in words: "score 40–60", "length from 2,000", "score up to 30"."""
    if low is None and high is None:
        return []
    if low is None:
        return [f"{name} up to {high:,.15g}"]
    return [f"{name} from {low:,.15g}"] if high is None else [f"{name} {low:,.15g}–{high:,.15g}"]
