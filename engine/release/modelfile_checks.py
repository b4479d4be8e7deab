"""Whether a Modelfile says what a release writes: whatever else it says changes the answers that Ollama gives."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.release.artefact import GGUF_FILE
from engine.release.modelfile import modelfile
from engine.release.source import Source

INSTRUCTION = re.compile(r'^([A-Za-z]+)[ \t]+("""(?:.*?)"""|[^\n]*)', re.MULTILINE | re.DOTALL)

STOP, CONTEXT = "stop", "num_ctx"
"""Parameters that do not choose between tokens."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a Modelfile says: the arguments of each instruction but PARAMETER, and the values of each parameter."""

    instructions: Mapping[str, Sequence[str]]
    parameters: Mapping[str, Sequence[str]]


def read(text: str) -> Written:
    """The instructions of a Modelfile, in which comments and blank lines are none."""
    instructions, parameters = dict[str, list[str]](), dict[str, list[str]]()
    for word, argument in INSTRUCTION.findall(text):
        if word.upper() == "PARAMETER":
            name, _, value = argument.strip().partition(" ")
            parameters.setdefault(name, []).append(value.strip())
        else:
            instructions.setdefault(word.upper(), []).append(argument.strip())
    return Written(instructions, parameters)


def sampling_problem(source: Source, text: str) -> str:
    """How the sampling that a Modelfile asks for differs from that of the sealed test; "" where it doesn't."""
    wanted, own = read(modelfile(source, GGUF_FILE)).parameters, read(text).parameters
    for name in sorted({*wanted, *own} - {STOP, CONTEXT}):
        if own.get(name) != wanted.get(name):
            found = " and ".join(own.get(name, ["nothing"]))
            meant = " and ".join(wanted.get(name, ["nothing"]))
            return f"the Modelfile has {name} {found[:80]}; for the sampling of the sealed test it is {meant}"
    return ""


def text_problem(source: Source, text: str) -> str:
    """How a Modelfile frames chats otherwise than the release, by template, stops or instructions; "" where it doesn't.

    Where its folder is and how long the context is are checks of their own.
    """
    wanted, own = read(modelfile(source, GGUF_FILE)), read(text)
    if own.parameters.get(STOP) != wanted.parameters.get(STOP):
        return "the Modelfile has other texts that end an answer than training"
    for name in sorted({*wanted.instructions, *own.instructions} - {"FROM"}):
        if own.instructions.get(name) != wanted.instructions.get(name):
            return f"the Modelfile has another {name} than the release writes"
    return ""
