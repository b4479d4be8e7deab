"""Batch jobs in a run's ledger: recorded before they are sent, so that none is sent twice."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field

from engine.service.completion import Request
from engine.service.database import Database, Statement

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    name TEXT PRIMARY KEY,
    model TEXT NOT NULL,
    began REAL NOT NULL,
    most REAL NOT NULL,
    provider_id TEXT
);
CREATE TABLE IF NOT EXISTS job_requests (
    key TEXT PRIMARY KEY,
    job TEXT NOT NULL,
    request TEXT NOT NULL
);
"""


@dataclass(slots=True, kw_only=True)
class Job:
    """Requests to one model by their digests, which cost at most `max_cost` USD.

    `name` is ours, and is sent as the job's metadata; `id` is the provider's, None until it is known.
    """

    model: str
    requests: dict[str, Request]
    max_cost: float
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    started: float = field(default_factory=time.time)
    id: str | None = None


class Jobs:
    """The jobs that have not been settled."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self) -> list[Job]:
        """The jobs of this run's earlier workers, oldest first."""
        requests: dict[str, dict[str, Request]] = {}
        for key, job, request in self._database.rows("SELECT key, job, request FROM job_requests"):
            requests.setdefault(job, {})[key] = Request.from_row(json.loads(request))
        rows = self._database.rows("SELECT name, model, began, most, provider_id FROM jobs ORDER BY began")
        return [
            Job(model=model, requests=requests[name], max_cost=most, name=name, started=began, id=id_)
            for name, model, began, most, id_ in rows
        ]

    async def record(self, job: Job) -> None:
        """Record a job that is about to be sent."""
        await self._database.write_together(
            ("INSERT INTO jobs VALUES (?, ?, ?, ?, NULL)", (job.name, job.model, job.started, job.max_cost)),
            *[
                ("INSERT INTO job_requests VALUES (?, ?, ?)", (key, job.name, json.dumps(request.to_row())))
                for key, request in job.requests.items()
            ],
        )

    async def mark_sent(self, job: Job) -> None:
        """Record that the provider has it, as `job.id`."""
        await self._database.write("UPDATE jobs SET provider_id = ? WHERE name = ?", (job.id, job.name))


def removal(job: Job) -> list[Statement]:
    """The statements that remove a job from the database."""
    return [
        ("DELETE FROM jobs WHERE name = ?", (job.name,)),
        ("DELETE FROM job_requests WHERE job = ?", (job.name,)),
    ]
