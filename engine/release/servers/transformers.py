"""`python -m engine.release.servers.transformers FOLDER`: a safetensors model, or an adapter on its base, over HTTP.

`transformers serve` gives no log-probabilities, which tell how sure the model is of an answer; that is why this is
here. A chat becomes tokens by the artefact's own template alone, as with any server. Requests beyond the slots wait.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from engine.evaluation.contract import Contract
from engine.local.inference.ends import named_ends
from engine.protocol import jsonl
from engine.protocol.connections import Connections, allow_many
from engine.protocol.errors import LlamaDuoError
from engine.protocol.loopback import of_web_page, to_own_host
from engine.protocol.server_log import log_kinds_alone
from engine.release.artefact import Artefact, read_artefact
from engine.release.engines import KEY_VARIABLE
from engine.release.servers.answer_format import FormatError, answer_format
from engine.release.servers.command_line import arguments
from engine.release.servers.generation import Generation, Job, Sampling, Token
from engine.release.servers.requests import BadRequestError, ChatRequest, read_request
from engine.release.servers.tool_calls import read_calls

MAX_BODY = 8 * 1024 * 1024

BODY_S = 30.0
"""Seconds for a request's body to arrive."""

IDLE_S = 60.0
"""Seconds that a connection may take for a request's head, and stay open between two."""

TICK_S = 0.25
"""Seconds between looks at the open connections."""

OPEN_PATHS = ("/health",)
ERROR_TYPES = {
    401: "authentication_error",
    403: "invalid_request_error",
    404: "invalid_request_error",
    400: "invalid_request_error",
    422: "invalid_request_error",
}


@dataclass(slots=True)
class Answer:
    """What has been generated so far: tokens without the end token, and the text that they are."""

    tokens: list[Token] = field(default_factory=list)
    text: str = ""
    count: int = 0
    finish_reason: str = "length"


