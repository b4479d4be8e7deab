from __future__ import annotations

import pytest

from engine.local.inference.own_template import refuse_own_template
from engine.protocol.errors import InputError
from engine.protocol.rows import Pair
from engine.settings.local import Inference
from tests.engine.local.families import FAMILIES, family_tokenizer
from tests.engine.local.test_frame import ASKED, CALL, RESULT, TOOL, YES

PAIR = Pair(id="p", messages=[*ASKED, YES])
SYSTEM = Pair(id="s", messages=[{"role": "system", "content": "Be kind."}, *PAIR.messages])
CALLED = Pair(id="c", messages=[*ASKED, CALL, RESULT, YES], tools=[TOOL])


def endpoint(serve: str) -> Inference:
    return Inference(backend="endpoint", serve=serve)


@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("an open thinking block, closed in answered chats", PAIR),
        ("a date from the clock", PAIR),
        ("tools and results by other names", CALLED),
        ("calls with arguments as text", CALLED),
        ("results by the name of their function", CALLED),
        ("tools that are always gone through", PAIR),
        ("contents in parts", PAIR),
    ],
)
def test_a_template_that_makes_other_prompts_on_a_server_is_refused_before_anything_is_paid(
    name: str, pair: Pair
) -> None:
    tokenizer = family_tokenizer(FAMILIES[name])
    with pytest.raises(InputError, match="other prompts than training does, 1 of 1") as caught:
        refuse_own_template(endpoint("llama-server -m {model} --port {port}"), tokenizer, [pair])
    assert "{merged}" in caught.value.hint
    for serve in ("serve {merged} --port {port}", "serve {model} --chat-template x.jinja --port {port}"):
        refuse_own_template(endpoint(serve), tokenizer, [pair])
    refuse_own_template(Inference(backend="vllm"), tokenizer, [pair])


@pytest.mark.parametrize(
    ("name", "pair"),
    [
        ("thinking off by enable_thinking", PAIR),
        ("thinking off by another argument", PAIR),
        ("a date that must be given", PAIR),
        ("no system role, strict turns, trimmed", SYSTEM),
        ("a thinking block before each answer", CALLED),
    ],
)
def test_a_template_that_takes_arguments_may_be_the_servers(name: str, pair: Pair) -> None:
    refuse_own_template(endpoint("serve {model} --port {port}"), family_tokenizer(FAMILIES[name]), [pair])
