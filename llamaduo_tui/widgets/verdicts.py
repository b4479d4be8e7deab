"""The judge's verdicts on a response, every repeat with its reasons, and a person's review of them."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from engine.protocol.commands import Label
from engine.protocol.rows import CONTRACT, Verdict
from llamaduo_tui.views import phrases
from llamaduo_tui.views.text import clean, one_line

REASON_CHARS = 4_000


class Verdicts(Static):
    """The judge's scores and reasons, then the label."""

    DEFAULT_CSS = """
    Verdicts {
        height: auto; padding: 0 1; background: $surface;
        border: round $border-blurred; border-title-color: $text;
    }
    """

    def show(self, verdicts: list[Verdict], label: Label | None) -> None:
        """Show the verdicts on one response, and its newest label if it has one."""
        judges = len({verdict.judge for verdict in verdicts})
        count = phrases.count(len(verdicts), "verdict")
        self.border_title = Content(f"Judge · {count}{f' by {judges} judges' if judges > 1 else ''}")
        lines = [_review(label)] if label else []
        lines += [_verdict(verdict) for verdict in verdicts]
        if not verdicts:
            lines.append(Content.styled("Not judged yet.", "$foreground-muted"))
        self.update(Content("\n").join(lines))


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


def _review(label: Label) -> Content:
    """A person's review on one line."""
    parts = []
    if label.agrees is not None:
        parts.append("✓ you agree" if label.agrees else "✗ you disagree")
    if label.precision is not None and label.similarity is not None:
        parts.append(f"precision {label.precision:.0f}, similarity {label.similarity:.0f}")
    if label.flagged:
        parts.append("⚑ bad reference")
    if label.note:
        parts.append(f"“{one_line(label.note)}”")
    return Content.styled(" · ".join(parts) or "you withdrew your review", "bold $text-accent")
