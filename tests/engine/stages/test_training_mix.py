from __future__ import annotations

from pathlib import Path

import pytest

from engine.dataset.contamination import fingerprints
from engine.protocol import jsonl
from engine.protocol.commands import PairChoices
from engine.protocol.manifest import begin
from engine.protocol.rows import Message, Pair, SyntheticPair, prompt_id
from engine.settings.schema import Synthesis
from engine.stages.training_mix import TrainingMix, training_mix

DEV = "The dev prompt tells of seven swans that swam in the Danube on a very cold day"
TEST = "The sealed prompt tells of nine owls that sat in an oak tree by the light of the moon"


def chat(text: str) -> list[Message]:
    return [{"role": "user", "content": text}, {"role": "assistant", "content": f"Reply to: {text}"}]


def pair(text: str) -> Pair:
    return Pair(id=prompt_id(chat(text)[:-1]), messages=chat(text))


def synthetic(text: str, round_: int) -> jsonl.Row:
    return SyntheticPair(
        id=prompt_id(chat(text)[:-1]), messages=chat(text), category="", generator="gpt", seed_id="seed", round=round_
    ).to_row()


def refused(text: str, round_: int, reason: str = "near-duplicate prompt") -> jsonl.Row:
    return {**synthetic(text, round_), "id": prompt_id(chat(text)), "reason": reason}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A coverage dataset with one train row, and two rounds with two pairs and some refused ones each."""
    coverage = tmp_path / "coverage"
    jsonl.write(coverage / "train.jsonl", [pair("train").to_row()])
    jsonl.write(coverage / "dev.jsonl", [pair(DEV).to_row()])
    jsonl.write(coverage / "fingerprints.jsonl", (dict(row) for row in fingerprints([pair(DEV), pair(TEST)])))
    for number in (1, 2):
        folder = tmp_path / f"round-0{number}" / "synthesize"
        jsonl.write(folder / "pairs.jsonl", [synthetic(f"{name}{number}", number) for name in "ab"])
        rejected = [refused(text, number) for text in (f"c{number}", f"c{number}", f"{TEST}!")]
        rejected.append(refused(f"I read: {TEST}. True?", number, "contains a dev or test prompt"))
        problem = {"reason": "unreadable reply", "seed_id": "seed"}
        jsonl.write(folder / "rejected.jsonl", [problem, *rejected, refused(DEV, number, "same prompt")])
    return coverage, [tmp_path / f"round-0{number}" / "synthesize" for number in (1, 2)]


def texts(mix: TrainingMix) -> list[str]:
    return [chat.messages[0]["content"] for chat in mix.chats]


def id_of(text: str, *, refused: bool = False) -> str:
    return prompt_id(chat(text)) if refused else prompt_id(chat(text)[:-1])


def test_without_choices_it_is_one_list_after_the_other(folders: tuple[Path, list[Path]]) -> None:
    mix = training_mix(*folders, {}, Synthesis())
    assert texts(mix) == ["train", "a1", "b1", "a2", "b2"]
    assert (mix.refused_by_hand, mix.kept_by_hand, mix.leaks, mix.choices) == (0, 0, 0, "")


def test_a_refused_pair_is_left_out_and_a_kept_one_comes_in_once(folders: tuple[Path, list[Path]]) -> None:
    choices: PairChoices = {
        (1, id_of("a1")): False,
        (2, id_of("b1")): False,  # of another round: not meant
        (2, id_of("c2", refused=True)): True,
        (2, id_of("a2")): True,  # it is in already
        (1, id_of("c1", refused=True)): False,  # it is out already
    }
    mix = training_mix(*folders, choices, Synthesis())
    assert texts(mix) == ["train", "b1", "a2", "b2", "c2"]
    assert (mix.refused_by_hand, mix.kept_by_hand) == (1, 1)


def test_a_leak_is_never_trained_on(folders: tuple[Path, list[Path]]) -> None:
    leaks: PairChoices = {(1, id_of(text, refused=True)): True for text in (DEV, f"{TEST}!", f"I read: {TEST}. True?")}
    mix = training_mix(*folders, leaks, Synthesis())
    assert texts(mix) == ["train", "a1", "b1", "a2", "b2"]
    assert (mix.kept_by_hand, mix.leaks, mix.choices) == (0, 3, "")


def test_choices_with_an_effect_make_another_training(folders: tuple[Path, list[Path]], tmp_path: Path) -> None:
    a, b = (1, id_of("a1")), (2, id_of("c2", refused=True))
    chosen: list[PairChoices] = [{}, {a: False}, {b: True}, {a: False, b: True}]
    digests = [training_mix(*folders, choices, Synthesis()).choices for choices in chosen]
    assert len(set(digests)) == 4
    assert training_mix(*folders, {b: True, a: False, (1, "gone"): False}, Synthesis()).choices == digests[3]

    begun = tmp_path / "finetune"
    begin(begun, f"settings {digests[1]}")
    (begun / "checkpoint").touch()
    begin(begun, f"settings {digests[1]}")
    assert (begun / "checkpoint").exists()
    begin(begun, f"settings {digests[2]}")
    assert not (begun / "checkpoint").exists()
