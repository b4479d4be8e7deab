import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.dataset.prompt_groups import BREADTH, MAX_CLUSTERS, PromptGroups
from engine.protocol.decision import GroupScore, PromptScore
from engine.protocol.rows import Pair, prompt_id
from engine.sandbox import tickets


def pair(text: str, category: str = "", target: str = "") -> Pair:
    prompt = [{"role": "user", "content": text}]
    return Pair(id=prompt_id(prompt), messages=[*prompt, {"role": "assistant", "content": target}], category=category)  # type: ignore[list-item,arg-type]


def ticket_pairs(seed: int, count: int, *, categories: bool) -> list[Pair]:
    rows = tickets.rows(seed, count)
    return [
        Pair(
            id=prompt_id(row["messages"][:1]), messages=row["messages"], category=row["category"] if categories else ""
        )
        for row in rows
    ]


def scored(dev: list[Pair], *points: float) -> list[PromptScore]:
    return [PromptScore(id=row.id, precision=p, similarity=p) for row, p in zip(dev, points, strict=True)]


TRAIN = [*(pair(f"Bill number {n}", "billing") for n in range(2)), *(pair(f"Bug number {n}", "bug") for n in range(8))]
DEV = [pair("My bill", "billing"), pair("One bug", "bug"), pair("Two bugs", "bug"), pair("Three bugs", "bug")]


def test_categories_are_groups_and_their_scores_the_weakest_first() -> None:
    found = PromptGroups(TRAIN, DEV).scores(scored(DEV, 20, 80, 100, 90), {})

    assert found == [
        GroupScore(name="billing", prompts=1, precision=20, similarity=20),
        GroupScore(name="bug", prompts=3, precision=90, similarity=90),
    ]


def test_prompts_without_a_score_do_not_count() -> None:
    found = PromptGroups(TRAIN, DEV).scores(scored(DEV, 20, 80, 100, 90)[:2], {})

    assert [(group.name, group.prompts) for group in found] == [("billing", 1), ("bug", 1)]


def test_what_broke_the_contract_is_a_further_group() -> None:
    broken = {DEV[1].id: "not JSON", DEV[0].id: "not JSON", DEV[2].id: "too long"}
    found = PromptGroups(TRAIN, DEV).scores(scored(DEV, 1, 1, 60, 90), broken)

    assert found[0] == GroupScore(name="billing", prompts=1, precision=1, similarity=1)
    assert (
        GroupScore(name="contract: not JSON", prompts=2, precision=1, similarity=1) in found
        and GroupScore(name="contract: too long", prompts=1, precision=60, similarity=60) in found
    )
    assert sum(group.prompts for group in found if not group.name.startswith("contract")) == len(DEV)


def test_a_weak_group_gets_seeds_by_its_shortfall_whatever_its_size() -> None:
    weights = PromptGroups(TRAIN, DEV).seed_weights(scored(DEV, 1, 100, 100, 100), {})

    # A fifth of train is billing; with one dev prompt its shortfall of 99 is drawn half-way to the mean of all.
    assert weights[:2].sum() > 0.6
    assert weights.min() >= BREADTH / len(TRAIN) - 1e-9


def test_within_a_group_the_rows_nearest_to_what_failed_come_first() -> None:
    train = [pair("the refund of my card", "a"), pair("a receipt for the taxes", "a"), pair("z", "b"), pair("y", "b")]
    dev = [pair("where is my refund", "a"), pair("a receipt", "a"), pair("z", "b"), pair("y", "b")]
    weights = PromptGroups(train, dev).seed_weights(scored(dev, 10, 100, 100, 100), {})

    assert weights[0] > 2 * weights[1]


def test_where_nothing_fails_all_are_drawn_alike() -> None:
    weights = PromptGroups(TRAIN, DEV).seed_weights(scored(DEV, 100, 100, 100, 100), {})

    assert weights == pytest.approx(np.full(10, 0.1))


