"""Checks a run from its own folder, offline: what holds, what does not, and what nobody can tell."""
