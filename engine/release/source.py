"""What a release is made from: the best round's adapter, its base, and how the sealed prompts were asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from transformers import PreTrainedTokenizerBase

from engine.dataset.prepare import read_dev, read_test, read_train
from engine.local.adaptation import adaptations
from engine.local.adapted_template import adapting
from engine.local.chat import encode_prompt, end_token_ids
from engine.local.chat_shape import shape_of
from engine.local.inference.ends import named_ends
from engine.local.inference.merged import write_merged
from engine.local.quantised import usable_checkpoint
from engine.local.resolve import ResolvedModel
from engine.local.served_template import served_template
from engine.local.shape import Shape
from engine.local.skeleton import load_config
from engine.local.tokenizer import load_tokenizer, trusts_remote_code
from engine.protocol.decision import FinalDecision
from engine.protocol.errors import InputError
from engine.protocol.events import Log
from engine.protocol.rows import Pair
from engine.protocol.run_dir import Run
from engine.protocol.stages import FINETUNE
from engine.release.artefact import Artefact, FormatName, Quantization, model_name
from engine.release.releasable import releasable
from engine.settings.load import settings_of
from engine.settings.schema import Migration
from engine.stages.local_model import local_model

STEP = 1024
"""Contexts are multiples of so many tokens."""

LEAST_CONTEXT = 4096
"""As much as servers have by default on small cards; longer chats than those of the data shall fit, too."""


class Source(msgspec.Struct, dict=True, kw_only=True):
    """A run's best model. `tell` gets a line for each slow step, `work` is a folder for what is not released."""

    run: Run
    settings: Migration
    decision: FinalDecision
    base: ResolvedModel
    adapter: Path
    work: Path
    tell: Callable[[str], None]
    prompts: list[Pair] = msgspec.field(default_factory=list)

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer as the model was trained with it."""
        return load_tokenizer(self.base, self.settings.local)

    @cached_property
    def recorded(self) -> list[Pair]:
        """The recorded pairs of training and of the dev split."""
        return [*read_train(self.run.coverage), *read_dev(self.run.coverage)]

    @cached_property
    def template(self) -> str:
        """The chat template to serve: it shows a chat as training did, also one that training had to change.

        Raises InputError where the model has several, of which servers take one.
        """
        chats = [*self.recorded, *self.prompts]
        shapes = {tools: {shape_of(one.prompt) for one in chats if bool(one.tools) is tools} for tools in (False, True)}
        found = adaptations(self.tokenizer)
        before = {tools: adapting(found, shapes[tools], tools=tools) for tools in shapes}
        template = served_template(self.tokenizer, before)
        if not isinstance(template, str):
            raise InputError(
                f"{self.base.name} has several chat templates, and servers take one",
                "choose a model with one, or write the one to serve into chat_template.jinja of its folder",
            )
        return template

    @cached_property
    def ends(self) -> list[int]:
        """The tokens at which answers were ended in the sealed test."""
        named = named_ends(self.base.path)
        listed = named if isinstance(named, list) else [named]
        own = [*listed, self.tokenizer.eos_token_id, *end_token_ids(self.tokenizer)]
        return sorted({token for token in own if token is not None})

    @cached_property
    def turn_ends(self) -> frozenset[int]:
        """The tokens with which the template ends an answer."""
        return end_token_ids(self.tokenizer)

    def config_value(self, name: str) -> Any:
        """A value of the base's config.json."""
        return usable_checkpoint(self.base, self.settings.local).config.get(name)

    @cached_property
    def lengths(self) -> dict[str, int]:
        """The tokens of each sealed prompt, by id."""
        return {pair.id: len(encode_prompt(self.tokenizer, pair.prompt, pair.tools)) for pair in self.prompts}

    @cached_property
    def most_positions(self) -> int | None:
        """The tokens that the model can take; None where its config doesn't say."""
        local = self.settings.local
        return Shape.of(load_config(self.base, local, usable_checkpoint(self.base, local))).max_positions

    @cached_property
    def needed_context(self) -> int:
        """The tokens of the longest prompt of the data with the longest answer to it."""
        longest = max(len(encode_prompt(self.tokenizer, pair.prompt, pair.tools)) for pair in self.recorded)
        return max(longest, *self.lengths.values()) + self.settings.inference.max_new_tokens

    @property
    def context(self) -> int:
        """The context to serve: what the data needs and more, as far as the model has positions."""
        wanted = max(LEAST_CONTEXT, -(-self.needed_context // STEP) * STEP)
        return min(wanted, self.most_positions or wanted)

    @property
    def scratch(self) -> Path:
        return self.work / "merged"

    def merged(self) -> Path:
        """The model with the adapter in its weights, 16 bits each, made once."""
        done = self.scratch / "complete"
        if not done.exists():
            self.tell("merging the adapter into the base model's weights, 16 bits each")
            if self.settings.local.quantization != "none":
                self.tell("it was judged on a 4-bit base: 16-bit weights with the values of the 4-bit ones are written")
            write_merged(self.base, self.settings.local, self.adapter, self.scratch)
            done.touch()
        return self.scratch

    def artefact(self, format_: FormatName, quantization: Quantization = "") -> Artefact:
        """The description of an artefact of this model."""
        local, inference = self.settings.local, self.settings.inference
        return Artefact(
            format=format_,
            quantization=quantization,
            model=model_name(self.settings.task.name, format_, quantization),
            context=self.context,
            temperature=inference.temperature,
            max_new_tokens=inference.max_new_tokens,
            base=self.base.name,
            base_revision=self.base.revision or "",
            base_digest=self.base.digest,
            base_path=str(self.base.path) if format_ == "lora" else "",
            lora_rank=local.adapter.r if format_ == "lora" else 0,
            trust_remote_code=trusts_remote_code(local),
        )

    def generation_config(self) -> dict[str, Any]:
        """generation_config.json: the sampling of the sealed test, and every token that ended an answer there."""
        temperature = self.settings.inference.temperature
        drawn: dict[str, Any] = {"do_sample": False}
        if temperature > 0:
            drawn = {"do_sample": True, "temperature": temperature, "top_p": 1.0, "top_k": 0}
        tokenizer = self.tokenizer
        tokens = {"bos_token_id": tokenizer.bos_token_id, "pad_token_id": tokenizer.pad_token_id}
        return {**drawn, "eos_token_id": self.ends, **{name: id_ for name, id_ in tokens.items() if id_ is not None}}


def source_of(run: Run, tell: Callable[[str], None]) -> Source:
    """The best model of a run that has ended. Raises InputError where there is nothing to release."""
    decision, settings = releasable(run), settings_of(run)
    base = local_model(run, settings, lambda event: tell(event.message) if isinstance(event, Log) else None)
    return Source(
        run=run,
        settings=settings,
        decision=decision,
        base=base,
        adapter=FINETUNE.folder(run, decision.best_round) / "adapter",
        work=run.releasing,
        tell=tell,
        prompts=read_test(run.coverage),
    )
