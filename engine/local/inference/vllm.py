"""The backend `vllm`: a vLLM server with the base model and the round's adapter, started for the stage and ended by it.

Prompts go to it as tokens and come back as tokens, so that they are those of training. It runs in a virtual environment
of its own: this program only starts its executable.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import shlex
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import httpx
import msgspec

from engine.local.device import number_format
from engine.local.gpus import VISIBLE, visible
from engine.local.inference.base import Completion, Place, Plan, Prompt, Sample
from engine.local.inference.completions import completion
from engine.local.inference.encoded import BatchSizes, Encoded
from engine.local.inference.ends import end_tokens, named_ends
from engine.local.inference.requests import Json, Requests, UnsupportedError
from engine.local.inference.seeds import WEIGHTS, adapter_name, sample_seed
from engine.local.inference.served import ServedProcess, free_port
from engine.local.resolve import ResolvedModel
from engine.local.tokenizer import load_tokenizer, trusts_remote_code
from engine.local.vllm_options import lora_rank, memory_share
from engine.protocol.durations import duration
from engine.protocol.errors import StageError
from engine.protocol.processes import how_ended
from engine.protocol.rows import Chat
from engine.protocol.secrets import secret_names
from engine.settings.schema import Migration

AT_ONCE = 256
"""Requests in flight: vLLM forms its own batches of them."""

BATCH = 4
"""Rounds of requests in flight that are kept together: fewer would leave the server idle at each one's end."""

POLL_S = 1.0
START_POLLS = 1800
"""Polls until a server must be up: large models are compiled for many minutes."""

DEAD_POLLS = 60
"""Failed health checks in a row after which a server is lost."""

SILENT_POLLS = 600
"""Polls without a token after which a server is lost, healthy as it may say that it is."""

HEALTH_S = 5.0
"""How long a health check may take on a busy machine."""

LESS_MEMORY = "if memory is short, lower it in inference.vllm_args (--gpu-memory-utilization, --max-num-seqs)"

ANOTHER_VERSION = 'try another version of vLLM, or set inference.backend to "transformers"; then resume'

PARALLEL = {
    *("--data-parallel-size", "-dp", "--tensor-parallel-size", "-tp", "--pipeline-parallel-size", "-pp"),
}
"""Arguments that say how vLLM uses several GPUs."""

PROBE_TOKENS = 8

BASE = "base"


class Vllm:
    """An `Inference`; the server starts with the first batch."""

    def __init__(self, settings: Migration, model: ResolvedModel, place: Place) -> None:
        self._settings, self._resolved, self._place = settings, model, place
        self._encoded = Encoded(load_tokenizer(model, settings.local))
        self._ends = end_tokens(named_ends(model.path), self._encoded.tokenizer)
        self._sizes = BatchSizes(place.folder)
        self._longest = 0
        self._server: _Server | None = None
        self.model = f"{model.name}@{model.digest}"

    @property
    def peak_memory_bytes(self) -> int:
        return 0

    def plan(self, prompts: Sequence[Prompt], samples: int) -> Plan:
        inference = self._settings.inference
        self._longest = self._encoded.longest(prompts) + inference.max_new_tokens
        at_once = inference.batch_size or AT_ONCE
        size = BATCH * at_once if inference.batch_size else self._sizes.size or BATCH * at_once
        return self._encoded.batches(prompts, samples, self._sizes.choose(size))

    def complete(self, batch: Sequence[Sample], progress: Callable[[int], None]) -> list[Completion]:
        server = self._started(batch[0].prompt)
        prompts = [self._encoded.tokens(sample.prompt) for sample in batch]
        bodies = [self._body(server.name, *one) for one in zip(batch, prompts, strict=True)]
        replies = server.complete(bodies, progress)
        return [
            completion(self._encoded.tokenizer, self._ends, prompt, *tokens_of(reply, body["max_tokens"], self._ends))
            for prompt, reply, body in zip(prompts, replies, bodies, strict=True)
        ]

    def reference(self, chat: Chat) -> str:
        return self._encoded.reference(chat)

    def close(self) -> None:
        if self._server is not None:
            self._server.end()

    def _started(self, prompt: Prompt) -> _Server:
        if self._server is None:
            self._server = _Server(self._settings, self._resolved, self._place, self._longest)
            self._server.wait()
            self._server.check_adapter(self._body(BASE, Sample(prompt, 0), self._encoded.tokens(prompt)))
        return self._server

    def _body(self, model: str, sample: Sample, prompt: list[int]) -> Json:
        inference = self._settings.inference
        return {
            "model": model,
            "prompt": prompt,
            "max_tokens": inference.max_new_tokens,
            "temperature": inference.temperature,
            # All said, since a server may have defaults of its own.
            "top_p": 1.0,
            "top_k": 0,
            "min_p": 0.0,
            "repetition_penalty": 1.0,
            "seed": sample_seed(self._settings.loop.seed, sample),
            "stop_token_ids": sorted(self._ends),
            "logprobs": 0,
            "return_token_ids": True,
            "add_special_tokens": False,
        }


