from pathlib import Path

from engine.config import Migration
from engine.coverage.split import Splits
from engine.local.device import find_device
from engine.local.resolve import ResolvedModel
from engine.quote import Quote, quote
from engine.rows import Pair
from engine.service import prompts
from tests.tiny import make_model

PAIRS = [
    Pair(f"p{n}", [{"role": "user", "content": "Why? " * 20}, {"role": "assistant", "content": "Yes. " * 10}])
    for n in range(30)
]


def quoted(model: Path, *, teacher: bool) -> Quote:
    tables = {
        "coverage": {"source": "a.jsonl"},
        "service": {"model": "gpt-4o"},
        "judge": {"repeats": 2},
        "target": {"teacher": teacher},
    }
    settings = Migration.model_validate(tables)
    splits = Splits(PAIRS[:10], PAIRS[10:20], PAIRS[20:])
    return quote(settings, splits, prompts.load(None), ResolvedModel("tiny", model, None, "0"), find_device())


def test_the_service_s_own_answers_are_in_the_quote(tmp_path: Path) -> None:
    make_model(tmp_path)
    without, asked = quoted(tmp_path, teacher=False), quoted(tmp_path, teacher=True)
    assert asked.calls_most - without.calls_most == 20 * (1 + 2)  # an answer and two verdicts for each prompt
    assert asked.tokens_most > without.tokens_most and (asked.usd_most or 0) > (without.usd_most or 0)
    assert asked.calls_round == without.calls_round
