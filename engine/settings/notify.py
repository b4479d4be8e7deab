"""[notify]: where a run's worker sends word when the run needs a person, and which of it may stand in a file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from engine.protocol.errors import InputError
from engine.protocol.limits import LONGEST_S
from engine.settings.table import Table

VARIABLE = re.compile(r"\$(?:\{(\w+)\}|([A-Za-z_]\w*))")
"""$NAME or ${NAME}: a variable of the environment."""

OPEN_SCHEMES = frozenset({"http", "https", "ntfy", "ntfys", "json", "jsons", "xml", "xmls", "form", "forms"})
"""Schemes of addresses whose host is a server; in others, such as tgram://, tokens stand in its place."""

_MAY_BE_SECRET = PydanticCustomError(
    "secret", "may hold a secret: put it into an environment variable, and write $NAME in its place"
)


def _is_random(word: str) -> bool:
    """Whether a part of a path looks like a key."""
    mixed = re.search(r"[0-9]", word) and re.search(r"[A-Za-z]", word)
    return len(word) >= (16 if mixed else 24)


def _no_secret(address: str) -> str:
    """The address. Raises a validation error where it may hold a secret, or is none."""
    if VARIABLE.fullmatch(address):
        return address
    scheme, separator, rest = VARIABLE.sub("", address).partition("://")
    if not scheme or not separator:
        raise PydanticCustomError("address", "must be an address such as https://host/path, or $NAME")
    host, _, path = rest.partition("/")
    opaque = scheme.lower() not in OPEN_SCHEMES
    user = host.rpartition("@")[0]
    if (opaque and not VARIABLE.search(address)) or re.search(r"\w", user):
        raise _MAY_BE_SECRET
    if any(map(_is_random, re.findall(r"[\w-]+", rest if opaque else path))) or re.search(
        r"\w", rest.partition("?")[2]
    ):
        raise _MAY_BE_SECRET
    return address


Target = Annotated[str, AfterValidator(_no_secret)]


class Notify(Table):
    """Messages from the worker when a run waits for you, fails, ends, or has long had no answer from the service.

    They hold scores, costs and the command to answer, never your data. Write $NAME for what is secret in an address:
    it is read from the environment. `llamaduo-tui check FILE --notify` sends a test message.
    """

    command: str | None = Field(
        None,
        description="A command line, split into words as a shell does. The message is its standard input, and the "
        "variables LLAMADUO_TITLE, LLAMADUO_RUN and LLAMADUO_EVENT have its parts.",
    )
    webhook: Target | None = Field(
        None, description="An address that gets the message as JSON, by POST; Slack and Mattermost read its `text`."
    )
    apprise: list[Target] = Field(
        [],
        description='Addresses as Apprise writes them: "ntfys://ntfy.sh/$NTFY_TOPIC", "$MAIL_URL" for mailto://..., '
        "Telegram, Discord, Teams, ...",
    )
    silent_minutes: float = Field(
        30.0,
        gt=0,
        le=LONGEST_S / 60,
        description="Minutes without an answer from the service after which a message says so, once.",
    )

    @property
    def variables(self) -> set[str]:
        """The environment variables that its addresses name."""
        return {name for address in self._addresses for name in named(address)}

    @property
    def _addresses(self) -> list[str]:
        return [*([self.webhook] if self.webhook else []), *self.apprise]

    def missing(self, environment: Mapping[str, str]) -> list[str]:
        """The variables that it names and the environment lacks."""
        return sorted(name for name in self.variables if not environment.get(name))

    @property
    def targets(self) -> list[str]:
        """What its targets are called: "command", "webhook", "apprise 1"."""
        names = [name for name, value in (("command", self.command), ("webhook", self.webhook)) if value]
        return names + [f"apprise {number}" for number, _ in enumerate(self.apprise, start=1)]


def named(address: str) -> Iterable[str]:
    """The variables in an address."""
    return (one or other for one, other in VARIABLE.findall(address))


def filled(address: str, environment: Mapping[str, str]) -> str:
    """An address with the values of its variables. Raises InputError for one that is not in the environment."""
    for name in named(address):
        if not environment.get(name):
            raise InputError(f"{name} is not in the environment", f"export {name}=..., then resume the run")
    return VARIABLE.sub(lambda found: environment[found[1] or found[2]].strip(), address)