class _Server:
    """`vllm serve` for one stage; `name` is the model to ask for: the adapter, where there is one."""

    def __init__(self, settings: Migration, model: ResolvedModel, place: Place, longest: int) -> None:
        self._place = place
        self.name = adapter_name(place.adapter) if place.adapter else BASE
        self._port, key = free_port(), secrets.token_hex(16)
        place.tell(f"starting vLLM with {model.name}{' and its adapter' if place.adapter else ''}: takes minutes")
        self._process = ServedProcess(
            "vLLM",
            [settings.inference.vllm, *self._arguments(settings, model, longest)],
            place.folder / "vllm.log",
            extra={"VLLM_API_KEY": key, "VLLM_NO_USAGE_STATS": "1", "PYTHONSAFEPATH": "1"},
            without=secret_names(os.environ, settings.key_names),
        )
        self._requests = Requests(
            name="vLLM",
            base=f"http://127.0.0.1:{self._port}/v1",
            key=key,
            hint="see its log, vllm.log in the stage's folder; then resume",
            at_once=settings.inference.batch_size or AT_ONCE,
            patience_s=DEAD_POLLS * POLL_S,
            watch=self._watch,
        )

    def _arguments(self, settings: Migration, model: ResolvedModel, longest: int) -> list[str]:
        adapter = self._place.adapter
        lora = ["--enable-lora", "--max-loras", "1", "--max-lora-rank", str(lora_rank(settings.local.adapter.r))]
        return [
            *("serve", str(model.path), "--host", "127.0.0.1", "--port", str(self._port)),
            *("--served-model-name", BASE, "--generation-config", "vllm", "--max-model-len", str(longest)),
            *("--dtype", number_format(), "--seed", str(settings.loop.seed % 2**31)),
            *([*lora, "--lora-modules", f"{self.name}={adapter}"] if adapter else []),
            *(["--trust-remote-code"] if trusts_remote_code(settings.local) else []),
            *_parallel(own := shlex.split(settings.inference.vllm_args)),
            *memory_share(own),
            *own,
        ]

    def wait(self) -> None:
        """Wait until the server answers. Raises StageError where it doesn't start."""
        began = time.monotonic()
        url = f"http://127.0.0.1:{self._port}/health"
        with httpx.Client(trust_env=False, timeout=HEALTH_S) as client:
            for _ in range(START_POLLS):
                if self._process.status is not None:
                    raise self._process.failed("did not start", LESS_MEMORY)
                try:
                    if client.get(url).is_success:
                        self._place.tell(f"vLLM answers after {duration(time.monotonic() - began)}")
                        return
                except httpx.RequestError:
                    pass
                time.sleep(POLL_S)
        raise self._process.failed("was not up in time", "try a smaller model, or backend transformers")

    def check_adapter(self, probe: Json) -> None:
        """Make sure that the adapter answers: a server that knows it by name may still leave its weights aside.

        `probe` is a request for the base model. Raises StageError where both give the same probabilities.
        """
        adapter = self._place.adapter
        listed = {model.id: model for model in self._requests.models()}
        if self.name not in listed or BASE not in listed:
            raise StageError(f"vLLM doesn't list {self.name}", ANOTHER_VERSION)
        if adapter is None:
            return
        root = listed[self.name].root
        if root not in (None, str(adapter)):
            raise StageError(f"vLLM serves another adapter, {root}", ANOTHER_VERSION)
        probe = probe | {"max_tokens": PROBE_TOKENS, "temperature": 0.0}
        # One after the other: some versions mix up base and adapter within a batch, which no later request does.
        base, tuned = (self.complete([probe | {"model": name}], lambda _: None)[0] for name in (BASE, self.name))
        if _choice(base) == _choice(tuned) and _changes_something(adapter):
            raise StageError("vLLM answers as the untuned model does: it doesn't apply the adapter", ANOTHER_VERSION)

    def complete(self, bodies: Sequence[Json], progress: Callable[[int], None]) -> list[Json]:
        try:
            return self._requests.post_all("completions", bodies, progress)
        except UnsupportedError as error:
            raise self._process.failed(f"refuses a request ({error})", "use vLLM 0.10.2 or newer") from None

    def end(self) -> None:
        self._process.end()

    async def _watch(self, client: httpx.AsyncClient, done: Callable[[], int]) -> None:
        """Raise StageError where the server has ended, doesn't answer, or generates nothing."""
        ill, silent, before, tokens = 0, 0, "", ""
        root = f"http://127.0.0.1:{self._port}"
        while True:
            await asyncio.sleep(POLL_S)
            if (status := self._process.status) is not None:
                raise self._process.failed(how_ended(status), LESS_MEMORY)
            try:
                healthy = (await client.get(f"{root}/health", timeout=HEALTH_S)).is_success
                tokens = _token_counts((await client.get(f"{root}/metrics", timeout=HEALTH_S)).text)
            except httpx.RequestError:
                healthy = False
            progress = f"{done()} {tokens}"
            ill, silent, before = (0 if healthy else ill + 1), (silent + 1 if progress == before else 0), progress
            if ill >= DEAD_POLLS or silent >= SILENT_POLLS:
                raise self._process.failed("hangs", "check the GPU")


