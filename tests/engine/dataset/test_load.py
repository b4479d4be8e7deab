from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.dataset.formats.exchange import SEVERAL
from engine.dataset.load import NOT_SAMPLED, Loaded, ReadProgress, load
from engine.dataset.record import MAX_ROW
from engine.protocol.errors import InputError
from engine.settings.schema import Columns, Coverage
from tests.expected import FOLDER, cases, problems

SHARED = Path(__file__).parents[4] / "shared" / "data" / "classification.jsonl"
GOOD = '{"prompt": "Where is it?", "response": "shipping", "category": "parcel"}'
OTHER = '{"prompt": "I want my money back", "response": "billing"}'

Write = Callable[[str, str | bytes], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, content: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return str(path)

    return write


def read(source: str, **columns: str) -> Loaded:
    return load(Coverage(source=source, columns=Columns(**columns)))


def answers(loaded: Loaded) -> list[tuple[str, str]]:
    return [(pair.prompt[-1]["content"], pair.target) for pair in loaded.pairs]


def error_of(source: str, **columns: str) -> InputError:
    with pytest.raises(InputError) as caught:
        read(source, **columns)
    return caught.value


def test_jsonl_keeps_category_and_place(write: Write) -> None:
    loaded = read(write("tickets.jsonl", f"{GOOD}\n\n{OTHER}\n"))
    assert answers(loaded) == [("Where is it?", "shipping"), ("I want my money back", "billing")]
    assert [(p.category, p.source) for p in loaded.pairs] == [("parcel", "tickets.jsonl:1"), ("", "tickets.jsonl:3")]
    assert loaded.dropped == []


def test_bom_crlf_blank_lines_and_a_missing_last_newline(write: Write) -> None:
    loaded = read(write("a.jsonl", f"\ufeff{GOOD}\r\n\r\n  \r\n{OTHER}"))
    assert [p.source for p in loaded.pairs] == ["a.jsonl:1", "a.jsonl:4"]
    assert loaded.dropped == []


def test_every_bad_line_is_reported_with_its_reason(write: Write) -> None:
    lines = [
        b'{"prompt": "x" "response": 1}',
        b"[1, 2]",
        b"\xff\xfe broken",
        b"[" * 100_000,
        b'{"prompt": "x", "response": ' + b"9" * 5000 + b"}",
        b'{"prompt": "x", "response": "' + b"y" * MAX_ROW + b'"}',
        GOOD.encode(),
        b'{"prompt": "a\\u0000", "response": "y"}',
        b'{"torn": ',
    ]
    loaded = read(write("a.jsonl", b"\n".join(lines)))
    assert [p.source for p in loaded.pairs] == ["a.jsonl:7"]
    assert [(d.line, d.reason) for d in loaded.dropped] == [
        (1, "invalid JSON: Expecting ',' delimiter (column 16)"),
        (2, "not an object: the row is a list"),
        (3, "not UTF-8 text: column 1"),
        (4, "invalid JSON: nested too deeply"),
        (5, "invalid JSON: a number with too many digits"),
        (6, "larger than 1 MB"),
        (8, "unusable text: the user's text contains a NUL character"),
        (9, "invalid JSON: Expecting value (column 9)"),
    ]
    assert loaded.dropped[0].row == lines[0].decode()
    assert all(len(d.row) <= 2000 for d in loaded.dropped)


def test_the_first_of_equal_prompts_is_kept(write: Write) -> None:
    same = '{"prompt": " Where is it?", "response": "shipping"}'
    differs = '{"prompt": "Where is it?\\n", "response": "billing"}'
    loaded = read(write("a.jsonl", f"{GOOD}\n{same}\n{differs}\n{OTHER}\n"))
    assert [p.source for p in loaded.pairs] == ["a.jsonl:1", "a.jsonl:4"]
    assert [(d.line, d.reason, d.twin) for d in loaded.dropped] == [
        (2, "same prompt: as a.jsonl:1", loaded.pairs[0].id),
        (3, "same prompt: as a.jsonl:1, with another response", loaded.pairs[0].id),
    ]


@pytest.mark.parametrize("content", [f"[{GOOD},\n{OTHER}, 3]", f" \n[{GOOD}, {OTHER}, 3]", f"{GOOD}\n{OTHER}\n3\n"])
def test_json_holds_a_list_or_lines(write: Write, content: str) -> None:
    loaded = read(write("a.json", content))
    assert [p.source for p in loaded.pairs] == ["a.json:1", "a.json:2"]
    assert [(d.line, d.reason) for d in loaded.dropped] == [(3, "not an object: the row is a number")]


def test_broken_json_names_line_and_column(write: Write) -> None:
    assert "a.json:2:3: invalid JSON" in error_of(write("a.json", "[{},\n  x]")).message


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_with_quotes_numbers_and_bad_rows(write: Write, delimiter: str) -> None:
    rows = [
        ["Prompt", "Response", "Category"],
        ['"two\nlines, ""quoted"";"', "3", "a"],
        ["only one"],
        [],
        ["empty", " ", ""],
        ["last", "4.50", ""],
    ]
    content = "\r\n".join(delimiter.join(cells) for cells in rows)
    loaded = read(write("a.csv", b"\xef\xbb\xbf" + content.encode()))
    assert answers(loaded) == [('two\nlines, "quoted";', "3"), ("last", "4.50")]
    assert [p.source for p in loaded.pairs] == ["a.csv:2", "a.csv:7"]
    assert [(d.line, d.reason) for d in loaded.dropped] == [
        (4, "wrong number of fields: the header has 3, this row 1"),
        (6, "no answer: the response is empty"),
    ]


def test_csv_bytes_that_are_not_utf8_cost_only_their_row(write: Write) -> None:
    loaded = read(write("a.csv", b"prompt,response\nf\xfcr,x\ngood,\xc3\xbc\n"))
    assert answers(loaded) == [("good", "ü")]
    assert [(d.line, "not UTF-8" in d.reason) for d in loaded.dropped] == [(2, True)]


def test_large_csv_fields_are_read_or_reported(write: Write) -> None:
    long, too_long = "x" * 200_000, "x" * (MAX_ROW + 1)
    loaded = read(write("a.csv", f"prompt,response\na,{long}\nb,{too_long}\n"))
    assert answers(loaded) == [("a", long)]
    assert [(d.line, d.reason) for d in loaded.dropped] == [(3, "larger than 1 MB")]


def test_unknown_columns_list_those_that_exist(write: Write) -> None:
    source = write("a.csv", "frage,antwort\nx,y\n")
    assert answers(read(source, prompt="frage", response="antwort")) == [("x", "y")]
    assert error_of(source).message.endswith("no column for the prompt; there are: 'frage', 'antwort'")
    named = error_of(source, prompt="frage", response="nope")
    assert "no column 'nope' (coverage.columns.response); there are: 'frage', 'antwort'" in named.message
    assert "coverage.columns" in error_of(source).hint


def test_a_column_named_twice_is_an_error(write: Write) -> None:
    assert "two columns are named 'prompt'" in error_of(write("a.csv", "prompt,prompt,response\nx,y,z\n")).message


def test_parquet_with_messages_and_with_columns(tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "greeting"}]
    pq.write_table(pa.table({"messages": [chat, None], "category": ["a", "b"]}), tmp_path / "chat.parquet")
    loaded = read(str(tmp_path / "chat.parquet"))
    assert [(p.messages, p.category, p.source) for p in loaded.pairs] == [(chat, "a", "chat.parquet:1")]
    assert [d.line for d in loaded.dropped] == [2]
    pq.write_table(pa.table({"prompt": ["x", "y"], "response": [3, None]}), tmp_path / "columns.parquet")
    loaded = read(str(tmp_path / "columns.parquet"))
    assert answers(loaded) == [("x", "3")]
    assert [(d.line, d.reason) for d in loaded.dropped] == [(2, "no answer: the response is empty")]


