"""The local model of a take-over: a server that is named, the one that `serve` keeps, or a released artefact."""

from __future__ import annotations

import os
from dataclasses import dataclass

from engine.protocol.errors import InputError
from engine.protocol.release import read_gates, read_served
from engine.protocol.run_dir import Run
from engine.release.artefact import read_artefact
from engine.release.servable import servable
from engine.settings.load import settings_of

LOCAL_KEY = "LLAMADUO_TAKEOVER_LOCAL_KEY"
"""The environment variable in which a door gets the key of the server that its keeper starts."""


@dataclass(frozen=True, slots=True)
class Local:
    """Where the local model is: a server at `address`, or the `artefact` to start one of; the other one is "".

    `model` is its name there, and `key_env` the environment variable with its key, None for none.
    """

    address: str
    artefact: str
    model: str
    key_env: str | None


def released_local(run: Run, artefact: str | None, *, start: bool) -> Local:
    """What `serve` serves of a run, else the artefact to start; only that where it must be one of one's own to `start`.

    Raises InputError where nothing is released, or the key of the served model is not in the environment.
    """
    served = None if start else read_served(run.release)
    if served is None or (artefact is not None and served.artefact != artefact):
        chosen = released_artefact(run, artefact)
        return Local("", chosen, read_artefact(run.release, chosen).model, LOCAL_KEY)
    if not served.up:
        raise InputError(
            f"{run.name}: the server of {served.artefact} is still starting",
            f"wait until it serves: llamaduo-tui serve {run.name} --status",
        )
    if served.key_env and not os.environ.get(served.key_env):
        raise InputError(
            f"{run.name} is served with a key, which is not in the environment", f"export {served.key_env}=..."
        )
    return Local(served.base_url, "", served.model, served.key_env)


def trusts_code(run: Run) -> bool:
    """Whether the run's settings allow the code that comes with its model, by the model's name."""
    return settings_of(run).local.trust_remote_code is not None


def released_artefact(run: Run, artefact: str | None) -> str:
    """The artefact of a run to start a server of: the named one, else the first that works here.

    Raises InputError where there is none.
    """
    gates = read_gates(run.release)
    if not gates or (artefact is None and not any(gate.passed for gate in gates)):
        refused = "nothing that was written passed its gate" if gates else "nothing is released"
        raise InputError(
            f"{run.name}: {refused}, so there is no local model to ask",
            f"release it first: llamaduo-tui release {run.name}; or name a server with OpenAI's API: --local URL",
        )
    return servable(run.release, artefact, trusted=trusts_code(run)).artefact
