"""Batch jobs as a run's ledger remembers them: noted before they are sent, so that none is ever sent twice."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

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


@dataclass(slots=True)
class Job:
    """Requests to one model by their keys, which cost `most` USD at most.

    `name` is ours, and goes along with the job; `id` is the provider's, None until it is known.
    """

    model: str
    requests: dict[str, dict[str, Any]]
    most: float
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    began: float = field(default_factory=time.time)
    id: str | None = None


class Jobs:
    """The jobs that are not done with."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def open(self) -> list[Job]:
        """Those of this run's earlier workers."""
        requests: dict[str, dict[str, Any]] = {}
        for key, job, request in self._database.rows("SELECT key, job, request FROM job_requests"):
            requests.setdefault(job, {})[key] = json.loads(request)
        rows = self._database.rows("SELECT model, name, most, name, began, provider_id FROM jobs ORDER BY began")
        return [Job(model, requests[name], *rest) for model, name, *rest in rows]

    async def note(self, job: Job) -> None:
        """A job that is about to be sent."""
        await self._database.write_together(
            ("INSERT INTO jobs VALUES (?, ?, ?, ?, NULL)", (job.name, job.model, job.began, job.most)),
            *[
                ("INSERT INTO job_requests VALUES (?, ?, ?)", (key, job.name, json.dumps(request)))
                for key, request in job.requests.items()
            ],
        )

    async def sent(self, job: Job) -> None:
        """The provider has it, under `job.id`."""
        await self._database.write("UPDATE jobs SET provider_id = ? WHERE name = ?", (job.id, job.name))

    async def drop(self, job: Job) -> None:
        """A job that came to nothing."""
        await self._database.write_together(*removal(job))


def removal(job: Job) -> list[Statement]:
    """What takes a job out of the database."""
    return [
        ("DELETE FROM jobs WHERE name = ?", (job.name,)),
        ("DELETE FROM job_requests WHERE job = ?", (job.name,)),
    ]
