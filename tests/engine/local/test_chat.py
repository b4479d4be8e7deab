from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerFast

from engine.local.chat import encode, encode_prompt, end_token_ids, reference, render_prompt, sample_text
from engine.local.template import ensure_chat_template, lacks_template
from engine.protocol.errors import InputError
from engine.protocol.rows import Message, Pair
from tests.engine.local.templates import MISTRAL, SYSTEM_LAST, TRIMMING
from tests.tiny import CHATML, make_tokenizer

TOKENIZER = make_tokenizer()
START, END = 1, 2
THINKING = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{{ m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
ROLES = {"s": "system", "u": "user", "a": "assistant"}

texts = st.text(st.characters(exclude_categories=["Cs"])) | st.lists(
    st.sampled_from(["<|im_end|>", "<|im_start|>", "<|im_", "end|>", "\n", "a", "\ue000", "0"])
).map("".join)


def chat(prompt: str, target: str) -> list[Message]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": target}]


@given(texts, texts, st.sampled_from([CHATML, THINKING, TRIMMING]))
def test_any_chat_has_one_prompt_and_one_end(prompt: str, target: str, template: str) -> None:
    tokenizer = make_tokenizer(template)
    messages = chat(prompt, target)
    encoded = encode(tokenizer, messages)
    assert encoded.prompt_ids == encode_prompt(tokenizer, messages[:-1])
    assert encoded.completion_ids[-1] == END
    assert encoded.completion_ids.count(END) == 1
    assert (encoded.prompt_ids.count(START), encoded.prompt_ids.count(END)) == (2, 1)
    said = tokenizer.decode(encoded.completion_ids[:-1], clean_up_tokenization_spaces=False)
    assert said == (target.strip() if template == TRIMMING else target)
    asked = tokenizer.decode(encoded.prompt_ids, clean_up_tokenization_spaces=False)
    shown = prompt.strip() if template == TRIMMING else prompt
    assert asked == f"<|im_start|>user\n{shown}<|im_end|>\n<|im_start|>assistant\n"


def test_a_plain_chat_is_tokenised_as_any_server_does_it() -> None:
    messages = chat("What is 1 + 1?", "2")
    encoded = encode(TOKENIZER, messages)
    rendered = TOKENIZER.apply_chat_template(messages, tokenize=False)
    assert encoded.prompt_ids + encoded.completion_ids == TOKENIZER(rendered.removesuffix("\n")).input_ids


def test_white_space_that_the_template_puts_before_an_answer_is_learned() -> None:
    tokenizer = make_tokenizer("{% for m in messages %}{{ '[' + m['role'] + '] ' + m['content'] }}"
                               "{% if m['role'] == 'assistant' %}<|im_end|>{% endif %}{% endfor %}"
                               "{% if add_generation_prompt %}[assistant]{% endif %}")  # fmt: skip
    assert tokenizer.decode(encode(tokenizer, chat("a", "b")).completion_ids) == " b<|im_end|>"


def test_the_end_of_a_turn_may_be_another_token_than_eos() -> None:
    tokenizer = make_tokenizer(CHATML)
    tokenizer.eos_token = "<|endoftext|>"
    assert end_token_ids(tokenizer) == {END}
    assert encode(tokenizer, chat("a", "b")).completion_ids[-1] == END


def test_a_base_model_gets_chatml_with_its_own_end_token() -> None:
    tokenizer: PreTrainedTokenizerFast = make_tokenizer(None)
    tokenizer.eos_token = "<|endoftext|>"
    tokenizer.pad_token = None
    ensure_chat_template(tokenizer)
    assert lacks_template(tokenizer) and not lacks_template(TOKENIZER)
    assert tokenizer.pad_token == "<|endoftext|>"
    encoded = encode(tokenizer, chat("a", "b"))
    assert tokenizer.decode(encoded.prompt_ids) == "<|im_start|>user\na<|endoftext|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(encoded.completion_ids) == "b<|endoftext|>"


def test_a_template_that_refuses_is_an_error_for_the_user() -> None:
    messages: list[Message] = [*chat("a", "b"), *chat("c", "d")[1:]]
    with pytest.raises(InputError, match="refuses this chat: roles must alternate"):
        encode(make_tokenizer(MISTRAL), messages)
    with pytest.raises(InputError, match="refuses this chat: roles must alternate"):
        sample_text(make_tokenizer(MISTRAL), Pair(id="p", messages=messages))
    assert encode(TOKENIZER, messages).completion_ids[-1] == END


def test_training_and_inference_are_shown_a_system_prompt_in_the_same_way() -> None:
    tokenizer = make_tokenizer(MISTRAL)
    messages: list[Message] = [{"role": "system", "content": "Be <|im_end|> brief."}, *chat("a", "b")]
    encoded = encode(tokenizer, messages)
    assert encoded.prompt_ids == encode_prompt(tokenizer, messages[:-1])
    assert tokenizer.decode(encoded.prompt_ids) == "<|im_start|>[INST] Be <|im_end|> brief.\n\na [/INST]"
    assert encoded.prompt_ids.count(END) == 0
    assert reference(tokenizer, messages) == "b"


@pytest.mark.parametrize("text", ["\ue000", "".join(map(chr, range(0xE000, 0xF8FF))), "0<|im_end|>\ue000\ue001"])
def test_private_characters_next_to_control_tokens_stay(text: str) -> None:
    encoded = encode(TOKENIZER, chat(f"<|im_end|>{text}1<|im_start|>", "b"))
    asked = TOKENIZER.decode(encoded.prompt_ids, clean_up_tokenization_spaces=False)
    assert f"<|im_end|>{text}1<|im_start|>" in asked
    assert encoded.prompt_ids.count(END) == 1


def test_a_tokenizer_that_starts_texts_with_a_space_starts_no_answer_with_one() -> None:
    tokenizer = make_tokenizer(
        "{% for m in messages %}{{ '<|im_start|>' + m.content + ' [/I]' if m.role == 'user' else m.content }}"
        "{{ '<|im_end|>' if m.role == 'assistant' else '' }}{% endfor %}"
    )
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    encoded = encode(tokenizer, chat("Hi.", "Yes."))
    assert encoded.completion_ids == tokenizer("a[/I]Yes.<|im_end|>").input_ids[-len("Yes.") - 1 :]
    assert tokenizer("Yes.<|im_end|>").input_ids != encoded.completion_ids


def test_a_sample_is_what_training_shows() -> None:
    tokenizer = make_tokenizer(SYSTEM_LAST)
    messages: list[Message] = [{"role": "system", "content": "s"}, *chat("<|im_end|>", "b")]
    encoded = encode(tokenizer, messages)
    sample = sample_text(tokenizer, Pair(id="p", messages=messages))
    assert sample == "<|im_start|>[INST] s\n\n<|im_end|>[/INST] b<|im_end|>"
    assert tokenizer.decode(encoded.prompt_ids + encoded.completion_ids) == sample


def test_the_real_model_is_shown_any_order_as_recorded(real_tokenizer: PreTrainedTokenizerFast) -> None:
    orders = ["ssu", "au", "uu", "us", "s", "ua", "suau"]
    for roles in orders:
        prompt = [Message(role=ROLES[role], content=f"{role}{number}") for number, role in enumerate(roles)]
        said = "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in prompt)
        text = render_prompt(real_tokenizer, prompt)
        assert text.endswith(said + "<|im_start|>assistant\n")
        encoded = encode(real_tokenizer, [*prompt, {"role": "assistant", "content": "x"}])
        assert encoded.prompt_ids == encode_prompt(real_tokenizer, prompt)
        assert real_tokenizer.decode(encoded.completion_ids) == "x<|im_end|>"
