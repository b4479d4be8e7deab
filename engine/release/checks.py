"""What can be checked of an artefact's files before it is served: ten of the causes in `engine.protocol.release`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers.models.auto.tokenization_auto import tokenizer_class_from_name

from engine.local.checkpoint import read_checkpoint, read_header
from engine.protocol import jsonl
from engine.protocol.errors import LlamaDuoError
from engine.protocol.manifest import file_hash
from engine.protocol.release import Cause, Check, Result
from engine.protocol.tree import below
from engine.release.artefact import GGUF_FILE, Artefact
from engine.release.formats.files import (
    GENERATION_FILE,
    MODELFILE,
    NEW_CLASS,
    OTHER_TEMPLATES,
    TEMPLATE_FILE,
    TOKENIZER_CONFIG,
)
from engine.release.formats.lora import ADAPTER_CONFIG
from engine.release.gguf_reading import Gguf
from engine.release.modelfile_checks import sampling_problem, text_problem
from engine.release.source import Source
from engine.release.weights import adapter_shares, tied_problem

ADAPTER_WEIGHTS = "adapter_model.safetensors"

FLOATS = ("BF16", "F16", "F32")

LEAST_SHARE, MOST_SHARE = 0.5, 1.5
"""Of the adapter's change that must be in a weight: rounding moves it a little, a lost adapter leaves none."""

FEW_BITS = ("q4_k_m",)
"""Quantizations whose steps can be larger than the change: where the base's weights lie on them, it is rounded away."""

NO_SAMPLING = frozenset(
    {*("do_sample", "temperature", "eos_token_id", "bos_token_id", "pad_token_id"), "transformers_version"}
)
"""Of generation_config.json: what is no sampling, or is looked at by itself."""

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "top_k": (0, None),
    "top_p": (1.0, None),
    "min_p": (0.0, None),
    "typical_p": (1.0, None),
    "repetition_penalty": (1.0, None),
    "no_repeat_ngram_size": (0, None),
}
"""Sampling settings, and the values with which nothing but the temperature decides."""

TRANSFORMERS = {"do_sample": False, "temperature": 1.0, "top_k": 50}
LLAMA_CPP = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}
"""What the libraries do where a file names nothing else."""

Found = tuple[Result, str]


def passed(detail: str) -> Found:
    return Result.PASSED, detail


def failed(detail: str) -> Found:
    return Result.FAILED, detail


def does_not_apply(detail: str) -> Found:
    return Result.DOES_NOT_APPLY, detail


