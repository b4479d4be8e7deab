"""What would fail in how the local LLM is run, found before anything is paid: a missing program, an absent endpoint."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator

from engine.protocol.errors import InputError, LlamaDuoError
from engine.protocol.secrets import key_of
from engine.settings.local import Inference


def inference_problems(inference: Inference) -> Iterator[LlamaDuoError]:
    """Every problem, as an error that is not raised."""
    match inference.backend:
        case "vllm":
            yield from _missing(
                inference.vllm,
                "inference.vllm",
                "install vLLM in a virtual environment of its own, and set inference.vllm to its bin/vllm",
            )
        case "endpoint":
            yield from _missing(shlex.split(inference.serve)[0], "inference.serve", "install it, or correct its path")
            yield from _endpoint_problems(inference)


def _missing(program: str, key: str, hint: str) -> Iterator[LlamaDuoError]:
    if shutil.which(program) is None:
        yield InputError(f"{key}: no such executable: {program}", hint)


def _endpoint_problems(inference: Inference) -> Iterator[LlamaDuoError]:
    key = inference.api_key_env
    if key is not None and not os.environ.get(key, "").strip():
        yield InputError(f"inference.api_key_env: {key} is not in the environment", f"export {key}=...")
        return
    try:
        key_of(key, "inference.api_key_env")
    except InputError as error:
        yield error
        return
    if inference.api_base is not None:
        try:
            yield from _unlisted(inference, inference.api_base)
        except LlamaDuoError as error:
            yield error


def _unlisted(inference: Inference, base: str) -> Iterator[LlamaDuoError]:
    """Ask the endpoint for its models: it must answer, and have the untuned one where it is named."""
    from engine.local.inference.requests import Requests

    requests = Requests(
        name="the endpoint of inference.api_base",
        base=base,
        key=key_of(inference.api_key_env, "inference.api_key_env"),
        hint="start that server, or correct inference.api_base",
    )
    listed = [model.id for model in requests.models()]
    wanted = inference.untuned_model
    if wanted is not None and not {wanted, f"{wanted}:latest"} & set(listed):
        yield InputError(
            f"inference.untuned_model: {base} has no {wanted}: it has {', '.join(listed[:5]) or 'no model'}",
            "name one of these, or load the model there",
        )
