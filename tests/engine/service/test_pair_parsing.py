import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.service.output_parsing import MAX_CHARS, ParsingError, parse_pairs
from engine.service.pair_parsing import INSTRUCTION, RESPONSE

PAIR = {"instruction": "What?", "response": "That."}
DRAFT = {"instruction": "Draft?", "response": "DRAFT"}
CHAT = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "That."}]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"contents": [PAIR]}),
        json.dumps([PAIR]),
        json.dumps(PAIR),
        json.dumps({"contents": PAIR}),
        json.dumps({"pairs": [PAIR, {"instruction": "no response"}, 3, {"instruction": "a", "response": " "}]}),
        f"Here:\n```json\n{json.dumps({'contents': [PAIR]})}\n```",
        f"<think>[]</think>{json.dumps({'contents': [PAIR]})}",
        str({"contents": [PAIR]}),
        json.dumps({"contents": [PAIR, {"instruction": "cut", "response": "off"}]})[:-8],
        json.dumps({"contents": [{"instruction": " What? ", "response": "\nThat.\n"}]}),
        json.dumps({"topic": "questions", "tags": [], "count": 1, "pairs": [PAIR]}),
        json.dumps({"topic": "questions", "data": {"examples": [PAIR]}}),
        json.dumps({"pair_1": PAIR}),
        json.dumps({"prompt": "Write pairs.", "output": [PAIR]}),
        json.dumps({"Contents": [{"Instruction": "What?", "RESPONSE ": "That.", "kind": "question"}]}),
        *(
            json.dumps([{instruction: "What?", response: "That."}])
            for instruction in INSTRUCTION
            for response in RESPONSE
        ),
        json.dumps({"contents": [{"messages": CHAT}]}),
        json.dumps({"messages": [{"role": "system", "content": "Be short."}, *CHAT]}),
        json.dumps([CHAT]),
        json.dumps({"conversations": [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "That."}]}),
        f"{json.dumps([DRAFT])}\nHm, no.\n</think>\n\n{json.dumps({'contents': [PAIR]})}",
        f"Maybe {json.dumps({'contents': [DRAFT]})}?</think>{json.dumps({'contents': [PAIR]})}",
        f"<thought>{json.dumps([DRAFT])}</thought>{json.dumps([PAIR])}",
        f"analysisMaybe {json.dumps(DRAFT)}?assistantfinal{json.dumps(PAIR)}",
        json.dumps({"contents": [PAIR, {"instruction": "<text>", "response": "<text>"}]}),
        '{"contents": [{"instruction": "What?", "response": "That."}, ...]}',
        json.dumps([PAIR, {"instruction": "cut", "response": {"input": "a", "output": "b"}}])[:-2],
    ],
)
def test_pairs(text: str) -> None:
    assert parse_pairs(text) == [PAIR]


def test_a_response_of_json_becomes_its_text() -> None:
    assert parse_pairs('{"contents": [{"instruction": "a", "response": {"b": "ü"}}]}') == [
        {"instruction": "a", "response": '{"b": "ü"}'}
    ]


def test_pairs_in_lines() -> None:
    other = {"prompt": "Which?", "completion": "This."}
    assert parse_pairs("\n".join(map(json.dumps, [PAIR, {"messages": CHAT}, other]))) == [
        PAIR,
        PAIR,
        {"instruction": "Which?", "response": "This."},
    ]


@pytest.mark.parametrize(
    ("response", "text"),
    [("7", "7"), ("true", "true"), ("0", "0"), ("-1.5", "-1.5"), ("[]", "[]"), ('[{"a": 1}]', '[{"a": 1}]')],
)
def test_a_label_that_is_no_string_becomes_one(response: str, text: str) -> None:
    assert parse_pairs(f'[{{"instruction": "a", "response": {response}}}]') == [{"instruction": "a", "response": text}]


def test_a_list_of_strings_is_json_only_where_the_seed_is_such_a_list() -> None:
    text = '{"contents": [{"instruction": "a", "response": ["one", "two"]}]}'

    assert parse_pairs(text, like='["three"]') == [{"instruction": "a", "response": '["one", "two"]'}]
    for like in ("", "three\nfour", '{"a": 1}'):
        with pytest.raises(ParsingError, match="a response is a list of strings instead of a string"):
            parse_pairs(text, like=like)


