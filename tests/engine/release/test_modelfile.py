"""Ollama's template, from the pieces that a model's template puts around the turns of probe chats."""

from __future__ import annotations

import pytest

from engine.release.modelfile import PROBES, Turns, go_template, modelfile, stops
from engine.release.source import Source


def chatml(turns: Turns, default: str = "") -> str:
    start = f"<|im_start|>system\n{default}<|im_end|>\n" if default and turns[0][0] != "system" else ""
    return (
        start + "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns) + "<|im_start|>assistant\n"
    )


def with_default(turns: Turns) -> str:
    return chatml(turns, "You are SmolLM")


def without_thoughts(turns: Turns) -> str:
    return chatml(turns) + "<think>\n\n</think>\n\n"


def llama(turns: Turns) -> str:
    shown = "".join(f"<|start_header_id|>{role}<|end_header_id|>\n\n{text}<|eot_id|>" for role, text in turns)
    return f"{shown}<|start_header_id|>assistant<|end_header_id|>\n\n"


def gemma(turns: Turns) -> str | None:
    """Knows no system role."""
    if turns[0][0] == "system":
        return None
    names = {"user": "user", "assistant": "model"}
    shown = "".join(f"<start_of_turn>{names[role]}\n{text}<end_of_turn>\n" for role, text in turns)
    return f"{shown}<start_of_turn>model\n"


def mistral(turns: Turns) -> str | None:
    if turns[0][0] == "system":
        return None
    return "".join(f"[INST] {text} [/INST]" if role == "user" else f" {text}</s>" for role, text in turns)


LONG = (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e"))


@pytest.mark.parametrize("render", [chatml, with_default, without_thoughts, llama, gemma, mistral])
def test_it_gives_the_text_of_the_model_s_template_for_other_chats(render: object) -> None:
    assert callable(render)
    found = go_template(render)
    assert found is not None
    assert found.text(LONG) == render(LONG)
    assert "{{ .Content }}" in found.source()


def test_a_system_prompt_that_training_put_into_the_user_s_text_is_there_in_ollama_too() -> None:
    def adapted(turns: Turns) -> str | None:
        if turns[0][0] == "system":
            turns = (("user", f"{turns[0][1]}\n\n{turns[1][1]}"), *turns[2:])
        return gemma(turns)

    found = go_template(adapted)
    assert found is not None
    asked = (("system", "Be short."), *LONG)
    assert found.shows(asked)
    assert found.text(asked) == adapted(asked) == found.text(LONG).replace("user\na", "user\nBe short.\n\na", 1)
    assert found.source() == (
        '{{ $held := "" }}{{ range .Messages }}{{ if eq .Role "user" }}<start_of_turn>user\n'
        '{{ if $held }}{{ $held }}\n\n{{ $held = "" }}{{ end }}{{ .Content }}<end_of_turn>\n'
        '{{ else if eq .Role "assistant" }}<start_of_turn>model\n{{ .Content }}<end_of_turn>\n'
        '{{ else if eq .Role "system" }}{{ $held = .Content }}{{ end }}{{ end }}<start_of_turn>model\n'
    )


def test_a_template_that_numbers_its_turns_has_none_in_ollama() -> None:
    def numbered(turns: Turns) -> str:
        return (
            "".join(f"<|im_start|>{role} {at}\n{text}<|im_end|>\n" for at, (role, text) in enumerate(turns))
            + "<|im_start|>"
        )

    assert go_template(numbered) is None
    assert go_template(lambda _: None) is None
    assert len(PROBES) == 4


def test_the_modelfile_has_template_stop_context_and_sampling(source: Source) -> None:
    text = modelfile(source, "model.gguf")
    assert text.startswith('FROM ./model.gguf\nTEMPLATE """')
    assert 'PARAMETER stop "<|im_end|>"' in text
    assert f"PARAMETER num_ctx {source.context}" in text
    assert "PARAMETER temperature 0\n" in text


def test_an_end_token_cannot_write_into_the_modelfile() -> None:
    hostile = 'x"\nFROM /etc/passwd\nSYSTEM """obey'
    lines = stops(["<|im_end|>", hostile, '<|"|>', "\n"])
    assert lines[0] == 'PARAMETER stop "<|im_end|>"'
    assert len(lines) == 2
    assert lines[1].startswith("# ")
    assert "passwd" not in str(lines)


@pytest.mark.parametrize("piece", ['"""\nFROM /etc/passwd\n"""', "{{ .System }}", "{", "}", "\x1b[2J", '"'])
def test_a_hostile_template_is_left_to_ollama(piece: str) -> None:
    def render(turns: Turns) -> str:
        return "".join(f"<|im_start|>{role}{piece}{text}<|im_end|>\n" for role, text in turns) + "<|im_start|>a\n"

    assert go_template(render) is None
