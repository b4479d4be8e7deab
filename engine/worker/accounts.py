"""Reports what a run has paid the service, during the work and at its end."""

from __future__ import annotations

import time

from engine.protocol.events import Emit, Log, ServiceUsage
from engine.protocol.status import Dropped
from engine.service.client import Client
from engine.service.ledger import Ledger
from engine.service.usage import Usage
from engine.worker.status_writer import StatusWriter

EVERY_S = 1.0
"""The shortest time between two reports of usage."""


class Accounts:
    """The usage of a run, from the moment that it has a client and a ledger."""

    def __init__(self, status: StatusWriter, emit: Emit) -> None:
        self._status, self._emit = status, emit
        self._books: tuple[Client, Ledger] | None = None
        self._told = 0.0

    def open(self, client: Client, ledger: Ledger) -> None:
        """Tell the usage from now on, first that of earlier workers: one may have been killed before it could."""
        self._books = client, ledger
        self.tell(client.usage, at_once=True)

    @property
    def client(self) -> Client | None:
        """The client whose calls are counted; None before there is one."""
        return self._books[0] if self._books is not None else None

    @property
    def dropped(self) -> Dropped | None:
        """The calls that were in flight when the work ended."""
        costs = self.client.dropped if self.client is not None else []
        return Dropped(calls=len(costs), usd=round(sum(costs), 6)) if costs else None

    def tell(self, usage: Usage, *, at_once: bool = False) -> None:
        """Write the usage into the status and the events; now and then, or `at_once`."""
        turned = usage.silent_since != self._status.status.silent_since
        if self._books is None or (not at_once and not turned and time.monotonic() - self._told < EVERY_S):
            return
        self._told = time.monotonic()
        interrupted = self._books[1].interrupted_costs
        told = ServiceUsage(
            calls=usage.calls,
            cached_calls=self._status.before.cached_calls + usage.cached_calls,
            failed_calls=usage.failed_calls,
            prompt_tokens=usage.prompt_tokens,
            completion_tokens=usage.completion_tokens,
            cost_usd=round(usage.cost_usd, 6),
            interrupted_calls=len(interrupted),
            interrupted_usd=round(sum(interrupted), 6),
        )
        self._status.note(
            calls=told.calls,
            cached_calls=told.cached_calls,
            tokens=told.prompt_tokens + told.completion_tokens,
            cost_usd=told.cost_usd,
            interrupted_calls=told.interrupted_calls,
            interrupted_usd=told.interrupted_usd,
            silent_since=usage.silent_since,
        )
        self._emit(told)

    def close(self) -> None:
        """Tell the last usage; call it before the event that ends the run, since followers read no further."""
        if self.client is not None:
            self.tell(self.client.usage, at_once=True)
        if self.dropped is not None:
            self._emit(Log(level="warning", message=str(self.dropped)))
