"""What a run would take, what would fail, and whether it may start."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Button, OptionList, Static
from textual.widgets.option_list import Option

from llamaduo_tui import preflight, words
from llamaduo_tui.draft import Problem
from llamaduo_tui.preflight import Preflight
from llamaduo_tui.text import one_line

_ABOUT = (
    "Press F5: it loads your data, finds the model, and estimates money, time and memory. Nothing is started or paid."
)


class PreflightPanel(Vertical):
    """The problems with the settings, the pre-flight's findings, and the button that starts the run."""

    def compose(self) -> ComposeResult:
        problems = OptionList(id="problems", markup=False)
        problems.border_title = "Problems"
        yield problems
        with VerticalScroll(id="preflight") as findings:
            findings.border_title = "Pre-flight"
            yield Static(Content(_ABOUT), id="findings")
        yield Static(id="why")
        yield Button("Start the run", id="start", disabled=True)

    def list_problems(self, problems: list[Problem]) -> None:
        """List what is wrong with the settings; a problem's place in the list is its option's index."""
        listed = self.query_one("#problems", OptionList)
        listed.display = bool(problems)
        listed.border_title = f"Problems ({len(problems)})"
        chosen = listed.highlighted or 0
        listed.clear_options()
        listed.add_options(Option(Content(f"✗ {one_line(problem.message, 200)}")) for problem in problems)
        listed.highlighted = min(chosen, len(problems) - 1) if problems else None

    def show(self, result: Preflight | None, current: bool, seconds: float | None) -> None:
        """Show a result, whether it is of the settings as they are now; `seconds` are those a check is at work."""
        parts: list[Content | str | tuple[str, str]] = []
        if seconds is not None:
            parts.append((f"Checking … {words.stopwatch(seconds)}   F5 cancels", "$text-accent"))
        elif result is None:
            parts.append(_ABOUT)
        else:
            parts += _told(result, current)
        self.query_one("#findings", Static).update(Content.assemble(*parts))

    def allow(self, why_not: str) -> None:
        """Enable the start where nothing speaks against it, else say what does."""
        button = self.query_one("#start", Button)
        button.disabled = bool(why_not)
        button.variant = "default" if why_not else "success"
        said = Content.assemble(("Can't start yet: ", "$text-warning"), why_not) if why_not else Content("✓ Ready")
        self.query_one("#why", Static).update(said)


def _told(result: Preflight, current: bool) -> list[Content | str | tuple[str, str]]:
    parts: list[Content | str | tuple[str, str]] = []
    if not current:
        parts.append(("! Of earlier settings: F5 looks again\n\n", "$text-warning"))
    for finding in result.findings:
        parts += [("✗ ", "$text-error"), finding.error, "\n"]
        parts += [(f"→ {finding.hint}\n\n", "dim")] if finding.hint else ["\n"]
    if result.passed:
        parts.append(("✓ Nothing would fail\n\n", "$text-success"))
    for name, fact in preflight.facts(result.quote) if result.quote else []:
        first, *more = fact.split("\n")
        parts += [(f"{name:<8} ", "bold"), first, "\n", *[(f"{'':<8} {line}\n", "dim") for line in more]]
    if result.quote:
        parts.append(("\nTimes are rough: measured here for a moment.", "dim"))
    return parts