@pytest.mark.parametrize(
    "placeholder",
    [
        *("<text>", "<instruction>", "<the new instruction>", "<your response here>", "[response]", "{instruction}"),
        *("...", "…", "<...>", "$instruction", "${response}", "Instruction 1", "response", "<Response text>"),
    ],
)
def test_a_placeholder_is_not_learned(placeholder: str) -> None:
    for flawed in ({**PAIR, "instruction": placeholder}, {**PAIR, "response": placeholder}):
        with pytest.raises(ParsingError, match="no pair can be used: a pair holds a placeholder instead of a text"):
            parse_pairs(json.dumps({"contents": [flawed]}))


@pytest.mark.parametrize(
    "text", ["<br>", "<b>text</b>", "[1]", "text", "Answer", "What is an instruction?", "<TITLE>", "string"]
)
def test_a_text_that_resembles_a_placeholder_is_kept(text: str) -> None:
    pair = {**PAIR, "response": text}
    assert parse_pairs(json.dumps([pair])) == [pair]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (" \n", "the reply is empty"),
        ("<think>It never ends", "the reply is empty"),
        ('[{"instruction": "a"}]', "no pair can be used: a pair lacks the text of its response"),
        ('[{"instruction": "a", "response": null}]', "no pair can be used: a pair lacks the text of its response"),
        ('[{"response": "a"}]', "no pair can be used: a pair lacks the text of its instruction"),
        (
            '[{"instruction": "Translate.", "input": "a", "output": "b"}]',
            "no pair can be used: an instruction must include its whole input",
        ),
        (
            json.dumps({"messages": [*CHAT, *CHAT]}),
            "no pair can be used: a pair is one user message and one assistant message",
        ),
        ("Here you are.", 'no JSON object of the form {"contents": [{"instruction": "...", "response": "..."}]}'),
    ],
)
def test_the_problem_is_told(text: str, problem: str) -> None:
    with pytest.raises(ParsingError) as told:
        parse_pairs(text)
    assert str(told.value) == problem


@pytest.mark.parametrize("text", ['{"contents": []}', "[]", '{"new_pairs": []}', '{"topic": "a", "pairs": []}'])
def test_no_pairs_is_an_answer(text: str) -> None:
    assert parse_pairs(text) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I can't help with that.",
        "{}",
        "[1, 2]",
        '{"contents": "none"}',
        '{"contents": [{"instruction": 3, "response": "a"}]}',
        "{'contents': [{'instruction': 'a', 'response': {'x': {1, 2}}}]}",
        "{'a': {(1, 2): 3}}",
    ],
)
def test_what_holds_no_pairs_is_refused(text: str) -> None:
    with pytest.raises(ParsingError):
        parse_pairs(text)


PARTS = [
    "[",
    "{",
    "{'a",
    "[]",
    "{'a': 1}",
    '{"',
    '{"instruction": ',
    '{"a": [',
    '{"messages": [',
    '"response": {',
    "</think>",
]


@pytest.mark.parametrize("part", PARTS)
def test_a_huge_reply_is_read_in_no_time(part: str) -> None:
    text = part * (5 * MAX_CHARS // len(part))
    began = time.process_time()
    with pytest.raises(ParsingError):
        parse_pairs(text)
        raise ParsingError("an empty list is an answer, too")
    assert time.process_time() - began < 5


PIECES = [
    *(
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        '"',
        "'",
        " ",
        "\n",
        "null",
        "7",
        "<think>",
        "</think>",
        "```json",
        "```",
        "\ud800",
    ),
    *('"instruction":', '"response":', '"Prompt":', '"output":', '"contents":', '"messages":', '"a"', "'b'", "<text>"),
    *(json.dumps(PAIR), str(PAIR), json.dumps(CHAT), json.dumps({"contents": [PAIR]})[:-5]),
]


@given(st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=30).map("".join)))
def test_any_text_gives_pairs_or_a_reply_error(text: str) -> None:
    try:
        found = parse_pairs(text)
    except ParsingError:
        return
    assert all(pair.keys() == {"instruction", "response"} and all(pair.values()) for pair in found)


@given(st.text(), st.text(), st.sampled_from(INSTRUCTION), st.sampled_from(RESPONSE), st.booleans())
def test_what_a_writer_wrote_comes_back(instruction: str, response: str, first: str, second: str, ascii_: bool) -> None:
    instruction, response = f"Say {instruction}", f"So {response}"
    text = json.dumps({"contents": [{first: instruction, second: response}]}, ensure_ascii=ascii_)

    assert parse_pairs(text) == [{"instruction": instruction.strip(), "response": response.strip()}]
