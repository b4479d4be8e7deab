"""Presets for local models: settings that suit a model, and the facts by which to choose it without a network."""

from __future__ import annotations

import difflib
from functools import cache
from importlib import resources
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field

from engine.protocol import toml
from engine.protocol.errors import InputError
from engine.protocol.limits import MOST_TOKENS
from engine.settings.table import Table

ABOUT = "about"
"""The table of a preset's file that has its facts; the others are settings."""


class About(Table):
    """What is known of a model, by its publisher.

    `context` is its longest text in tokens. `tools` says what its chat template shows: definitions, calls and results,
    the definitions alone, or neither. `thinking` says that it thinks before it answers unless told not to. `languages`
    are codes as in ISO 639-1, or a number where the publisher names no list. `config` has the sizes in the model's own
    config.json, by transformers' names: from them its memory is found without a network.
    """

    title: str
    kind: Literal["instruct", "base"]
    parameters: int = Field(ge=1, le=10**15)
    licence: str
    gated: bool
    context: int = Field(ge=1, le=MOST_TOKENS)
    tools: Literal["full", "definitions", "none"]
    thinking: bool
    languages: list[str] | Annotated[int, Field(ge=1, le=10_000)]
    config: dict[str, Any]

    @property
    def label(self) -> str:
        """The title, and what to know of a model that the paper used."""
        return f"{self.title} (paper, base model)" if self.kind == "base" else self.title

    def knows(self, language: str) -> bool:
        """Whether the publisher says that it knows a language; a number counts as yes."""
        return isinstance(self.languages, int) or language in self.languages

    @property
    def spoken(self) -> str:
        """The languages, in few words."""
        if isinstance(self.languages, int):
            return f"over {self.languages} languages"
        return self.languages[0] if len(self.languages) == 1 else f"{len(self.languages)} languages"


class Preset(NamedTuple):
    """A preset: its name, what is known of its model, and the settings, as a file of settings has them."""

    name: str
    about: About
    values: dict[str, Any]

    @property
    def model(self) -> str:
        """The model's Hub id, or the name of the default model."""
        return str(self.values["local"]["model"])


def in_short(parameters: int) -> str:
    """A number of parameters: "135M", "1.7B"."""
    return f"{parameters / 1e9:.1f}B" if parameters >= 9.95e8 else f"{parameters / 1e6:.0f}M"


def names() -> list[str]:
    """The names of all presets."""
    return sorted(file.name.removesuffix(".toml") for file in _folder().iterdir() if file.name.endswith(".toml"))


@cache
def load(name: str) -> Preset:
    """A preset; don't change its values. Raises InputError for an unknown name."""
    if name not in names():
        nearest = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
        hint = f"did you mean {nearest[0]!r}? " if nearest else ""
        raise InputError(f"unknown preset {name!r}", f"{hint}to list them: llamaduo-tui presets")
    tables = toml.loads((_folder() / f"{name}.toml").read_text(encoding="utf-8"))
    return Preset(name, About.model_validate(tables.pop(ABOUT)), tables)


def load_all() -> list[Preset]:
    """All presets: instruct models first, each kind from small to large."""
    return sorted(map(load, names()), key=lambda preset: (preset.about.kind == "base", preset.about.parameters))


def _folder() -> Any:
    return resources.files("engine.settings") / "presets"