class _Logprobs(msgspec.Struct):
    token_logprobs: list[float]


class _Choice(msgspec.Struct):
    token_ids: list[Annotated[int, msgspec.Meta(ge=0, lt=2**31)]]
    logprobs: _Logprobs
    finish_reason: str | None = None


class _Reply(msgspec.Struct):
    """A completion with one choice, as far as it is kept."""

    choices: list[_Choice]


def _parallel(own: Sequence[str]) -> list[str]:
    """A copy of the model on each GPU that this process was given, unless the user's arguments spread it over them."""
    gpus = len(visible(os.environ)) if VISIBLE in os.environ else 1
    spread = any(word.partition("=")[0].replace("_", "-") in PARALLEL for word in own)
    return [] if spread or gpus < 2 else ["--data-parallel-size", str(gpus)]


def _choice(reply: Json) -> _Choice:
    """The one choice of a reply. Raises StageError where it lacks tokens or log-probabilities."""
    try:
        (choice,) = msgspec.convert(reply, _Reply).choices
    except (ValueError, RecursionError, OverflowError):
        raise StageError("vLLM's reply lacks tokens or log-probabilities", "use vLLM 0.10.2 or newer") from None
    return choice


def tokens_of(reply: Json, most: int, ends: set[int]) -> tuple[list[int], list[float]]:
    """The tokens of a reply, end token included, and their log-probabilities. Raises StageError without them."""
    choice = _choice(reply)
    tokens, logprobs = choice.token_ids, choice.logprobs.token_logprobs
    if len(tokens) != len(logprobs) or not (len(tokens) == most or (tokens and tokens[-1] in ends)):
        raise StageError(
            f"vLLM's reply of {len(tokens)} tokens ends in the middle ({choice.finish_reason})",
            "see vllm.log in the stage's folder, then resume",
        )
    return tokens, logprobs


def _changes_something(adapter: Path) -> bool:
    """Whether an adapter's weights differ from those of the start, with which it changes nothing."""
    from safetensors import safe_open

    with safe_open(adapter / WEIGHTS, "pt") as tensors:
        return any(bool(tensors.get_tensor(key).any()) for key in tensors.keys() if "lora_B" in key)  # noqa: SIM118


def _token_counts(metrics: str) -> str:
    """The lines of vLLM's metrics that grow with each token."""
    return " ".join(line for line in metrics.splitlines() if line.startswith("vllm:") and "_tokens_total" in line)
