"""Which artefact of a release to serve: one that passed its gate, and that a server on this machine can take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.protocol.errors import InputError
from engine.protocol.release import Gate, read_gates
from engine.release.artefact import read_artefact
from engine.release.engines import choose


@dataclass(frozen=True, slots=True)
class Servable:
    """The artefact to serve; `passed_over` says of each released one before it, by name, why it is not served."""

    artefact: str
    passed_over: tuple[tuple[str, str], ...] = ()


def servable(release: Path, artefact: str | None, vllm: str = "vllm", *, trusted: bool = False) -> Servable:
    """The named artefact, else the first released one that an engine here serves.

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
    problems: list[tuple[str, InputError]] = []
    for gate in chosen:
        try:
            choose(read_artefact(release, gate.artefact), "auto", vllm, trusted=trusted)
        except InputError as error:
            problems.append((gate.artefact, error))
        else:
            return Servable(gate.artefact, tuple((name, error.message) for name, error in problems))
    if len(problems) == 1:
        raise problems[0][1]
    told = "; ".join(f"{name}: {error.message}" for name, error in problems)
    raise InputError(f"no released artefact can be served here: {told}", " or ".join(_hints(problems)))


def _hints(problems: list[tuple[str, InputError]]) -> Iterator[str]:
    yield from dict.fromkeys(error.hint for _, error in problems)


def _nothing(release: Path, gates: list[Gate], artefact: str | None) -> InputError:
    names = ", ".join(gate.artefact for gate in gates if gate.passed)
    if names:
        return InputError(f"{release}: {artefact} is not released", f"released is: {names}")
    refused = "nothing that was written passed its gate" if gates else "nothing is released"
    return InputError(f"{release}: {refused}", "release it: llamaduo-tui release RUN")
