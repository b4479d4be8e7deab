"""When a stage ends because it gets no answers."""

from types import SimpleNamespace
from typing import Any

import pytest

from engine.protocol.errors import StageError
from engine.protocol.events import Log
from engine.stages.left_out import ENOUGH, LATER, LeftOut


def left_out() -> tuple[LeftOut, list[Any]]:
    told: list[Any] = []

    async def fail(error: StageError) -> None:
        raise error

    job: Any = SimpleNamespace(emit=told.append, client=SimpleNamespace(fail=fail))
    return LeftOut(job, "verdicts", "check the judge"), told


@pytest.mark.parametrize("refused", [True, False])
async def test_the_first_ones_without_an_answer_end_a_stage_and_the_first_is_told(refused: bool) -> None:
    counted, told = left_out()
    for _ in range(ENOUGH - 1):
        await counted.add("judge", "empty", refused=refused)
    with pytest.raises(StageError, match="judge gave none of the first 10 verdicts: empty"):
        await counted.add("judge", "empty", refused=refused)

    assert told == [Log(level="warning", message="judge: first of the verdicts left out: empty")]


async def test_later_it_takes_a_long_row_of_what_is_not_refused() -> None:
    counted, _ = left_out()
    counted.answered()
    for _ in range(LATER - 1):
        await counted.add("judge", "empty", refused=False)
        await counted.add("judge", "filtered", refused=True)
    counted.answered()
    for _ in range(LATER - 1):
        await counted.add("judge", "empty", refused=False)
    with pytest.raises(StageError, match="none of the last 40"):
        await counted.add("judge", "empty", refused=False)

    assert counted.count == 3 * LATER - 2