class Handlers:
    """The routes, for one model."""

    def __init__(
        self,
        folder: Path,
        artefact: Artefact,
        tokenizer: PreTrainedTokenizerBase,
        model: PreTrainedModel,
        slots: int,
    ) -> None:
        self._artefact, self._tokenizer = artefact, tokenizer
        named = named_ends(folder)
        listed = named if isinstance(named, list) else [named]
        self._ends = {token for token in [*listed, tokenizer.eos_token_id] if token is not None}
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(self._ends)
        self._generation = Generation(model, self._ends, pad, slots)
        self._counts: Counter[str] = Counter()

    async def health(self, _: web.Request) -> web.Response:
        """GET /health."""
        return web.json_response({"status": "ok"})

    async def models(self, _: web.Request) -> web.Response:
        """GET /v1/models: the one model."""
        model = {"id": self._artefact.model, "object": "model", "created": 0, "owned_by": "llamaduo"}
        return web.json_response({"object": "list", "data": [model]})

    async def metrics(self, _: web.Request) -> web.Response:
        """GET /metrics, as Prometheus reads them."""
        names = ("requests_total", "errors_total", "prompt_tokens_total", "completion_tokens_total")
        lines = [f"# TYPE llamaduo_{name} counter\nllamaduo_{name} {self._counts[name]}" for name in names]
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")

    async def tokenize(self, request: web.Request) -> web.Response:
        """POST /tokenize: the tokens of a chat, as vLLM gives them."""
        return web.json_response({"tokens": self._prompt(read_request(await _body(request)))})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        self._counts["requests_total"] += 1
        asked = read_request(await _body(request))
        if asked.model not in ("", self._artefact.model):
            return _error(404, f"The model {asked.model[:80]!r} does not exist; this is {self._artefact.model}.")
        prompt = self._prompt(asked)
        room = self._artefact.context - len(prompt)
        if room < 1:
            raise BadRequestError(
                f"The prompt has {len(prompt):,} tokens; the context of {self._artefact.context:,} has no room for it."
            )
        self._counts["prompt_tokens_total"] += len(prompt)
        most = min(asked.max_completion_tokens or asked.max_tokens or self._artefact.max_new_tokens, room)
        wanted, answer = answer_format(asked.response_format), Answer()
        parts = self._parts(asked, prompt, most, answer)
        if asked.stream and wanted is None:
            return await self._stream(request, asked, prompt, answer, parts)
        text = "".join([piece async for piece in parts])
        whole = self._whole(asked, prompt, answer)
        self._check(wanted, whole)
        if asked.stream:
            return await self._stream(request, asked, prompt, answer, _at_once(text))
        return web.json_response(whole)

    def _check(self, wanted: Contract | None, whole: dict[str, Any]) -> None:
        """Raise FormatError where an answer in words is not in the format that was asked for."""
        message = whole["choices"][0]["message"]
        if wanted is not None and "tool_calls" not in message and (broken := wanted.broken(message["content"])):
            raise FormatError(broken)

    def _prompt(self, asked: ChatRequest) -> list[int]:
        """The prompt in tokens, by the template. Raises BadRequestError where that refuses the chat."""
        try:
            ids = self._tokenizer.apply_chat_template(
                asked.messages, tools=asked.offered or None, add_generation_prompt=True, return_dict=False
            )
        except Exception as error:  # noqa: BLE001 - templates raise anything
            reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
            raise BadRequestError(f"The chat template refuses these messages: {reason}") from None
        return [int(token) for token in ids]

    async def _parts(self, asked: ChatRequest, prompt: list[int], most: int, answer: Answer) -> AsyncIterator[str]:
        """The answer's text, piece by piece, without halves of characters; `answer` grows with it."""
        loop = asyncio.get_running_loop()
        tokens: asyncio.Queue[Token | BaseException | None] = asyncio.Queue()
        temperature = self._artefact.temperature if asked.temperature is None else asked.temperature
        top_p = 1.0 if asked.top_p is None else asked.top_p
        # At temperature 0 nothing is drawn, so that a seed keeps no request from sharing a batch.
        sampling = Sampling(temperature, top_p, asked.seed) if temperature > 0 else Sampling(0.0, 1.0, None)

        def hand_over(token: Token | BaseException | None) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(tokens.put_nowait, token)

        job = Job(prompt=prompt, most=most, sampling=sampling, on_token=hand_over)
        self._generation.add(job)
        try:
            while (token := await tokens.get()) is not None:
                if isinstance(token, BaseException):
                    raise token
                answer.count += 1
                self._counts["completion_tokens_total"] += 1
                if token.id in self._ends:
                    answer.finish_reason = "stop"
                    return
                answer.tokens.append(token)
                text = self._decoded(answer)
                if stopped := next((stop for stop in asked.stops if stop in text), None):
                    text, answer.finish_reason = text[: text.index(stopped)], "stop"
                if stopped or not text.endswith("\N{REPLACEMENT CHARACTER}"):
                    new, answer.text = text[len(answer.text) :], text
                    yield new
                if stopped:
                    return
            answer.text = self._decoded(answer)
        finally:
            job.cancelled.set()

    def _decoded(self, answer: Answer) -> str:
        return str(self._tokenizer.decode([token.id for token in answer.tokens], skip_special_tokens=True))

    def _whole(self, asked: ChatRequest, prompt: list[int], answer: Answer) -> dict[str, Any]:
        text, calls = answer.text, list[dict[str, Any]]()
        if asked.offered:
            ids = [token.id for token in answer.tokens]
            text, calls = read_calls(self._tokenizer, ids, prompt, asked.offered, text)
        message: dict[str, Any] = {"role": "assistant", "content": text or None if calls else text}
        choice = {
            "index": 0,
            "message": message | ({"tool_calls": calls} if calls else {}),
            "finish_reason": "tool_calls" if calls else answer.finish_reason,
            "logprobs": self._logprobs(answer) if asked.logprobs else None,
        }
        return self._envelope("chat.completion") | {"choices": [choice], "usage": self._usage(prompt, answer)}

    def _envelope(self, kind: str) -> dict[str, Any]:
        created, name = int(time.time()), f"chatcmpl-{secrets.token_hex(12)}"
        return {"id": name, "object": kind, "created": created, "model": self._artefact.model}

    def _usage(self, prompt: list[int], answer: Answer) -> dict[str, int]:
        total = len(prompt) + answer.count
        return {"prompt_tokens": len(prompt), "completion_tokens": answer.count, "total_tokens": total}

    def _logprobs(self, answer: Answer) -> dict[str, Any]:
        content = [
            {"token": self._tokenizer.decode([token.id]), "logprob": token.logprob, "bytes": None, "top_logprobs": []}
            for token in answer.tokens
        ]
        return {"content": content, "refusal": None}

    async def _stream(
        self, request: web.Request, asked: ChatRequest, prompt: list[int], answer: Answer, parts: AsyncIterator[str]
    ) -> web.StreamResponse:
        """The answer in server-sent events; with tools it comes in one piece, since only all of it shows its calls."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
        await response.prepare(request)
        envelope, sent = self._envelope("chat.completion.chunk"), 0

        async def send(delta: dict[str, Any], finish_reason: str | None = None, logprobs: Any = None) -> None:
            choice = {"index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": logprobs}
            await response.write(f"data: {jsonl.dumps(envelope | {'choices': [choice]})}\n\n".encode())

        try:
            await send({"role": "assistant", "content": ""})
            async for piece in parts:
                if piece and not asked.offered:
                    part, sent = Answer(answer.tokens[sent:]), len(answer.tokens)
                    await send({"content": piece}, logprobs=self._logprobs(part) if asked.logprobs else None)
            choice = self._whole(asked, prompt, answer)["choices"][0]
            if asked.offered:
                message = choice["message"]
                calls = [{"index": number, **call} for number, call in enumerate(message.get("tool_calls", []))]
                await send({"content": message["content"], **({"tool_calls": calls} if calls else {})})
            await send({}, choice["finish_reason"])
            if asked.stream_options and asked.stream_options.include_usage:
                last = envelope | {"choices": [], "usage": self._usage(prompt, answer)}
                await response.write(f"data: {jsonl.dumps(last)}\n\n".encode())
            await response.write(b"data: [DONE]\n\n")
        except ConnectionResetError:  # the client has left
            return response
        await response.write_eof()
        return response


def create_app(handlers: Handlers, key: str, connections: Connections) -> web.Application:
    """The application; without a key anyone may ask."""

    @web.middleware
    async def guarded(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").encode(errors="replace")
        if key and request.path not in OPEN_PATHS and not hmac.compare_digest(given, key.encode()):
            return _error(401, "Incorrect API key provided.")
        if not key and (of_web_page(request.headers) or not to_own_host(request.headers)):
            return _error(403, "Only programs of this machine may ask, not web pages.")
        try:
            with connections.at_work(request.protocol):
                return await handler(request)
        except BadRequestError as problem:
            return _error(400, str(problem))
        except FormatError as problem:
            return _error(422, str(problem))
        except web.HTTPException as problem:
            return _error(problem.status, problem.reason)
        except Exception as error:  # noqa: BLE001 - the client gets no traceback, the log gets no contents
            print(f"a request failed: {type(error).__name__}", file=sys.stderr, flush=True)
            return _error(500, "The server failed to answer.")

    app = web.Application(client_max_size=MAX_BODY, middlewares=[guarded])
    app.router.add_get("/health", handlers.health)
    app.router.add_get("/metrics", handlers.metrics)
    app.router.add_post("/tokenize", handlers.tokenize)
    app.router.add_get("/v1/models", handlers.models)
    app.router.add_post("/v1/chat/completions", handlers.chat)
    return app


async def _at_once(text: str) -> AsyncIterator[str]:
    """A text that is there, as a stream's only piece."""
    yield text