@pytest.mark.parametrize("category", ["", "the same", "{n}"])
def test_without_categories_that_group_like_words_do(category: str) -> None:
    """None, one for all, or one for each: of these no groups can be made."""
    train, dev = ticket_pairs(1, 80, categories=False), ticket_pairs(2, 40, categories=False)
    rows = [Pair(id=p.id, messages=p.messages, category=category.format(n=n)) for n, p in enumerate([*train, *dev])]
    groups = PromptGroups(rows[:80], rows[80:])

    assert 2 <= len(groups.kinds) <= MAX_CLUSTERS
    assert [group.name for group in groups.kinds] == [group.name for group in PromptGroups(rows[:80], rows[80:]).kinds]
    assert sorted(place for group in groups.kinds for place in group.train) == list(range(80))
    assert sorted(place for group in groups.kinds for place in group.dev) == list(range(40))


@pytest.mark.parametrize("texts", [["the same words"], ["one", "two"], ["", "..."]])
def test_rows_that_hardly_differ_make_few_groups_and_always_the_same(texts: list[str]) -> None:
    train, dev = ([pair(texts[n % len(texts)]) for n in range(count)] for count in (30, 60))
    groups = PromptGroups(train, dev)

    assert len(groups.kinds) <= len(texts) and all(group.train for group in groups.kinds)
    assert groups.of_train == PromptGroups(train, dev).of_train


@pytest.mark.parametrize("weak", ["billing", "bug", "access"])
def test_like_words_lead_to_what_is_weak(weak: str) -> None:
    train, dev = ticket_pairs(1, 80, categories=False), ticket_pairs(2, 40, categories=False)
    kinds = [row["category"] for row in tickets.rows(2, 40)]
    weights = PromptGroups(train, dev).seed_weights(scored(dev, *(10 if kind == weak else 95 for kind in kinds)), {})
    right = [row["category"] == weak for row in tickets.rows(1, 80)]

    assert weights[right].sum() > 1.3 * np.mean(right)


def test_names_tell_no_dev_text() -> None:
    train = ticket_pairs(1, 60, categories=False)
    dev = [pair(f"Xylophone zebra quagga {n} {p.prompt[0]['content']}") for n, p in enumerate(train[:30])]
    groups = PromptGroups(train, dev)
    mixed = PromptGroups(TRAIN, [*DEV, *DEV, pair("x", "The secret of Zanzibar")])

    names = " ".join(group.name for group in [*groups.kinds, *mixed.kinds])
    assert not any(word in names.casefold() for word in ("xylophone", "zebra", "quagga", "zanzibar"))
    assert {group.name for group in mixed.kinds} == {"billing", "bug", "other"}


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.text(max_size=30), st.sampled_from(["", "a", "b", "c\nd"])), min_size=1, max_size=25),
    st.lists(st.tuples(st.text(max_size=30), st.sampled_from(["", "a", "b", "e"])), min_size=1, max_size=25),
    st.randoms(use_true_random=False),
)
def test_weights_are_shares_whatever_the_data(
    train: list[tuple[str, str]], dev: list[tuple[str, str]], dice: random.Random
) -> None:
    rows, prompts = [pair(*row) for row in train], [pair(*row) for row in dev]
    scores = {
        p.id: PromptScore(id=p.id, precision=dice.uniform(1, 100), similarity=dice.uniform(1, 100))
        for p in prompts
        if dice.random() < 0.9
    }
    breaches = {id_: dice.choice(["not JSON", "too long"]) for id_ in scores if dice.random() < 0.2}
    groups = PromptGroups(rows, prompts)
    weights = groups.seed_weights(list(scores.values()), breaches)

    assert len(weights) == len(rows) and weights.sum() == pytest.approx(1) and (weights > 0).all()
    for group in groups.scores(list(scores.values()), breaches):
        assert 1 <= group.precision <= 100 and 1 <= group.similarity <= 100 and "\n" not in group.name
