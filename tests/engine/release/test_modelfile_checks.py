"""A Modelfile that says anything else than the release wrote is told by what it changes."""

from __future__ import annotations

import pytest

from engine.release.modelfile import modelfile
from engine.release.modelfile_checks import read, sampling_problem, text_problem
from engine.release.source import Source


def test_the_releases_own_has_no_problem(source: Source) -> None:
    text = modelfile(source, "model.gguf")
    assert (sampling_problem(source, text), text_problem(source, text)) == ("", "")
    commented = text.replace("PARAMETER top_k 0", "# mine\n\nparameter   top_k 0")
    assert (sampling_problem(source, commented), text_problem(source, commented)) == ("", "")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("PARAMETER temperature 0\n", "", "temperature nothing; for the sampling of the sealed test it is 0"),
        ("PARAMETER temperature 0", "PARAMETER temperature 0.8", "temperature 0.8; for"),
        ("PARAMETER repeat_penalty 1.0", "PARAMETER repeat_penalty 1.3", "repeat_penalty 1.3"),
        ("PARAMETER num_predict 12", "PARAMETER num_predict 4", "num_predict 4"),
        ("PARAMETER top_k 0", "PARAMETER top_k 0\nPARAMETER mirostat 2", "mirostat 2; for"),
        ("PARAMETER top_k 0", "PARAMETER top_k 0\nPARAMETER top_k 40", "top_k 0 and 40"),
    ],
)
def test_other_sampling_is_named(source: Source, old: str, new: str, said: str) -> None:
    text = modelfile(source, "model.gguf")
    assert old in text
    assert said in sampling_problem(source, text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('PARAMETER stop "<|im_end|>"', 'PARAMETER stop "x"', "other texts that end an answer"),
        ('PARAMETER stop "<|im_end|>"', "", "other texts that end an answer"),
        ("<|im_start|>user", "<|im_start|>User", "another TEMPLATE"),
        ("PARAMETER top_k 0", "PARAMETER top_k 0\nSYSTEM You are a pirate.", "another SYSTEM"),
        ("PARAMETER top_k 0", "PARAMETER top_k 0\nMESSAGE user Hi", "another MESSAGE"),
        ("PARAMETER top_k 0", "PARAMETER top_k 0\nADAPTER ./other", "another ADAPTER"),
    ],
)
def test_other_frames_of_a_chat_are_named(source: Source, old: str, new: str, said: str) -> None:
    text = modelfile(source, "model.gguf")
    assert old in text
    changed = text.replace(old, new, 1)
    assert said in text_problem(source, changed)
    assert sampling_problem(source, changed) == ""


def test_a_template_of_several_lines_is_one_argument() -> None:
    found = read('FROM ./a\nTEMPLATE """PARAMETER x 1\nSYSTEM b\n"""\nPARAMETER stop "a b"\nPARAMETER stop c\n')
    assert found.instructions == {"FROM": ["./a"], "TEMPLATE": ['"""PARAMETER x 1\nSYSTEM b\n"""']}
    assert found.parameters == {"stop": ['"a b"', "c"]}
