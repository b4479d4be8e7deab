"""The backend `endpoint`: any server with OpenAI's API, to which the user's command takes each round's model.

Chats are sent, so the server's template makes the prompt. Its token count is compared with that of training, which
shows a template that differs and a context that is too short.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from engine.local.chat import adapted_prompt
from engine.local.inference.base import Completion, Place, Plan, Prompt, Sample
from engine.local.inference.encoded import BatchSizes, Encoded
from engine.local.inference.replies import completion_of
from engine.local.inference.requests import Json, UnsupportedError
from engine.local.inference.seeds import sample_seed
from engine.local.inference.serving import AT_ONCE, Serving
from engine.local.rendering import rendering
from engine.local.resolve import ResolvedModel
from engine.local.tokenizer import load_tokenizer
from engine.protocol.errors import StageError
from engine.protocol.rows import Chat
from engine.settings.schema import Migration

BATCH = 4
"""Rounds of requests in flight that are kept together: fewer would leave the server idle at each one's end."""


class Endpoint:
    """An `Inference`; the command runs with the first batch, and what it started ends with the stage."""

    def __init__(self, settings: Migration, model: ResolvedModel, place: Place) -> None:
        self._settings, self._resolved, self._place = settings, model, place
        self._encoded = Encoded(load_tokenizer(model, settings.local))
        self._sizes = BatchSizes(place.folder)
        self._serving: Serving | None = None
        self._logprobs, self._warned = True, False
        self.model = f"{model.name}@{model.digest}"

    @property
    def peak_memory_bytes(self) -> int:
        return 0

    def plan(self, prompts: Sequence[Prompt], samples: int) -> Plan:
        own = self._settings.inference.batch_size
        size = BATCH * own if own else self._sizes.size or BATCH * AT_ONCE
        return self._encoded.batches(prompts, samples, self._sizes.choose(size))

    def complete(self, batch: Sequence[Sample], progress: Callable[[int], None]) -> list[Completion]:
        if self._serving is None:
            self._serving = Serving(self._settings, self._resolved, self._place)
            self._serving.wait()
        replies = self._replies(self._serving, batch, progress)
        done = [completion_of(self._encoded, sample, reply) for sample, reply in zip(batch, replies, strict=True)]
        self._compare_prompts(batch, done)
        return done

    def reference(self, chat: Chat) -> str:
        return self._encoded.reference(chat)

    def close(self) -> None:
        if self._serving is not None:
            self._serving.end()

    def _replies(self, serving: Serving, batch: Sequence[Sample], progress: Callable[[int], None]) -> list[Json]:
        """Some servers refuse requests for log-probabilities; they are asked without, from then on."""
        try:
            return serving.complete([self._body(serving.name, sample) for sample in batch], progress)
        except UnsupportedError as error:
            if not self._logprobs or "logprob" not in str(error):
                raise StageError(f"the endpoint refuses a request: {error}", "check its log and its version") from None
        self._logprobs = False
        self._place.warn("the endpoint gives no log-probabilities: confidence is unknown")
        return self._replies(serving, batch, progress)

    def _body(self, model: str, sample: Sample) -> Json:
        inference, prompt, tokenizer = self._settings.inference, sample.prompt, self._encoded.tokenizer
        arguments = rendering(tokenizer).arguments(bool(prompt.tools))
        return {
            "model": model,
            "messages": adapted_prompt(tokenizer, prompt.messages, prompt.tools),
            "max_tokens": inference.max_new_tokens,
            "temperature": inference.temperature,
            "top_p": 1.0,
            "seed": sample_seed(self._settings.loop.seed, sample),
            **({"tools": list(prompt.tools)} if prompt.tools else {}),
            **({"chat_template_kwargs": arguments} if arguments else {}),
            **({"logprobs": True} if self._logprobs else {}),
        }

    def _compare_prompts(self, batch: Sequence[Sample], done: Sequence[Completion]) -> None:
        """Warn, once, where the server counts other tokens in a prompt than training does."""
        for sample, completion in zip(batch, done, strict=True):
            own = len(self._encoded.tokens(sample.prompt))
            if completion.prompt_tokens != own and not self._warned:
                self._warned = True
                self._place.warn(
                    f"the endpoint counts {completion.prompt_tokens:,} tokens in a prompt that has {own:,} in training:"
                    " its chat template differs, or its context is too short; make it serve the model's own template"
                )
