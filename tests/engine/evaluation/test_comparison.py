import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.evaluation.comparison import MARGIN, changes, gaps
from engine.evaluation.prompt_scores import by_prompt
from engine.protocol import records
from engine.protocol.decision import Change, Changes, PromptScore, Teacher
from engine.protocol.rows import Verdict

ids = st.sampled_from("abcdefgh")
prompts = st.lists(
    st.builds(PromptScore, id=ids, precision=st.floats(1, 100), similarity=st.floats(1, 100)),
    min_size=1,
    max_size=8,
    unique_by=lambda p: p.id,
)


def prompt(id_: str, score: float) -> PromptScore:
    return PromptScore(id=id_, precision=score, similarity=score)


def test_what_moved_by_more_than_the_judges_noise_is_listed_the_most_first() -> None:
    before = [prompt("a", 50), prompt("b", 50), prompt("c", 50), prompt("d", 50), prompt("gone", 1)]
    after = [prompt("a", 60), prompt("b", 70), prompt("c", 30), prompt("d", 95), prompt("new", 99)]
    found = changes(3, before, after, 0.05)

    assert found is not None
    assert (found.against, found.prompts) == (3, 4)
    assert found.improved == (Change(id="d", before=50, after=95), Change(id="b", before=50, after=70))
    assert found.regressed == (Change(id="c", before=50, after=30),)
    assert found.precision.mean == found.similarity.mean == 13.75


def test_a_judge_who_wavers_much_moves_nothing_alone() -> None:
    """The same answers judged twice by a judge with a standard deviation of 12: a quarter differs by more than 10."""

    def judged(seed: int) -> list[PromptScore]:
        dice = np.random.default_rng(seed)
        rows = [(f"{n:03}", repeat, dice.normal([60, 60], 12)) for n in range(400) for repeat in range(2)]
        return by_prompt(
            [
                Verdict(
                    id=id_,
                    sample=0,
                    repeat=repeat,
                    judge="j",
                    similarity=s,
                    precision=p,
                    similarity_reason="",
                    precision_reason="",
                    error="",
                )
                for id_, repeat, (s, p) in rows
            ]
        )

    before, after = judged(1), judged(2)
    found = changes(0, before, after, 0.05)

    assert sum(abs(a.mean - b.mean) > MARGIN for a, b in zip(after, before, strict=True)) > 80
    assert found is not None and len(found.improved) + len(found.regressed) <= 2


@settings(max_examples=40)
@given(prompts, prompts)
def test_there_and_back_change_places(before: list[PromptScore], after: list[PromptScore]) -> None:
    there, back = changes(0, before, after, 0.1), changes(0, after, before, 0.1)

    assert (there is None) == (back is None) == (not {p.id for p in before} & {p.id for p in after})
    if there is not None and back is not None:
        assert [c.id for c in there.improved] == [c.id for c in back.regressed]
        assert all(c.after - c.before > MARGIN for c in there.improved)
        assert abs(there.precision.mean + back.precision.mean) < 0.011
        assert records.build(Changes, records.to_row(there)) == there


@settings(max_examples=40)
@given(prompts, prompts)
def test_a_gap_takes_a_service_without_a_verdict_for_perfect(
    teacher: list[PromptScore], local: list[PromptScore]
) -> None:
    found = gaps(teacher, local, 0.1)
    shared = {p.id for p in teacher} & {p.id for p in local}

    assert (found is None) == (not shared)
    if found is not None:
        assert found.prompts == len(shared)
        theirs = {p.id: p.precision for p in teacher}
        mean = sum(p.precision - theirs.get(p.id, 100) for p in local) / len(local)
        assert abs(found.gap_precision.mean - mean) < 0.02
        assert found.gap_precision.low <= found.gap_precision.mean <= found.gap_precision.high
        assert records.build(Teacher, records.to_row(found)) == found


def test_a_service_without_verdicts_where_the_local_model_fails_hides_nothing() -> None:
    """On 39 of 400 prompts the service has no verdict and the local model gets 5."""
    local = [prompt(f"{n:03}", 5.0 if n < 39 else 95.0) for n in range(400)]
    service = [PromptScore(id=f"{n:03}", precision=1, similarity=1, missing=1) for n in range(39)]
    found = gaps([*service, *(prompt(f"{n:03}", 96.0) for n in range(39, 400))], local, 0.05)

    assert found is not None and found.prompts == 361
    assert found.gap_precision.mean < -10 and found.precision.mean == 96
    assert gaps(service, local, 0.05) is None


def test_prompts_of_one_family_are_one_difference() -> None:
    before = [PromptScore(id=str(n), precision=50, similarity=50, family="f") for n in range(5)]
    after = [PromptScore(id=str(n), precision=60 + n, similarity=60, family="f") for n in range(5)]
    found, alone = changes(0, before, after, 0.05), changes(0, before[:1], [prompt("0", 62)], 0.05)

    assert found is not None and alone is not None
    assert found.precision == alone.precision
