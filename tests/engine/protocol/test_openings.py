import pytest

from engine.protocol import records
from engine.protocol.openings import Openings

BETTER = "scores on them may be better than on new ones."


@pytest.mark.parametrize(
    "numbers, sentence",
    [
        ((0, 0, 64, 0, 0), ""),
        ((0, 0, 0, 0, 0), ""),
        ((2, 60, 64, 2, 2), "60 of these 64 sealed prompts were opened 2 times before, by 2 earlier runs"),
        ((1, 1, 64, 1, 1), "1 of these 64 sealed prompts was opened once before, by an earlier run"),
        (
            (3, 1_500, 2_000, 1, 2),
            "1,500 of these 2,000 sealed prompts were opened up to 2 times before, by 3 earlier runs",
        ),
        ((2, 64, 64, 1, 1), "All 64 sealed prompts were opened once before, by 2 earlier runs"),
        ((1, 1, 1, 1, 1), "The sealed prompt was opened once before, by an earlier run"),
    ],
)
def test_the_sentence_says_how_many_how_often_and_by_whom(numbers: tuple[int, ...], sentence: str) -> None:
    runs, prompts, of, fewest, most = numbers
    found = Openings(runs=runs, prompts=prompts, of=of, fewest=fewest, most=most)

    assert found.sentence == (f"{sentence}: {BETTER}" if sentence else "")
    assert records.build(Openings, records.to_row(found)) == found


def test_what_is_not_known_is_said() -> None:
    unknown = Openings(runs=0, prompts=0, of=3, unknown="/a: disk I/O error")
    assert unknown.sentence == "It is unknown whether these sealed prompts were opened before: /a: disk I/O error."

    unrecorded = Openings(runs=1, prompts=3, of=3, fewest=1, most=1, unrecorded="/a: Read-only file system")
    assert unrecorded.sentence == (
        f"All 3 sealed prompts were opened once before, by an earlier run: {BETTER} Later runs will not know that this "
        "one opened them, since that could not be recorded: /a: Read-only file system."
    )
