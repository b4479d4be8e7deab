from importlib.util import find_spec
from pathlib import Path

import pytest

from engine.protocol.run_dir import Run
from engine.protocol.stages import BY_NAME, COVERAGE, REPORT, STAGES, TEACHER, Phase, Place, expected, phase_of


def test_the_table_is_sound() -> None:
    assert len(BY_NAME) == len(STAGES)
    for stage in STAGES:
        assert stage.expected <= stage.purpose.keys() and all(stage.purpose.values())
        assert not {Phase.DATA, Phase.SEALED} <= stage.purpose.keys(), "events of both have no round"
        assert not (stage.pays and stage.place is Place.OWN_PROCESS), "the client is the worker's"
        assert not (stage.parallel and stage.place is Place.WORKER)
        assert find_spec(f"engine.stages.{stage.name}") is not None


def test_no_two_works_share_a_folder() -> None:
    run = Run(Path("RUN"))
    rounds: dict[Phase, list[int | None]] = {
        Phase.DATA: [None],
        Phase.BASELINE: [0],
        Phase.ROUND: [1, 12],
        Phase.SEALED: [None],
    }
    folders = [stage.folder(run, n) for stage in STAGES for phase in stage.purpose for n in rounds[phase]]
    assert len(set(folders)) == len(folders)
    assert COVERAGE.folder(run, None) == run.coverage and REPORT.folder(run, None) == run.final
    assert (TEACHER.folder(run, 0), TEACHER.folder(run, None)) == (run.teacher, run.final / "teacher")


@pytest.mark.parametrize(
    ("phase", "names"),
    [
        (Phase.DATA, ["coverage"]),
        (Phase.BASELINE, ["infer", "judge"]),
        (Phase.ROUND, ["finetune", "infer", "judge"]),
        (Phase.SEALED, ["infer", "judge", "report"]),
    ],
)
def test_what_a_phase_always_does(phase: Phase, names: list[str]) -> None:
    assert [stage.name for stage in expected(phase)] == names


@pytest.mark.parametrize(
    ("round_", "stage", "phase"),
    [
        (None, "coverage", Phase.DATA),
        (0, "infer", Phase.BASELINE),
        (3, "infer", Phase.ROUND),
        (1, None, Phase.ROUND),
        (1, "of a newer version", Phase.ROUND),
        (None, "infer", Phase.SEALED),
        (None, "report", Phase.SEALED),
        (None, "teacher", Phase.SEALED),
        (None, "of a newer version", None),
        (None, None, None),
    ],
)
def test_the_phase_of_an_event(round_: int | None, stage: str | None, phase: Phase | None) -> None:
    assert phase_of(round_, stage) is phase
