"""Which artefact of a release to serve: one that passed its gate, and that a server on this machine can take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.protocol.errors import InputError
from engine.protocol.release import Gate, read_gates
from engine.release.artefact import read_artefact
from engine.release.engines import choose

ENGINES = ("vLLM", "llama.cpp", "transformers")
"""The names of the engines, those that answer fastest first."""


@dataclass(frozen=True, slots=True)
class Servable:
    """The artefact to serve; `passed_over` says of each released one, by name, why no engine here takes it."""

    artefact: str
    passed_over: tuple[tuple[str, str], ...] = ()


def servable(release: Path, artefact: str | None, vllm: str = "vllm", *, trusted: bool = False) -> Servable:
    """The named artefact, else the best of the released ones that an engine here serves.

    `trusted` allows code that comes with the model. Raises InputError where none is released, the named one was
    refused, or none can be served.
    """
    gates = read_gates(release)
    named = [gate for gate in gates if gate.artefact == artefact]
    if named and not named[0].passed:
        raise InputError(f"{artefact} was refused: {named[0].reason}", "serve another one, or release it again")
    chosen = [gate for gate in (gates if artefact is None else named) if gate.passed]
    if not chosen:
        raise _nothing(release, gates, artefact)
    works: list[tuple[tuple[int, ...], str]] = []
    problems: list[tuple[str, InputError]] = []
    for gate in chosen:
        try:
            works.append((_rank(release, gate, vllm, trusted=trusted), gate.artefact))
        except InputError as error:
            problems.append((gate.artefact, error))
    if works:
        return Servable(min(works)[1], tuple((name, error.message) for name, error in problems))
    if len(problems) == 1:
        raise problems[0][1]
    told = "; ".join(f"{name}: {error.message}" for name, error in problems)
    raise InputError(f"no released artefact can be served here: {told}", " or ".join(_hints(problems)))


def _rank(release: Path, gate: Gate, vllm: str, *, trusted: bool) -> tuple[int, ...]:
    """Ranks an artefact: the best engine first, a merged model before an adapter, then as judged, then the smallest.

    Raises InputError where no engine here serves it.
    """
    artefact = read_artefact(release, gate.artefact)
    engine = ENGINES.index(choose(artefact, "auto", vllm, trusted=trusted).name)
    size = sum(file.stat().st_size for file in (release / gate.artefact).iterdir() if file.is_file())
    return engine, artefact.format == "lora", gate.prompts - gate.identical, size


def _hints(problems: list[tuple[str, InputError]]) -> Iterator[str]:
    yield from dict.fromkeys(error.hint for _, error in problems)


def _nothing(release: Path, gates: list[Gate], artefact: str | None) -> InputError:
    names = ", ".join(gate.artefact for gate in gates if gate.passed)
    if names:
        return InputError(f"{release}: {artefact} is not released", f"released is: {names}")
    refused = "nothing that was written passed its gate" if gates else "nothing is released"
    return InputError(f"{release}: {refused}", "release it: llamaduo-tui release RUN")
