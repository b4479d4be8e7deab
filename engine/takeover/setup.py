"""From a run and the options of the command to a door's settings, and from these to the door's parts."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from engine.protocol import jsonl, records
from engine.protocol.errors import InputError, ServiceError
from engine.protocol.run_dir import Run
from engine.protocol.secrets import key_of
from engine.protocol.takeover import DoorSettings, DoorState, Mode, TakeoverFiles, files
from engine.sandbox.process import sandbox_server
from engine.service import prompts
from engine.service.client import Client
from engine.service.ledger import Ledger
from engine.service.models import litellm_name, missing_keys, price
from engine.settings.load import settings_of
from engine.settings.schema import SANDBOX_MODEL, Migration
from engine.takeover.access import check_bind, door_key
from engine.takeover.answering import Answerer
from engine.takeover.checks import checks_of
from engine.takeover.comparing import Comparer
from engine.takeover.door import Parts
from engine.takeover.guard import Guard
from engine.takeover.journal import Journal
from engine.takeover.metrics import Metrics
from engine.takeover.pairing import Pairing
from engine.takeover.pricing import Prices
from engine.takeover.released import released_local
from engine.takeover.sides import Answering, PassThrough
from engine.takeover.standing import Standing

OPENAI = "openai"
OPENAI_BASE, OPENAI_KEY = "https://api.openai.com/v1", "OPENAI_API_KEY"

LIST_S = 5.0


def names_of(migration: Migration, settings: DoorSettings) -> set[str]:
    """The environment variables that are named for secrets, in the settings and by the options of the door."""
    return migration.key_names | {name for name in (settings.key_env, settings.local_key_env) if name}


@asynccontextmanager
async def parts_of(run: Run, at: TakeoverFiles, settings: DoorSettings, mode: Mode) -> AsyncIterator[Parts]:
    """The parts of a run's door, which end with it. Raises LlamaDuoError."""
    migration = settings_of(run)
    guard, final = Guard(door_key(settings)), run.final_decision()
    checks = checks_of(migration, final)
    async with AsyncExitStack() as stack:
        sandbox = None
        if migration.uses_sandbox and migration.service.api_base is None and not settings.service_base:
            sandbox = await stack.enter_async_context(sandbox_server(at.folder, names_of(migration, settings)))
        service = service_of(migration, settings, guard, sandbox)
        local = PassThrough(settings.local, key_of(settings.local_key_env, "takeover.local_key_env"))
        for side in (service, local):
            stack.push_async_callback(side.close)
        name = settings.local_model  # asked for at the beginning: the door must also start while that server is out
        journal = Journal(at.journal)
        stack.callback(journal.close)
        standing = Standing(at, mode, settings.margin, journal)
        prices = Prices(settings.input_usd, settings.output_usd)
        comparer = None
        if settings.compare > 0:
            comparer = comparer_of(migration, at, settings, standing, journal, stack, sandbox)
        answerer = Answerer(service, local, checks, name, settings.timeout_s)
        yield Parts(
            settings=settings,
            guard=guard,
            answerer=answerer,
            standing=standing,
            journal=journal,
            metrics=Metrics(),
            prices=prices,
            pairing=Pairing(answerer, comparer, journal, prices, settings.compare),
            comparer=comparer,
            service_name=migration.service.model.removeprefix(f"{OPENAI}/"),
            local_name=name,
        )


def comparer_of(
    migration: Migration,
    at: TakeoverFiles,
    settings: DoorSettings,
    standing: Standing,
    journal: Journal,
    stack: AsyncExitStack,
    sandbox: str | None,
) -> Comparer:
    """The comparer, with a budget and a ledger of its own: the run's are closed."""
    ledger = Ledger(at.folder / "ledger.sqlite")
    stack.callback(ledger.close)
    terms = migration.service.model_copy(
        update={"budget_usd": settings.budget_usd, "budget_calls": None, "batch": False, "concurrency": 8}
    )
    comparer: Comparer

    def held(why: str) -> None:
        comparer.held = why

    client = Client(
        terms,
        ledger,
        sandbox_base=sandbox,
        on_used_up=lambda shortage: held(f"the budget for comparisons is used up: {shortage.reason}"),
    )
    comparer = Comparer(
        client,
        migration.judge_models,
        prompts.load(migration.judge.prompts),
        checks_of(migration, None),
        journal,
        contents=settings.contents,
        on_difference=standing.take,
    )
    return comparer


