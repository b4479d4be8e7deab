"""What another round would take, which the question for it shows."""

from __future__ import annotations

from engine.dataset.prepare import read_train
from engine.protocol.decision import NextRound
from engine.protocol.manifest import manifest
from engine.protocol.rows import about_tokens, prompt_text
from engine.protocol.stages import FINETUNE, INFER, JUDGE, SYNTHESIZE
from engine.service.models import price
from engine.worker.context import Context


def next_round(context: Context, number: int) -> NextRound:
    """USD and seconds of another round, from what this one took: training grows with the data."""
    run, settings = context.run, context.settings
    pairs = settings.synthesis.pairs_per_round
    finetune, infer, judged = (manifest(stage.folder(run, number)) for stage in (FINETUNE, INFER, JUDGE))
    before = manifest(SYNTHESIZE.folder(run, number - 1)) if number > 1 else None
    if finetune is None or infer is None or judged is None:
        return NextRound(pairs=pairs, cost_usd=None, seconds=None)
    grown = 1 + pairs / max(1, finetune.count("pairs"))
    seconds = finetune.seconds * grown + infer.seconds + judged.seconds + (before.seconds if before else 0.0)
    writing = before.cost_usd / max(1, before.count("accepted")) * pairs if before else _writing_cost(context, pairs)
    return NextRound(
        pairs=pairs, cost_usd=None if writing is None else round(judged.cost_usd + writing, 4), seconds=round(seconds)
    )


def _writing_cost(context: Context, pairs: int) -> float | None:
    """USD for `pairs` new pairs of the length of those at hand, at four characters a token; None without a price."""
    service = context.settings.service
    prices = price(service.model, service, batch=service.batch)
    train = read_train(context.run.coverage)
    if prices is None:
        return None
    tokens = sum(about_tokens(prompt_text(pair.messages, pair.tools)) for pair in train) / len(train)
    calls = pairs / context.settings.synthesis.pairs_per_call
    return calls * (tokens + 400) * prices[0] + pairs * tokens * prices[1]
