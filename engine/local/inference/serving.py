"""The user's command that gets a round's model to an endpoint, and the endpoint that then has it."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import httpx

from engine.local.inference.base import Place
from engine.local.inference.merged import write_merged
from engine.local.inference.requests import Json, Requests
from engine.local.inference.seeds import adapter_name
from engine.local.inference.served import ServedProcess, free_port
from engine.local.resolve import ResolvedModel
from engine.protocol.durations import duration
from engine.protocol.errors import StageError
from engine.protocol.processes import how_ended
from engine.protocol.secrets import key_of, secret_names
from engine.settings.schema import Migration

AT_ONCE = 16
"""Requests in flight, as long as inference.batch_size is not set."""

POLL_S = 0.5

START_POLLS = 3600
"""Polls until the endpoint must have the model: weights may be converted first."""

LISTED_POLLS = 60
"""Polls for which an endpoint that is up, or whose command is done, may not list the model yet."""

SILENT_POLLS = 3600
"""Polls without a response after which an endpoint is lost."""

PATIENCE_S = 300.0
"""How long a server may be busy or away: some load a model at the first request."""

PLACEHOLDER = re.compile(r"\{(model|adapter|merged|name|port|folder)\}")

CHECK_COMMAND = "check inference.serve"


class Serving:
    """An endpoint with the round's model; `name` is the model to ask for.

    The command is a server, which ends with this and with the process that made it. Where `api_base` is set it is a
    step, which must end by itself, with status 0, once the server there has the model.
    """

    def __init__(self, settings: Migration, model: ResolvedModel, place: Place) -> None:
        """Start the command; it takes time until `wait` returns."""
        self._settings, self._inference, self._model, self._place = settings, settings.inference, model, place
        self._own_port = free_port()
        self._files = place.folder / "serve"
        untuned = self._inference.untuned_model if place.adapter is None else None
        self.name = self._filled(untuned or self._inference.model)
        self._requests = Requests(
            name="the endpoint",
            base=self._inference.api_base or f"http://127.0.0.1:{self._own_port}/v1",
            key=key_of(self._inference.api_key_env, "inference.api_key_env"),
            hint="start it, then resume",
            at_once=self._inference.batch_size or AT_ONCE,
            patience_s=PATIENCE_S,
            watch=self._watch,
        )
        self._process = None if untuned else self._start()

    def wait(self) -> None:
        """Wait until the endpoint lists the model. Raises StageError where it doesn't, with its last trouble."""
        began, unlisted, trouble = time.monotonic(), 0, ""
        for _ in range(START_POLLS):
            if self._prepared():
                try:
                    listed = [model.id for model in self._requests.models()]
                except StageError as error:
                    # A server of the stage's own takes its time to open its port.
                    if self._process is None or (self._inference.api_base and unlisted >= LISTED_POLLS):
                        raise
                    unlisted += self._inference.api_base is not None
                    trouble = error.message
                else:
                    if self.name in listed or f"{self.name}:latest" in listed:
                        self._place.tell(f"the endpoint has {self.name} after {duration(time.monotonic() - began)}")
                        return
                    unlisted += 1
                    trouble = f"it has {', '.join(listed[:5]) or 'no model'}"
                    if self._process is None or unlisted >= LISTED_POLLS:
                        break
            time.sleep(POLL_S)
        raise StageError(
            f"the endpoint doesn't list {self.name}: {trouble or 'the command did not end'}",
            "let inference.serve give the model that name, or set inference.model; then resume",
        )

    def complete(self, bodies: Sequence[Json], progress: Callable[[int], None]) -> list[Json]:
        """The replies to chat completions."""
        return self._requests.post_all("chat/completions", bodies, progress)

    def end(self) -> None:
        """End the command, and remove the files that were made for it."""
        if self._process is not None:
            self._process.end()
        shutil.rmtree(self._files, ignore_errors=True)

    def _start(self) -> ServedProcess:
        command = self._command()
        self._files.mkdir(exist_ok=True)
        self._place.tell(f"starting {Path(command[0]).name} for {self.name}")
        own = {self._inference.api_key_env} - {None}
        return ServedProcess(
            Path(command[0]).name,
            command,
            self._place.folder / "serve.log",
            extra={f"LLAMADUO_{name.upper()}": value for name, value in self._values.items()},
            without=secret_names(os.environ, self._settings.key_names) - own,
            secrets=self._settings.key_names,
        )

    def _command(self) -> list[str]:
        """The words of the command; without an adapter those that name it are left out, and the option before one.

        Words with spaces are programs of a shell, which can ask for it themselves.
        """
        command: list[str] = []
        for word in shlex.split(self._inference.serve):
            if self._place.adapter is not None or "{adapter}" not in word or " " in word:
                command.append(self._filled(word))
            elif len(command) > 1 and command[-1].startswith("-") and not word.startswith("-"):
                command.pop()
        return command

    def _filled(self, text: str) -> str:
        """A word of the command with its placeholders filled in, in one pass; other braces stay."""
        return PLACEHOLDER.sub(lambda found: self._values[found[1]], text)

    @cached_property
    def _values(self) -> dict[str, str]:
        """What placeholders stand for; weights are merged where the command asks for them."""
        adapter, asking = self._place.adapter, f"{self._inference.serve} {self._inference.model}"
        merged = any(form in asking for form in ("{merged}", "LLAMADUO_MERGED"))
        return {
            "model": str(self._model.path),
            "adapter": str(adapter or ""),
            "merged": str(self._merged) if merged else "",
            "name": adapter_name(adapter) if adapter else f"untuned-{self._model.digest[:8]}",
            "port": str(self._own_port),
            "folder": str(self._files),
        }

    @cached_property
    def _merged(self) -> Path:
        return write_merged(self._model, self._settings.local, self._place.adapter, self._files / "merged")

    def _prepared(self) -> bool:
        """Whether the endpoint may be asked: a step must be done, since the server may have an older model until then.

        Raises StageError where the command failed.
        """
        if self._process is None:
            return True
        status, step = self._process.status, self._inference.api_base is not None
        if status is not None and (status != 0 or not step):
            raise self._process.failed(how_ended(status), CHECK_COMMAND)
        return status == 0 if step else True

    async def _watch(self, _: httpx.AsyncClient, done: Callable[[], int]) -> None:
        """Raise StageError where the command has failed, or no request is answered for long."""
        silent, before = 0, 0
        while True:
            await asyncio.sleep(POLL_S)
            self._prepared()
            silent, before = (silent + 1 if done() == before else 0), done()
            if silent >= SILENT_POLLS:
                raise StageError(
                    f"the endpoint has answered nothing for {duration(SILENT_POLLS * POLL_S)}",
                    "see its log; restart it",
                )
