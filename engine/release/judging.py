"""Has the service judge answers after the end of a run: by its judges, ledger, cache and budget."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from engine.protocol import jsonl, records
from engine.protocol.errors import LlamaDuoError
from engine.protocol.events import Event, Log
from engine.protocol.rows import RESPONSES_FILE, VERDICTS_FILE, Response, Verdict
from engine.protocol.run_dir import Run
from engine.protocol.stages import INFER, JUDGE
from engine.sandbox.process import sandbox_server
from engine.service import prompts
from engine.service.budget import Shortage
from engine.service.cache import open_cache
from engine.service.client import Client
from engine.service.ledger import Ledger
from engine.settings.schema import Migration
from engine.stages import judge
from engine.stages.base import ServiceJob


def judge_answers(
    run: Run, settings: Migration, answers: Mapping[str, Sequence[Response]], work: Path, tell: Callable[[str], None]
) -> tuple[dict[str, list[Verdict]], float]:
    """The verdicts on sets of answers, by the name of the set, and what they cost in USD.

    A request that the run or this user has paid for already is free. Raises LlamaDuoError where the budget is used up,
    or the service can't be used.
    """
    return asyncio.run(_judge(run, settings, answers, work, tell))


async def _judge(
    run: Run, settings: Migration, answers: Mapping[str, Sequence[Response]], work: Path, tell: Callable[[str], None]
) -> tuple[dict[str, list[Verdict]], float]:
    found: dict[str, list[Verdict]] = {}

    def emit(event: Event) -> None:
        if isinstance(event, Log):
            tell(event.message)

    async with _service(run, settings, tell) as client:
        spent = client.spent
        for name, responses in answers.items():
            jsonl.write(_folder(work / name / INFER.name) / RESPONSES_FILE, (row.to_row() for row in responses))
            folder = _folder(work / name / JUDGE.name)
            job = ServiceJob(
                run=run,
                settings=settings,
                round=None,
                folder=folder,
                emit=emit,
                client=client,
                prompts=prompts.load(settings.judge.prompts),
            )
            await judge.run(job)
            found[name] = list(records.read(folder / VERDICTS_FILE, Verdict))
        return found, client.spent - spent


def _folder(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@asynccontextmanager
async def _service(run: Run, settings: Migration, tell: Callable[[str], None]) -> AsyncIterator[Client]:
    """The client; a used-up budget ends the work, since nobody is asked for a higher one here."""
    ledger, cache = Ledger(run.ledger_file), open_cache(settings, tell)
    task, short = asyncio.current_task(), list[Shortage]()
    sandbox = settings.uses_sandbox and settings.service.api_base is None

    def used_up(shortage: Shortage) -> None:
        short.append(shortage)
        if task is not None:
            task.cancel()

    own = sandbox_server(_folder(run.releasing), settings.key_names) if sandbox else contextlib.nullcontext()
    async with own as base:
        client = Client(
            settings.service,
            ledger,
            cache=cache,
            sandbox_base=base,
            on_trouble=tell,
            on_note=tell,
            on_used_up=used_up,
        )
        try:
            yield client
        except asyncio.CancelledError:
            if not short:
                raise
            hint = f"raise its cap in [service] of {run.settings_file}; then release again: verdicts so far are kept"
            raise LlamaDuoError(short[0].reason, hint) from None
        finally:
            await client.close()
            ledger.close()
            if cache is not None:
                cache.close()
