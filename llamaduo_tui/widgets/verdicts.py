"""The judge's verdicts on a response, every repeat with its reasons, and a person's review of them."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from engine.protocol.commands import Label
from engine.protocol.rows import CONTRACT, Verdict
from llamaduo_tui.views import phrases
from llamaduo_tui.views.review import JudgedResponse
from llamaduo_tui.views.text import clean, one_line

REASON_CHARS = 4_000


class Verdicts(VerticalScroll):
    """The judge's scores and reasons; its frame always shows the mean scores and the person's review."""

    HELP = """
## Judge

The frame shows the mean scores of this response and your review. Below are all verdicts with their reasons: the arrows
scroll them.
"""
    DEFAULT_CSS = """
    Verdicts {
        height: auto; max-height: 10; padding: 0 1; background: $surface; scrollbar-size-vertical: 1;
        border: round $border-blurred; border-title-color: $text; border-subtitle-color: $text-muted;
        &:focus { border: round $accent; }
        & > Static { height: auto; }
        &.-nothing { display: none; }
    }
    """

    def compose(self) -> ComposeResult:
        yield Static(id="verdicts", markup=False)

    def show(self, judged: JudgedResponse | None, label: Label | None) -> None:
        """Show the verdicts on one response, and its newest label if it has one; nothing without a response."""
        self.set_class(judged is None, "-nothing")
        if judged is None:
            return
        verdicts = judged.verdicts
        self.border_title = title(judged, label)
        self.border_subtitle = Content(_count(verdicts))
        lines = [_verdict(verdict) for verdict in verdicts]
        if label is not None and label.note:
            lines.insert(0, Content.styled(f"“{one_line(label.note, 2_000)}”", "bold $text-accent"))
        if not verdicts:
            lines.append(Content.styled("Not judged yet.", "$foreground-muted"))
        self.query_one(Static).update(Content("\n").join(lines))


def title(judged: JudgedResponse, label: Label | None) -> Content:
    """The mean scores of a response and the person's review, which the frame shows on small terminals, too."""
    precision, similarity = judged.scores
    known = precision is not None and similarity is not None
    scores = f"Judge · precision {precision:.0f}, similarity {similarity:.0f}" if known else "Judge"
    review = f"  {review_line(label)}" if label is not None else ""
    return Content.assemble(scores, (review, "bold $text-accent"))


def _count(verdicts: list[Verdict]) -> str:
    judges = len({verdict.judge for verdict in verdicts})
    return phrases.count(len(verdicts), "verdict") + (f" by {judges} judges" if judges > 1 else "")


def review_line(label: Label) -> str:
    """A person's review on one line, without its note."""
    parts = []
    if label.agrees is not None:
        parts.append("✓ you agree" if label.agrees else "✗ you disagree")
    if label.precision is not None and label.similarity is not None:
        parts.append(f"precision {label.precision:.0f}, similarity {label.similarity:.0f}")
    if label.flagged:
        parts.append("⚑ bad reference")
    if label.note:
        parts.append("✎ note")
    return " · ".join(parts) or "you withdrew your review"


def _verdict(verdict: Verdict) -> Content:
    judge = (f"   {_judge(verdict)}", "$foreground-muted")
    if verdict.precision is None or verdict.similarity is None:
        return Content.assemble(("! no verdict", "bold $text-error"), judge, f"\n  {_reason(verdict.error)}")
    scores = (f"precision {verdict.precision:.0f}   similarity {verdict.similarity:.0f}", "bold")
    precise, similar = _reason(verdict.precision_reason), _reason(verdict.similarity_reason)
    if precise == similar:
        return Content.assemble(scores, judge, f"\n  {precise}")
    return Content.assemble(
        scores,
        judge,
        ("\n  precision: ", "$foreground-muted"),
        precise,
        ("\n  similarity: ", "$foreground-muted"),
        similar,
    )


def _judge(verdict: Verdict) -> str:
    """The judge's name and repeat; a broken contract has neither."""
    return "contract" if verdict.judge == CONTRACT else f"{one_line(verdict.judge, 60)}, repeat {verdict.repeat + 1}"


def _reason(text: str) -> str:
    return clean(text[:REASON_CHARS]) + ("…" if len(text) > REASON_CHARS else "")
