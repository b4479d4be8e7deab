from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.local.chat import render_prompt
from engine.local.chat_shape import PROBE_TOOL
from engine.local.resolve import ResolvedModel
from engine.local.tokenizer import load_tokenizer, loading_errors
from engine.protocol.errors import InputError
from engine.protocol.rows import Message
from engine.settings.local import Local
from tests.engine.local.broken import POINTER
from tests.tiny import CHATML, TOOLS, make_tokenizer

LOOK = """
import sys
from engine.local import chat, lengths, template_support
assert "transformers" not in sys.modules
from engine.local import tokenizer
print("LOADED", *[name for name in ("peft", "bitsandbytes", "trl", "accelerate") if name in sys.modules])
"""


def test_a_tokenizer_that_cannot_be_loaded_is_an_error_for_the_user(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "never-heard-of"}')
    broken = ResolvedModel("broken", tmp_path, None, "")
    with pytest.raises(InputError, match="broken: has no tokenizer") as caught:
        load_tokenizer(broken, Local())
    assert "copy tokenizer.json" in caught.value.hint
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="broken: cannot load the tokenizer"):
        load_tokenizer(broken, Local())


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (ValueError("a\nb"), "cannot load it: a", "choose another model in local.model"),
        (ValueError("one of:\n(1) this\n(2) that"), "cannot load it: one of: (1) this", "choose another model"),
        (KeyError("lm_head"), "cannot load it: KeyError 'lm_head'", "choose another model"),
        (IndexError(), "cannot load it: IndexError", "choose another model"),
        (
            ValueError("The repository m contains custom code which must be executed; pass `trust_remote_code=True`"),
            "contains custom code",
            "; to run it, set [local] trust_remote_code to the name in local.model",
        ),
        (ImportError("requires the kernels library: `pip install -U kernels`"), "requires", "pip install kernels"),
        (ValueError("Transformers does not recognize this architecture"), "recognize", "pip install -U transformers"),
        (RuntimeError("SafetensorError: Error while deserializing header"), "Error while", "download the model again"),
    ],
)
def test_errors_of_libraries_come_with_a_next_step(error: Exception, message: str, hint: str) -> None:
    with pytest.raises(InputError) as caught, loading_errors(ResolvedModel("broken", Path("/m"), None, ""), "it"):
        raise error
    assert message in caught.value.message and hint in caught.value.hint


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), MemoryError(), InputError("known", "hint")])
def test_lack_of_memory_and_known_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, loading_errors(ResolvedModel("broken", Path("/m"), None, ""), "it"):
        raise error
    assert caught.value is error


def test_a_tokenizer_is_loaded_without_what_only_weights_need() -> None:
    looked = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert looked.stdout.splitlines()[-1] == "LOADED"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tokenizer.json", POINTER, "tokenizer.json: a Git LFS pointer"),
        ("chat_template.jinja", POINTER, "chat_template.jinja: a Git LFS pointer"),
        ("tokenizer.json", b'{"version": "1.0", ', "tokenizer.json: not JSON"),
        ("tokenizer_config.json", b"[]", "tokenizer_config.json: not a JSON object"),
        ("tokenizer.json", b"{}", "m: cannot load the tokenizer"),
    ],
)
def test_a_damaged_file_is_named(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (saved(tmp_path, CHATML) / name).write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_tokenizer(ResolvedModel("m", tmp_path, None, ""), Local())
    assert caught.value.hint and "\n" not in caught.value.message


LISTED = [{"name": "default", "template": CHATML}, {"name": "tool_use", "template": TOOLS}]


@pytest.mark.parametrize("given", [LISTED, LISTED[:1], [{"name": "chat", "template": CHATML}], CHATML])
def test_templates_of_the_configuration_are_found_in_each_of_its_forms(tmp_path: Path, given: object) -> None:
    folder = saved(tmp_path, given)
    tokenizer = load_tokenizer(ResolvedModel("m", folder, None, ""), Local())
    asked: list[Message] = [{"role": "user", "content": "Hi."}]
    assert render_prompt(tokenizer, asked) == PROMPT
    if given is LISTED:
        assert PROBE_TOOL["function"]["name"] in render_prompt(tokenizer, asked, [PROBE_TOOL])


def test_a_template_in_a_file_of_its_own_comes_before_that_of_the_configuration(tmp_path: Path) -> None:
    folder = saved(tmp_path, "{{ raise_exception('old') }}")
    (folder / "chat_template.jinja").write_text(CHATML)
    tokenizer = load_tokenizer(ResolvedModel("m", folder, None, ""), Local())
    assert render_prompt(tokenizer, [{"role": "user", "content": "Hi."}]) == PROMPT


PROMPT = "<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\n"


def saved(folder: Path, template: object) -> Path:
    """A tokenizer whose configuration has this chat template."""
    make_tokenizer(None).save_pretrained(folder)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "chat_template": template}))
    return folder


def test_the_tokenizer_of_mistral_alone_is_refused(tmp_path: Path) -> None:
    """An instruct model would be taught ChatML in place of its own form."""
    folder = saved(tmp_path, None)
    load_tokenizer(ResolvedModel("base", folder, None, ""), Local())
    (folder / "tekken.json").write_text("{}")
    with pytest.raises(InputError, match="and no chat template"):
        load_tokenizer(ResolvedModel("mistral", folder, None, ""), Local())