def service_of(migration: Migration, settings: DoorSettings, guard: Guard, sandbox: str | None) -> Answering:
    """The service of the settings: its own bytes where it has OpenAI's API, else by way of litellm's Router.

    Raises InputError where the door needs a key of its own for the service and has none.
    """
    terms, model = migration.service, migration.service.model
    if settings.service_base:  # the sandbox of a drill, which gets no key
        return PassThrough(settings.service_base, SANDBOX_MODEL)
    if model == SANDBOX_MODEL:
        return PassThrough(sandbox or terms.api_base or "", SANDBOX_MODEL)
    named = litellm_name(model).partition("/")[0]
    if named != OPENAI and not (named == model and model.startswith(("gpt-", "o1", "o3", "o4", "chatgpt-"))):
        from engine.takeover.routed import Routed

        if missing := missing_keys(model, terms):
            raise InputError(f"{' and '.join(missing)} is not in the environment", "export the service's key")
        return Routed(terms)
    key = key_of(terms.api_key_env or OPENAI_KEY, "service.api_key_env")
    base = terms.api_base or os.environ.get("OPENAI_BASE_URL") or OPENAI_BASE
    if not key and guard.key:
        raise InputError("the door needs the service's key: its clients show the door's", "set service.api_key_env")
    return PassThrough(base, key, lends=not guard.key)


async def local_model(settings: DoorSettings) -> str:
    """The name of the first model that the local server lists. Raises LlamaDuoError where it lists none."""
    key = key_of(settings.local_key_env, "takeover.local_key_env")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=LIST_S)) as session,
            session.get(f"{settings.local.rstrip('/')}/models", headers=headers) as response,
        ):
            listed = jsonl.loads(await response.read())
        name = listed["data"][0]["id"]
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError, LookupError, TypeError):
        raise ServiceError(
            f"{settings.local}: lists no models", "start the local model's server, or name the model: --local-model"
        ) from None
    return str(name)


def door_settings(
    run: Run, migration: Migration, artefact: str | None = None, *, start: bool = False, **options: object
) -> DoorSettings:
    """`[takeover]` with the options that are given; the local model is the server in them, else the released one.

    With `start` that gets a server of its own, also where `serve` has one. Raises InputError.
    """
    table = migration.takeover
    given = {name: value for name, value in options.items() if value is not None}
    values = {
        "host": table.host,
        "port": table.port,
        "key_env": table.key_env,
        "local": table.local,
        "local_key_env": table.local_key_env,
        "timeout_s": table.timeout_s,
        "compare": table.compare,
        "margin": table.margin,
        "budget_usd": table.budget_usd,
        "contents": table.contents,
        **dict(zip(("input_usd", "output_usd"), price(migration.service.model, migration.service) or (), strict=False)),
        **given,
    }
    if not values["local"] or artefact is not None:
        local = released_local(run, artefact, start=start)
        values |= {"local": local.address, "artefact": local.artefact, "local_key_env": local.key_env}
        values["local_model"] = values.get("local_model") or local.model
    elif values["local_key_env"] and not key_of(str(values["local_key_env"]), "takeover.local_key_env"):
        raise InputError(
            f"takeover.local_key_env: {values['local_key_env']} is not in the environment",
            f"export {values['local_key_env']}=...",
        )
    settings = DoorSettings(**values)  # type: ignore[arg-type]
    check_bind(settings)
    return settings


def begin(run: Run, settings: DoorSettings, mode: Mode) -> TakeoverFiles:
    """Write a take-over's folder, for its owner alone; a state that is there stays."""
    at = files(run.folder)
    at.folder.mkdir(mode=0o700, exist_ok=True)
    jsonl.write_json(at.settings, records.to_row(settings), mode=0o600)
    if not at.state.exists():
        jsonl.write_json(at.state, records.to_row(DoorState(mode=mode)), mode=0o600)
    return at
