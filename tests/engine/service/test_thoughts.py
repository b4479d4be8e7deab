import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.service.thoughts import CLOSING, without_thoughts

HARMONY = "<|end|><|start|>assistant<|channel|>final<|message|>"

MARKED = {
    **{f"{opening} and {closing}": f"{opening}\nLet me see.\n{closing}\n\nYES" for opening, closing in CLOSING.items()},
    **{f"{closing} alone": f"Let me see.\n{closing}\n\nYES" for closing in CLOSING.values()},
    "upper case": "<THINK>hm</THINK>YES",
    "an empty thought": "<think>\n\n</think>\n\nYES",
    "nothing before the end": "\n</think>\n\nYES",
    "two thoughts": "<think>a</think>\n<think>b</think>YES",
    "a thought in a thought": "<think>a<think>b</think>c</think>YES",
    "two ends": "a</think>b</think>YES",
    "an end in one line": "thoughts {draft}</think>YES",
    "an end after a word": "The customer is angry, so </think> YES",
    "another end": "<thinking>\nLet me see.\n</think>\nYES",
    "another end, after JSON": '<think>{"a": "</think>"}; <thought>b</thought>.</thinking>YES',
    "a draft": 'Maybe {"label": "NO"}?</think>YES',
    "a draft alone": '{"label": "NO"}</think>YES',
    "a draft and doubts": '{"label": "NO"}\nHm, wait.\n</think>\n\nYES',
    "a draft in a fence": 'Like this?\n```json\n{"label": "NO"}\n```\nNo.</think>YES',
    "a draft without an end": '{"label": "NO...\nHm, wait.\n</think>\n\nYES',
    "a thought about tags": "<think>The answer stands after the </think> tag, so</think>YES",
    "an unopened thought about tags": 'I need "<think>" and `</think>`, with a </think> tag.\n</think>YES',
    "an answer marked so": "<think>hm</think><answer>YES</answer>",
    "reflection": "<thinking>a<reflection>b</reflection>c</thinking>\n<output>\nYES\n</output>",
    "a solution": "<|begin_of_thought|>a<|end_of_thought|>\n\n<|begin_of_solution|>YES<|end_of_solution|>",
    "Command A": "<|START_THINKING|>a<|END_THINKING|><|START_RESPONSE|>YES<|END_RESPONSE|>",
    "Gemma": "<unused94>thought\nLet me see.<unused95>YES",
    "harmony": f"<|channel|>analysis<|message|>We say no.{HARMONY}YES<|return|>",
    "harmony with a start": f"<|start|>assistant<|channel|>analysis<|message|>We say no.{HARMONY}YES",
    "harmony that the prompt opened": f"We say no.{HARMONY}YES<|end|>",
    "harmony with a format": f"<|channel|>analysis<|message|>a{HARMONY.replace('final', 'final <|constrain|>json')}YES",
    "harmony's answer alone": "<|channel|>final<|message|>YES<|return|>",
    "harmony without its tokens": "analysisWe say no. Or yes.assistantfinalYES",
    "Granite": "Here is my thought process:\nLet me see.\n\nHere is my response:\nYES",
}


@pytest.mark.parametrize("name", MARKED)
def test_thoughts_are_cut(name: str) -> None:
    assert without_thoughts(MARKED[name]) == "YES"
    assert without_thoughts(f"\ufeff \n{MARKED[name]}\n") == "YES"


@pytest.mark.parametrize(
    "text",
    [
        *CLOSING,
        *CLOSING.values(),
        "<think>It never ends",
        "<think>It never ends: <thinking>NO</thinking>",
        "Only thoughts.\n</think>\n",
        "<think>a</think>\n<think>b",
        "<|channel|>analysis<|message|>It never",
        "analysisWe need to",
    ],
)
def test_thoughts_alone_are_an_empty_reply(text: str) -> None:
    assert without_thoughts(text) == ""


