"""The kind of each dev prompt, for programs that load no numpy."""

from __future__ import annotations

from pathlib import Path

from engine.dataset.kinds import kinds
from engine.protocol import jsonl
from engine.protocol.rows import Pair, prompt_id


def pair(text: str, category: str) -> Pair:
    prompt = [{"role": "user", "content": text}]
    messages = [*prompt, {"role": "assistant", "content": "yes"}]
    return Pair(id=prompt_id(prompt), messages=messages, category=category)  # type: ignore[arg-type]


def test_each_dev_prompt_has_the_kind_that_its_scores_are_told_by(tmp_path: Path) -> None:
    train = [pair(f"Bill {n}", "billing") for n in range(3)] + [pair(f"Bug {n}", "bug") for n in range(3)]
    dev = [pair("My bill", "billing"), *(pair(f"Some bug {n}", "bug") for n in range(4)), pair("Hm", "praise")]
    for name, rows in (("train", train), ("dev", dev)):
        jsonl.write(tmp_path / f"{name}.jsonl", (row.to_row() for row in rows))
    expected = {dev[0].id: "billing", **{row.id: "bug" for row in dev[1:5]}, dev[5].id: "other"}
    assert kinds(tmp_path) == expected