def test_a_broken_parquet_file_is_an_error(write: Write) -> None:
    assert "not a valid Parquet file" in error_of(write("a.parquet", b"PAR1 no")).message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b"", "has no rows"),
        ("a.jsonl", b"\n \n", "has no rows"),
        ("a.csv", b"", "has no rows"),
        ("a.csv", b"prompt,response\n", "has no rows"),
        ("a.json", b"[]", "has no rows"),
        ("a.jsonl", GOOD.encode("utf-16-le"), "is not UTF-8 text"),
        ("a.json", b'["\xff"]', "is not UTF-8 text"),
        ("a.json", b"[" * 100_000, "nested too deeply"),
        ("a.txt", b"x", "unknown file type"),
        (
            "a.jsonl",
            b"{}\nx\n",
            "all 2 rows are unusable (1 × no prompt, 1 × invalid JSON); row 1: no prompt",
        ),
        ("a.jsonl", b"x\n", "the only row is unusable; row 1: invalid JSON: Expecting value (column 1)"),
    ],
)
def test_unusable_files_are_one_line_and_a_hint(write: Write, name: str, content: bytes, message: str) -> None:
    error = error_of(write(name, content))
    assert message in error.message
    assert "\n" not in error.message


def test_missing_files_name_the_nearest(write: Write, tmp_path: Path) -> None:
    write("tickets.jsonl", GOOD)
    error = error_of(str(tmp_path / "ticket.jsonl"))
    assert error.message.endswith("ticket.jsonl: no such file")
    assert error.hint == "did you mean 'tickets.jsonl'?"
    assert "does not exist" in error_of(str(tmp_path / "nowhere" / "a.jsonl")).hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(write: Write) -> None:
    source = write("a.jsonl", GOOD)
    Path(source).chmod(0)
    assert "cannot be read: Permission denied" in error_of(source).message