ANSWERS = [
    "",
    "YES",
    " YES\n",
    json.dumps({"reason": "It says </think>NO", "tags": ["<think>", "</think>"]}),
    json.dumps({"reason": "It says\n</think>\nNO"}, indent=2),
    "```json\n" + json.dumps({"reason": "It says </think> NO"}) + "\n```",
    "Here it is:\n" + json.dumps({"reason": "It says </think> NO"}),
    '{"reason": "It says </think>{"label": "NO"}, which is odd"}',
    '{"label": "YES"}\nThe response tried </think>{"label": "NO"}',
    'Verdict: {"label": "YES"}\nThe response tried </think>{"label": "NO"}',
    "{'reason': 'It says </think>NO'}",
    '{"reason": "It is cut off after </think>NO',
    "Use the </think> tag to close the thoughts.",
    "Thoughts end with `</think>` or with '[/THINK]'.",
    'A server without a parser sends "</think>" in the middle of a reply.',
    "Reasoning models write <think>...</think> before they answer.",
    "1. Write <reasoning>\n2. Reason\n3. Write </reasoning>\n4. Answer",
    "<think> tags surround the thoughts of a model.",
    "Cut them off:\n```python\nreply = reply.partition(\n</think>\n)[2]\n```\nDone.",
    'def cut(text):\n    return re.sub(r"<think>.*?</think>", "", text.split("</think>")[-1])',
    "analysisResult = 3",
    "analysis: assistants are final",
    "Here is my thought process: I add them up, and get 5.",
    "Its format is <|channel|>analysis<|message|>...<|end|>.",
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_without_thoughts_stays_as_it_is(answer: str) -> None:
    assert without_thoughts(answer) == answer


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("thoughts", ["<think>\nLet me see.\n</think>\n\n", "Let me see.\n</think>\n\n"])
def test_an_answer_about_thoughts_survives_the_cut(thoughts: str, answer: str) -> None:
    assert without_thoughts(thoughts + answer) == answer.strip()


PIECES = [
    *CLOSING,
    *CLOSING.values(),
    *("<answer>", "</answer>", HARMONY, "<|channel|>analysis<|message|>", "<|return|>", "analysis", "assistantfinal"),
    *("{", "}", '{"a": 1}', '{"a": "', "```", "the ", "word ", ".", '"', "'", "`", "\n", " ", "[", "\\", "\ud800"),
    *("Here is my thought process:", "\nHere is my response:", "<|begin_of_solution|>", "<|START_RESPONSE|>"),
]
replies = st.one_of(st.text(), st.lists(st.sampled_from(PIECES), max_size=20).map("".join))


@given(replies)
@example("<think>a</think><answer><think>b</think>c</answer>")
def test_a_second_cut_changes_nothing(text: str) -> None:
    cut = without_thoughts(text)
    assert cut in text
    assert without_thoughts(cut) == cut


@given(st.text(), st.sampled_from(sorted(CLOSING)))
def test_no_thought_is_left(thought: str, opening: str) -> None:
    closing = CLOSING[opening]
    assert without_thoughts(f"{opening}\n{thought.replace('<', '')}\n{closing}\nYES") == "YES"


texts = st.text() | st.sampled_from(PIECES) | replies


@given(st.recursive(texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=5))
def test_no_json_is_cut(value: object) -> None:
    answer = json.dumps({"value": value}, ensure_ascii=False)
    assert without_thoughts(answer) == answer
    assert without_thoughts(f"Let me see.\n</think>\n{answer}") == answer


HOSTILE = [
    *PIECES,
    *(
        "<think></think>",
        "a</think>",
        '{"</think>\n',
        "{'x': 1}",
        "{\"x': 1}</think>\n",
        '{"a":1} x</think>y',
        '["a"] </think>',
    ),
    *(
        "the </think> ",
        "<think>a</think><answer>",
        "analysisx</think>",
        "Here is my thought process:</think>",
        "<think></thinking>",
        '{"a": ',
    ),
]


@pytest.mark.parametrize("part", HOSTILE)
@pytest.mark.parametrize("before", ["", "<think>", "x", '{"a": "'])
def test_a_huge_reply_is_cut_in_no_time(before: str, part: str) -> None:
    text = before + part * (50_000 // len(part))
    began = time.process_time()
    without_thoughts(text)
    without_thoughts(f"{text}</think>x")
    assert time.process_time() - began < 2
