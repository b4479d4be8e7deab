"""Screens that read, once they are open, what most of their keys are about."""

from __future__ import annotations

LEAVING = ("escape", "q", "ctrl+c", "ctrl+q", "ctrl+z")
"""Keys that mean the same before that is read."""


class Opening:
    """Lets keys that were typed ahead wait until the screen has read, or cannot read, what they are about."""

    ready = False

    def awaits(self, key: str) -> bool:
        """Whether a key has to wait."""
        return not self.ready and key not in LEAVING
