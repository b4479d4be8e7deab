"""What the sealed test can show, in sentences."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from engine.protocol.power import Power, Step

ABSOLUTE = Power(
    units=60, unit="prompt", scored="precision", target=85.0, relative=False, other=75.0, recognised=93.0,
    steps=(Step(true=90.0, more=85, rows=340), Step(true=87.0, more=0, rows=0)),
    assumed="scores as judges usually give",
)  # fmt: skip
RELATIVE = Power(
    units=1, unit="family", scored="both", target=-3.0, relative=True, other=None, recognised=None,
    steps=(Step(true=0.0, more=1380, rows=0), Step(true=-1.0, more=2000, rows=9000)), assumed="scores like those",
)  # fmt: skip


def test_an_absolute_target() -> None:
    assert ABSOLUTE.sentences == (
        "With 60 sealed prompts, a true precision of 93 or more is recognised in 80% of runs, for scores as judges "
        "usually give (target 85; similarity must pass its 75, too)",
        "Recognising 90 takes about 85 more sealed prompts (340 more coverage rows), 87 over 100,000",
    )
    assert len(replace(ABSOLUTE, steps=()).sentences) == 1


def test_a_target_relative_to_the_service() -> None:
    assert RELATIVE.sentences == (
        "With 1 sealed family, not even a model as good as the service is recognised in 80% of runs, for scores like "
        "those (at most 3 points below on both scores)",
        "Recognising one as good as the service takes about 1,380 more sealed families, one 1 point below about 2,000 "
        "(9,000)",
    )


@pytest.mark.parametrize(
    ("recognised", "said"),
    [
        (0.0, "a model truly as good as the service is"),
        (-1.5, "a model truly 1.5 points below the service, or better,"),
    ],
)
def test_a_gap_that_is_recognised(recognised: float, said: str) -> None:
    assert said in replace(RELATIVE, recognised=recognised).sentences[0]
