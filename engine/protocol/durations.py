"""Durations in plain words."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Seconds in the one or two units that matter: "45 s", "3 min 5 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
