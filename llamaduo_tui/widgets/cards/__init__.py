"""The cards that ask a run's questions: a module for each kind of question with a card of its own."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from llamaduo_tui.widgets.cards.card import Card


def card_classes() -> list[type[Card]]:
    """A card for each kind of question that has its own, and last the one that asks all other kinds."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        import_module(module.name)
    return [*Card.__subclasses__(), Card]
