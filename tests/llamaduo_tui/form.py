"""A form with settings of its own, alone in an app, and what its checks are made to say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from frozen import until
from textual.pilot import Pilot
from textual.widgets import Static
from typing_fast import settled

from engine.preflight.report import Advice, ModelAdvice, ModelChoice
from engine.service.catalog import Listed
from engine.settings import preset
from llamaduo_tui.key_turns import KeyTurns
from llamaduo_tui.screens.configure import ConfigureScreen
from llamaduo_tui.views.draft import Draft

SETTINGS = """\
[task]
name = "tickets"

[coverage]
source = "rows.jsonl"   # the tickets of March

[service]
model = "sandbox"

[finetune]
# three is enough
epochs = 3
"""
ESTIMATE = {
    "train": 12, "dev": 2, "test": 6, "calls_most": 234,
    "tokens_most": 181_093, "usd_most": 1.27, "seconds_most": 416,
    "memory_bytes": 2**30, "memory_free_bytes": 20 * 2**30, "parameters": 135_000_000, "device": "A box (cpu)",
    "batch": False,
    "phases": [
        {"name": "round 0", "calls": 60, "tokens": 45_906, "usd": 0.33, "seconds": 26},
        {"name": "round 1", "calls": 58, "tokens": 44_729, "usd": 0.31, "seconds": 130},
        {"name": "round 2", "calls": 56, "tokens": 44_552, "usd": 0.30, "seconds": 234},
        {"name": "sealed test", "calls": 60, "tokens": 45_906, "usd": 0.33, "seconds": 26},
    ],
}  # fmt: skip
MODELS = [
    Listed("gpt-4o", "openai", 2.5, 10.0, 128_000),
    Listed("gpt-4o-mini", "openai", 0.15, 0.6, 128_000),
    Listed("azure/gpt-4o", "azure", 2.5, 10.0, None),
    Listed(f"azure/{'long-' * 10}gpt-4o", "azure", 0.00071, 10.0, 1_047_576),
    Listed("mistral/mistral-large-latest", "mistral", 2.0, 6.0, 131_072),
]
NOTE = "2 dev prompts are too few to open the sealed test before the last round, even with perfect scores: it takes 29"
POWER = {
    "units": 6, "unit": "prompt", "scored": "precision", "target": 85.0, "relative": False, "other": 75.0,
    "recognised": None, "steps": [{"true": 90.0, "more": 140, "rows": 560}, {"true": 88.0, "more": 420, "rows": 1700}],
    "assumed": "scores as judges usually give",
}  # fmt: skip
PASSED = {"problems": [], "notes": [NOTE], "estimate": ESTIMATE, "power": POWER}
FAILED = {
    "problems": [{"error": "gpt-4o: no API key: OPENAI_API_KEY", "hint": "export it"}],
    "notes": [],
    "estimate": ESTIMATE,
}  # fmt: skip


def choice() -> ModelChoice:
    """What a box with little memory would say."""
    advices: dict[str, tuple[Advice, str]] = {
        "smollm2-135m": ("fits", "training takes 2.0 GiB in 16 bits; a round takes about 6 min"),
        "smollm2-360m": ("first", "training takes 3.4 GiB in 16 bits; a round takes about 15 min; the largest [b]x"),
        "gemma-3-270m": ("unsuited", "its publisher names no de (40%), which your texts seem to be in"),
    }
    models = []
    for found in preset.load_all():
        advice, reason = advices.get(found.name, ("large", "training takes 9.9 GiB in 16 bits, and 4.0 GiB are free"))
        models.append(
            ModelAdvice(
                name=found.name, model=found.model, title=found.about.title, licence=found.about.licence,
                gated=found.about.gated, parameters=found.about.parameters, context=found.about.context,
                tools=found.about.tools, spoken=found.about.spoken, training_bytes=1, nf4_bytes=1, answering_bytes=1,
                advice=advice, reason=reason,
            )
        )  # fmt: skip
    return ModelChoice(machine="A box (cpu), 4.0 GiB free", data="20 pairs; no tools", models=tuple(models))


class Host(KeyTurns[Path | None]):
    """An app with just this screen, which ends with its result."""

    def __init__(self, file: Path | None) -> None:
        super().__init__()
        self.file = file

    def on_mount(self) -> None:
        self.push_screen(ConfigureScreen(Draft.open(self.file)), self.exit)


async def settle(pilot: Pilot[Any]) -> None:
    """Wait until what was typed has done all that it does, is checked, and every reader is done."""
    await pilot.pause()
    await settled(pilot)
    await until(pilot, lambda: all(node.is_mounted for node in pilot.app.screen.walk_children(with_self=True)))
    screen = pilot.app.screen
    if isinstance(screen, ConfigureScreen):
        screen.validate()
    groups = ("configure.preview", "configure.preflight", "presets.look")
    await until(pilot, lambda: not any(w.is_running for w in pilot.app.workers if w.group in groups))
    await pilot.pause()


def text_of(pilot: Pilot[Any], selector: str) -> str:
    return str(pilot.app.screen.query_one(selector, Static).content)