class Files:
    """An artefact's folder, with what it should be."""

    def __init__(self, folder: Path, artefact: Artefact, source: Source) -> None:
        self.folder, self.artefact, self.source = folder, artefact, source
        self.format = artefact.format

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder; nothing where it is missing."""
        return jsonl.read_json(self.folder / name) or {}

    @cached_property
    def gguf(self) -> Gguf:
        """The GGUF file, whose vocabulary takes seconds to read."""
        return Gguf(self.folder / GGUF_FILE)

    def text(self, name: str) -> str:
        path = self.folder / name
        return path.read_text(encoding="utf-8") if path.is_file() else ""


def check_files(folder: Path, artefact: Artefact, source: Source) -> list[Check]:
    """Each check of the files, in the order of the causes; one that cannot read its file has failed.

    Files that cannot be read fail the first check that needs one: further checks that can't be made follow from it.
    """
    return list(_checks(Files(folder, artefact, source)))


def _checks(files: Files) -> Iterator[Check]:
    unreadable: Cause | None = None
    for cause, look in CHECKS.items():
        problem = ""
        try:
            result, detail = look(files)
        except LlamaDuoError as error:
            problem = error.message
        except (OSError, ValueError, KeyError, TypeError, IndexError, SafetensorError) as error:
            problem = f"its files cannot be read: {str(error)[:200] or type(error).__name__}"
        if problem:
            told = unreadable is not None
            result, detail = does_not_apply(f"not checked: see {unreadable}") if told else failed(problem)
            unreadable = unreadable or cause
        yield Check(cause=cause, result=result, detail=detail)


def template(files: Files) -> Found:
    """Whether the chat template is that of training."""
    gguf = files.format == "gguf"
    own = files.gguf.text("tokenizer.chat_template") if gguf else files.text(TEMPLATE_FILE)
    where = "the GGUF file" if gguf else TEMPLATE_FILE
    if own.rstrip("\n") != files.source.template.rstrip("\n"):
        return failed(f"the template in {where} is not that of training" if own else f"{where} has no chat template")
    if not gguf and "chat_template" in files.json(TOKENIZER_CONFIG):
        return failed(f"{TOKENIZER_CONFIG} has another chat template than {TEMPLATE_FILE}")
    if other := [name for name in OTHER_TEMPLATES if (files.folder / name).exists()]:
        return failed(f"{other[0]} is beside {TEMPLATE_FILE}: some chats are shown by another template")
    return passed(f"{where} has the template of training")


def end(files: Files) -> Found:
    """Whether servers end an answer where training does: at the template's own end token, and at no word before it."""
    names = {str(files.source.tokenizer.convert_ids_to_tokens(token)): token for token in files.source.ends}
    needed = files.source.turn_ends
    known: set[Any]
    named: set[Any]
    if files.format == "gguf":
        known, named = files.gguf.ends, files.gguf.named_ends
    else:
        listed = files.json(GENERATION_FILE).get("eos_token_id")
        known = named = set(listed) if isinstance(listed, list) else {listed}
    if lacking := [name for name, token in names.items() if token in needed and token not in known]:
        return failed(f"{lacking[0]} ends an answer in training, and is not among the end tokens")
    tokenizer = files.source.tokenizer
    control = {*files.source.ends, *tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    of_text = {token for token in named if token is not None} - control
    if of_text:
        word = tokenizer.convert_ids_to_tokens(min(of_text))
        return failed(f"{str(word)[:40]!r} is among the end tokens: answers of training go on behind it")
    return passed(f"answers end at {', '.join(names)}")


def merge(files: Files) -> Found:
    """Whether merged weights are whole numbers of 16 bits: merging into 4 bits rounds the tuning away."""
    if files.format == "lora":
        return does_not_apply("nothing is merged")
    if files.format == "gguf":
        return passed(f"converted from the 16-bit merge; stored as {files.artefact.quantization}")
    checkpoint = read_checkpoint(files.folder)
    if "quantization_config" in checkpoint.config:
        return failed("config.json names a quantization: the adapter was merged into rounded weights")
    if other := sorted(name for name, tensor in checkpoint.tensors.items() if tensor.dtype not in FLOATS):
        return failed(f"{other[0]} is stored as {checkpoint.tensors[other[0]].dtype}: the tuning is rounded away")
    return passed(f"{len(checkpoint.tensors):,} tensors of 16 bits")


def weights(files: Files) -> Found:
    """Whether the weights that answer are those that were judged."""
    nf4 = files.source.settings.local.quantization != "none"
    if nf4 and files.artefact.format == "lora":
        told = "the adapter was judged on a 4-bit base and is served on 16-bit weights"
    elif files.artefact.quantization not in ("", "f16"):
        told = f"the weights are rounded to {files.artefact.quantization}"
    else:
        return passed(f"16-bit weights{' with the values of the 4-bit ones' if nf4 else ''}, as judged")
    return passed(f"{told}: the comparison of the answers decides")


def tied(files: Files) -> Found:
    """Whether the output layer is there: where it is the embedding, it must not be a tensor of its own."""
    if files.format == "lora":
        return does_not_apply("the base model has the embeddings")
    if files.format == "gguf":
        shared = bool(files.source.config_value("tie_word_embeddings"))
        own = "output.weight" in files.gguf.tensor_names
        if not shared and not own:
            return failed("the output layer (output.weight) is missing")
        return passed("the output layer is the embedding" if not own else "the output layer is there")
    problem = tied_problem(files.folder, files.source.base.path)
    return failed(problem) if problem else passed("the output layer is as in the base model")


def adapter(files: Files) -> Found:
    """Whether the adapter is in the weights: the artefact must not be the base model under another name."""
    own = files.source.adapter / ADAPTER_WEIGHTS
    if files.format == "lora":
        weights = files.folder / ADAPTER_WEIGHTS
        if not weights.is_file():
            return failed(f"{ADAPTER_WEIGHTS} is missing")
        if file_hash(weights) != file_hash(own):
            return failed(f"{ADAPTER_WEIGHTS} is not the adapter that was judged")
        return passed(f"{len(read_header(weights)):,} tensors, as judged")
    shares = adapter_shares(files.folder, files.gguf if files.format == "gguf" else None, files.source)
    if not shares:
        return failed("the adapter changes nothing: all its weights are as at the start of training")
    least, most = min(shares), max(shares)
    if most > MOST_SHARE:
        return failed(f"a weight has {most:.0%} of the adapter's change: it is merged more than once")
    rounded = files.artefact.quantization
    if rounded in FEW_BITS and least < LEAST_SHARE:
        if most < LEAST_SHARE:
            return failed(f"rounding to {rounded} leaves {most:.0%} of the adapter's change: the base model answers")
        kept = f"rounding to {rounded} leaves {least:.0%} of the adapter's change in one weight, {most:.0%} in another"
        return passed(f"{kept}: the comparison of the answers decides")
    if least < LEAST_SHARE:
        return failed(f"a weight has {least:.0%} of the adapter's change: the base model answers, or a part of it")
    farthest = max(shares, key=lambda share: abs(share - 1))  # since a part may be lost
    return passed(f"{farthest:.0%} of the adapter's change is in the weights")


def saved_modules(files: Files) -> Found:
    """Whether an adapter is LoRA alone: servers leave out or refuse whole modules that it brings."""
    if files.format != "lora":
        return does_not_apply("all is merged")
    config = files.json(ADAPTER_CONFIG)
    for name in ("modules_to_save", "trainable_token_indices"):
        if config.get(name):
            return failed(f"{ADAPTER_CONFIG} has {name}, which vLLM does not take")
    other = [name for name in read_header(files.folder / ADAPTER_WEIGHTS) if "lora_" not in name]
    return failed(f"{other[0]} is no LoRA weight") if other else passed("LoRA weights alone")


def sampling(files: Files) -> Found:
    """Whether a request that names no sampling is answered as in the sealed test."""
    judged = files.source.settings.inference.temperature
    if files.format == "gguf":
        named = {key.rpartition(".")[2]: value for key, value in files.gguf.sampling.items()}
        found = LLAMA_CPP | {"temperature" if name == "temp" else name: value for name, value in named.items()}
        text = files.text(MODELFILE)
        if text and (problem := sampling_problem(files.source, text)):
            return failed(problem)
        asked = found["temperature"]
    else:
        found = TRANSFORMERS | files.json(GENERATION_FILE)
        asked = found["temperature"] if found["do_sample"] else 0.0
        if asked == 0 and found["top_k"] == TRANSFORMERS["top_k"]:
            found["top_k"] = 0  # nothing is drawn
    if abs(asked - judged) > 1e-6:
        return failed(f"the default temperature is {asked:g}; the sealed test was at {judged:g}")
    for name, value in found.items():
        if name not in NO_SAMPLING and value is not None and value not in NEUTRAL.get(name, ()):
            return failed(f"{name} is {str(value)[:80]}; the sealed test drew by temperature alone")
    return passed(f"temperature {judged:g} and nothing else")


def context(files: Files) -> Found:
    """Whether the longest prompt with the longest answer fits: some servers cut silently."""
    needed, room, most = files.source.needed_context, files.artefact.context, files.source.most_positions
    if files.format == "gguf":
        named = re.search(r"^PARAMETER num_ctx (\d+)$", files.text(MODELFILE), re.MULTILINE)
        room = min(room, int(named[1])) if named else room
        trained = files.gguf.value(f"{files.gguf.text('general.architecture')}.context_length")
    else:
        config = files.json("config.json")
        trained = config.get("text_config", config).get("max_position_embeddings")
    if isinstance(trained, int) and trained < room:
        return failed(f"the files name {trained:,} positions; a context of {room:,} tokens is asked for")
    if most is not None and room > most:
        return failed(f"a context of {room:,} tokens is asked for; the model has {most:,} positions")
    longest = max(files.source.lengths.values(), default=0)
    if room <= longest:
        return failed(f"the longest sealed prompt has {longest:,} tokens; the context is {room:,}")
    if room < min(needed, most or needed):
        return failed(f"the longest prompt and answer need {needed:,} tokens; the context is {room:,}")
    return passed(f"{room:,} tokens; the longest prompt and answer need {needed:,}")


def paths(files: Files) -> Found:
    """Whether the folder works elsewhere: no file may name a folder of this machine."""
    if files.format == "gguf":
        names = re.findall(r"^(?:FROM|ADAPTER) (.+)$", files.text(MODELFILE), re.MULTILINE)
        if other := next((name for name in names if not (files.folder / name).is_file() or name[0] in "/~"), None):
            return failed(f"the Modelfile names {other}, which is not a file of this folder")
    elif files.format == "lora":
        base = files.json(ADAPTER_CONFIG).get("base_model_name_or_path")
        if base != files.source.base.name:
            return failed(f"{ADAPTER_CONFIG} names its base as {str(base)[:80]!r}, not {files.source.base.name!r}")
    if link := next((path for path in below(files.folder) if path.is_symlink()), None):
        return failed(f"{link.name} is a link, which a copy of the folder loses")
    return passed("nothing points out of the folder")


def tokenizer(files: Files) -> Found:
    """Whether older libraries know the tokenizer's class: servers built on transformers 4 refuse that of 5."""
    if files.format == "gguf":
        pre = files.gguf.text("tokenizer.ggml.pre")
        return passed(f"pre-tokenizer {pre or 'of its own kind'}; llama.cpp starts only with one that it knows")
    config = files.json(TOKENIZER_CONFIG)
    if config.get("tokenizer_class") in (None, NEW_CLASS):
        return failed(f"tokenizer_class is {config.get('tokenizer_class')}, which transformers 4 refuses")
    named = str(config["tokenizer_class"])
    if not files.artefact.trust_remote_code and tokenizer_class_from_name(named) is None:
        return failed(f"tokenizer_class is {named[:80]}, which transformers does not know")
    if isinstance(config.get("extra_special_tokens"), list):
        return failed("extra_special_tokens is a list, which transformers 4 refuses")
    return passed(f"tokenizer_class is {config['tokenizer_class']}")


def ollama(files: Files) -> Found:
    """Whether Ollama finds all that it needs in a Modelfile."""
    if files.format != "gguf":
        return does_not_apply("Ollama takes the GGUF files")
    text = files.text(MODELFILE)
    for word in ("FROM ", "PARAMETER stop ", "PARAMETER num_ctx "):
        if word not in text:
            return failed(f"the Modelfile lacks {word.strip()}" if text else "there is no Modelfile")
    if problem := text_problem(files.source, text):
        return failed(problem)
    if "TEMPLATE " not in text:
        return passed("FROM, stop and num_ctx; the template is left to Ollama, as the file says")
    return passed("FROM, TEMPLATE, stop and num_ctx")


CHECKS: dict[Cause, Callable[[Files], Found]] = {
    Cause.TEMPLATE: template,
    Cause.END: end,
    Cause.MERGE: merge,
    Cause.WEIGHTS: weights,
    Cause.TIED: tied,
    Cause.ADAPTER: adapter,
    Cause.SAVED_MODULES: saved_modules,
    Cause.SAMPLING: sampling,
    Cause.CONTEXT: context,
    Cause.PATHS: paths,
    Cause.TOKENIZER: tokenizer,
    Cause.MODELFILE: ollama,
}