async def _body(request: web.Request) -> bytes:
    """The body of a request. Raises BadRequestError where it comes too slowly, or damaged."""
    try:
        async with asyncio.timeout(BODY_S):
            return await request.read()
    except TimeoutError:
        raise BadRequestError("The body took too long to arrive.") from None
    except web.RequestPayloadError:
        raise BadRequestError("The body is damaged.") from None


def _error(status: int, message: str) -> web.Response:
    error = {"message": message, "type": ERROR_TYPES.get(status, "server_error"), "param": None, "code": None}
    return web.json_response({"error": error}, status=status)


def load(folder: Path, *, trusted: bool = False) -> tuple[Artefact, PreTrainedTokenizerBase, PreTrainedModel]:
    """An artefact with its tokenizer and its model, an adapter on its base; code of the model runs only if `trusted`.

    Raises InputError.
    """
    from engine.local.device import find_device
    from engine.local.load import load_model
    from engine.local.resolve import ResolvedModel
    from engine.settings.local import Local

    artefact = read_artefact(folder.parent, folder.name)
    lora = artefact.format == "lora"
    path = Path(artefact.base_path) if lora else folder
    local = Local(model=str(path), trust_remote_code=str(path) if trusted else None)
    model = load_model(ResolvedModel(artefact.model, path, None, ""), local, find_device(), folder if lora else None)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trusted)
    return artefact, tokenizer, model


def main() -> int:
    args = arguments("engine.release.servers.transformers", __doc__)
    try:
        handlers = Handlers(args.artefact, *load(args.artefact, trusted=args.trusted), args.slots)
    except LlamaDuoError as error:
        print(f"error: {error.message}; {error.hint}", file=sys.stderr)
        return error.exit_status
    log_kinds_alone()  # a model may take long to load, and its libraries' warnings say why one cannot be
    connections = Connections(allow_many() // 2)
    app = create_app(handlers, os.environ.get(KEY_VARIABLE, ""), connections)
    asyncio.run(_serve(app, connections, args.host, args.port))
    return 0


async def _serve(app: web.Application, connections: Connections, host: str, port: int) -> None:
    """Answer until SIGTERM."""
    ended, runner = (
        asyncio.Event(),
        web.AppRunner(app, access_log=None, keepalive_timeout=IDLE_S, handler_cancellation=True),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await runner.setup()
    assert runner.server is not None
    await web.TCPSite(runner, host, port).start()
    while not ended.is_set():
        connections.close_waiting(runner.server.connections)
        with suppress(TimeoutError):
            await asyncio.wait_for(ended.wait(), TICK_S)
    await runner.cleanup()


if __name__ == "__main__":
    sys.exit(main())