@pytest.mark.parametrize("source", ["org/name.jsonl", "./org/name", "tickets", "a/b/c", "org/name: split"])
def test_what_is_no_hub_id_is_a_missing_file(source: str) -> None:
    assert error_of(source).message.endswith("no such file")


class Hub:
    """Stands for `datasets.load_dataset`: answers with rows or raises."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    def __call__(self, name: str, *, split: str) -> Any:
        self.asked.append((name, split))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def test_hub_datasets_with_and_without_a_split(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    hub = Hub(datasets.Dataset.from_list([json.loads(GOOD), {**json.loads(OTHER), "category": None}]))
    monkeypatch.setattr(datasets, "load_dataset", hub)
    loaded = read("org/tickets")
    assert answers(loaded) == [("Where is it?", "shipping"), ("I want my money back", "billing")]
    assert [p.source for p in loaded.pairs] == ["org/tickets:train:1", "org/tickets:train:2"]
    assert read("org/tickets:train_sft[:10%]").pairs[0].source == "org/tickets:train_sft[:10%]:1"
    assert hub.asked == [("org/tickets", "train"), ("org/tickets", "train_sft[:10%]")]
    hub.answer = datasets.Dataset.from_list([{"text": "x", "label": 1}])
    assert "there are: 'text', 'label'" in error_of("org/tickets").message


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("DatasetNotFoundError", "org/x: no such file, and no such dataset on the Hub"),
        ("DataFilesNotFoundError", "org/x: the dataset cannot be loaded: reason"),
        (ConnectionError("reason"), "the Hub cannot be reached"),
        (ValueError('Unknown split "x".\nMore'), 'org/x: the dataset cannot be loaded: Unknown split "x".'),
    ],
)
def test_hub_failures_are_explained(monkeypatch: pytest.MonkeyPatch, failure: str | Exception, message: str) -> None:
    datasets = pytest.importorskip("datasets")
    raised = getattr(datasets.exceptions, failure)("reason") if isinstance(failure, str) else failure
    monkeypatch.setattr(datasets, "load_dataset", Hub(raised))
    error = error_of("org/x")
    assert message in error.message
    assert "\n" not in error.message


@pytest.mark.skipif(not SHARED.exists(), reason="the LlamaDuo dataset is not here")
def test_llamaduo_columns_are_read_whole() -> None:
    loaded = read(str(SHARED))
    assert len(loaded.pairs) == 339
    assert loaded.dropped == []
    assert {pair.category for pair in loaded.pairs} == {"Classify", "Classification"}


@pytest.mark.skipif(not cases(), reason="the exports are not here")
@pytest.mark.parametrize("case", cases(), ids=lambda case: case["file"])
def test_exports_are_read_as_they_mean(case: dict[str, Any]) -> None:
    assert list(problems(FOLDER, case)) == []


def chat(*texts: str, **more: Any) -> str:
    roles = ("user", "assistant") * len(texts)
    turns = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
    return json.dumps({"messages": turns, **more})


def test_the_last_answer_is_learned_or_each_of_them(write: Write) -> None:
    source = write("a.jsonl", f"{chat('Hi', 'Hello', 'And?', 'Bye')}\n{chat('One', '1')}\n")
    last = load(Coverage(source=source))
    assert answers(last) == [("And?", "Bye"), ("One", "1")]
    assert last.notes == {SEVERAL: 1}
    every = load(Coverage(source=source, turns="all"))
    assert answers(every) == [("Hi", "Hello"), ("And?", "Bye"), ("One", "1")]
    assert [pair.group for pair in every.pairs] == ["a.jsonl:1", "a.jsonl:1", ""]
    assert not every.notes


def test_formats_are_counted_with_their_container(write: Write) -> None:
    loaded = read(write("a.jsonl", f"{GOOD}\n{OTHER}\n{chat('Hi', 'Hello')}\nx\n"))
    assert loaded.formats == {"prompt and response, JSONL": 2, "chat messages, JSONL": 1}
    assert loaded.rows == 4


def test_an_optional_column_that_no_row_has_is_an_error(write: Write) -> None:
    source = write("a.jsonl", f"{GOOD}\n{OTHER}\n")
    assert read(source, category="category").pairs[1].category == ""
    error = error_of(source, category="intent")
    assert error.message == "coverage.columns.category: no row has a column 'intent'"
    assert error.hint == "there are: 'prompt', 'response', 'category'"


def test_several_files_are_one_dataset(write: Write) -> None:
    sources = [write("b.jsonl", GOOD), write("a.csv", "prompt,response\nHi,Hello\n")]
    loaded = load(Coverage(source=sources))
    assert [pair.source for pair in loaded.pairs] == ["b.jsonl:1", "a.csv:2"]


def test_pairs_that_the_model_cannot_be_shown_are_dropped_after_reading(write: Write) -> None:
    source = write("a.jsonl", f"{GOOD}\n{OTHER}\n")
    loaded = load(Coverage(source=source), lambda pair: "misfit: no" if "money" in pair.prompt[0]["content"] else "")
    assert answers(loaded) == [("Where is it?", "shipping")]
    assert [(row.place, row.kind) for row in loaded.dropped] == [("a.jsonl:2", "misfit")]
    with pytest.raises(InputError, match="the only row is unusable") as caught:
        load(Coverage(source=write("b.jsonl", GOOD)), lambda _: "misfit: no")
    assert "local.model" in caught.value.hint


def test_progress_is_told(write: Write) -> None:
    told: list[ReadProgress] = []
    load(Coverage(source=write("a.jsonl", f"{GOOD}\n{OTHER}\n")), progress=told.append)
    assert told[-1] == ReadProgress(2, 1.0)


def test_a_limit_takes_a_sample_and_tells_how_many_are_left(write: Write) -> None:
    lines = [json.dumps({"prompt": f"Question {n}?", "response": "a", "category": "ab"[n % 2]}) for n in range(60)]
    source = write("a.jsonl", "\n".join(lines))
    loaded = load(Coverage(source=source, limit=10))
    assert sorted(pair.category for pair in loaded.pairs) == ["a"] * 5 + ["b"] * 5
    assert loaded.notes == {NOT_SAMPLED: 50}
    assert loaded.pairs == load(Coverage(source=source, limit=10)).pairs


def test_personal_data_is_masked_before_anything_else_sees_it(write: Write) -> None:
    row = {"prompt": "Write to jane.roe@example.org about it.", "response": "Sent to jane.roe@example.org."}
    other = {"prompt": "Write to joe.doe@example.org about it.", "response": "Sent."}
    loaded = load(Coverage(source=write("a.jsonl", f"{json.dumps(row)}\n{json.dumps(other)}\n"), redact=True))
    assert answers(loaded) == [("Write to [EMAIL_1] about it.", "Sent to [EMAIL_1].")]
    assert loaded.dropped[0].kind == "same prompt"


def test_depth_that_no_reader_stands_is_a_reason(write: Write) -> None:
    deep = '{"response":' * 950 + "1" + "}" * 950
    loaded = read(write("a.jsonl", f'{GOOD}\n{{"request.a": 1, "response": {deep}}}\n'))
    assert answers(loaded) == [("Where is it?", "shipping")]
    assert len(loaded.dropped) == 1
