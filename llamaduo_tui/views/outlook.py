"""What settings mean for this data and this machine: rows, steps, calls, tokens, money and memory, as they are typed.

It is arithmetic on the preview of the data and on the price list, by the formulas of the pre-flight's estimate. The
pre-flight, which loads the data whole and the model, replaces it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import NamedTuple

import msgspec

from engine.preflight.report import Profile
from engine.settings.schema import SANDBOX_MODEL, Migration
from llamaduo_tui.views import phrases

VERDICT_TOKENS = 120
"""Tokens of a verdict with its two reasons, as in the pre-flight."""

GIB = 2**30


class Prices(NamedTuple):
    """USD per token, in and out."""

    prompt: float
    completion: float


UNKNOWN = Prices(math.nan, math.nan)


class Work(NamedTuple):
    """Calls to the service LLM with their tokens, and USD; not a number where a price is unknown."""

    calls: float = 0.0
    tokens: float = 0.0
    usd: float = 0.0

    def plus(self, other: Work, times: float = 1.0) -> Work:
        """The sum with `times` the other."""
        return Work(*(mine + theirs * times for mine, theirs in zip(self, other, strict=True)))

    @property
    def text(self) -> str:
        """All of it: "96 calls, 61k tokens, $0.12"."""
        usd = "price unknown" if math.isnan(self.usd) else "free" if not self.usd else phrases.money(self.usd)
        return f"{phrases.count(round(self.calls), 'call')}, {short(self.tokens)} tokens, {usd}"


class Meaning(NamedTuple):
    """What some settings mean, and whether the one that is edited decides it."""

    name: str
    text: str
    decided: bool


class Outlook(msgspec.Struct, dict=True, frozen=True, kw_only=True):
    """Settings, a preview of their data, and what this machine and the price list say; each may be unknown yet.

    `prices` are USD per million tokens by model, `parameters` counts by model, `free` the free bytes to train in.
    """

    settings: Migration | None = None
    profile: Profile | None = None
    prices: Mapping[str, tuple[float, float]] = msgspec.field(default_factory=dict)
    parameters: Mapping[str, int] = msgspec.field(default_factory=dict)
    free: int = 0

    @property
    def lines(self) -> list[tuple[str, str]]:
        """Each thing that the settings decide, with its name; none where settings or data are not known."""
        named = (
            ("Data", self._data()),
            ("Training", self._training()),
            ("Service", self.most.text if self._known else ""),
            ("Memory", self._memory()),
        )
        return [(name, text) for name, text in named if text]

    def meanings(self, key: str = "") -> list[Meaning]:
        """All that the settings mean for this data and machine; what the setting with this key decides is marked."""
        decided, told = _EFFECTS.get(key), list[Meaning]()
        for name, say in _MEANINGS:
            text = say(self)
            if text and all(text != one.text for one in told):
                told.append(Meaning(name, text, say is decided))
        return told

    def effect(self, key: str) -> str:
        """What the value of a setting means for this data and machine; "" where it means nothing to count."""
        say = _EFFECTS.get(key)
        return say(self) if say is not None else ""

    @property
    def _known(self) -> bool:
        return self.settings is not None and self.profile is not None and self.profile.used > 0

    @cached_property
    def judging(self) -> Work:
        """The verdicts of a round on the dev prompts."""
        return self._judged(self.profile.dev) if self.profile is not None else Work()

    @cached_property
    def synthesis(self) -> Work:
        """The new pairs of a round, and the scores that they need."""
        settings, profile = self.settings, self.profile
        if settings is None or profile is None:
            return Work()
        pair = profile.prompt_tokens + profile.response_tokens
        wanted = settings.synthesis.pairs_per_round
        calls = wanted / settings.synthesis.pairs_per_call
        work = self._calls(settings.service.model, calls, calls * (_frames().synthesis + pair), wanted * pair)
        if settings.synthesis.min_score is None:
            return work
        for judge in settings.judge_models:
            text = wanted * (_frames().scoring + pair)
            work = work.plus(self._calls(judge, wanted, text, VERDICT_TOKENS / 2 * wanted))
        return work

    @cached_property
    def most(self) -> Work:
        """All calls of a run that needs every round."""
        settings, profile = self.settings, self.profile
        if settings is None or profile is None:
            return Work()
        rounds, samples = settings.loop.max_rounds, settings.inference.samples
        answers = min(settings.judge.drift, profile.dev * (samples + settings.target.teacher))
        again = answers / max(1, profile.dev * samples * settings.judge.repeats)
        work = self.judging.plus(self.judging, rounds + again * (rounds + 1)).plus(self.synthesis, rounds - 1)
        work = work.plus(self._judged(profile.test))
        if settings.target.teacher:
            work = work.plus(self._answered(profile.dev)).plus(self._answered(profile.test))
        return work

    def _judged(self, prompts: int) -> Work:
        settings, profile = self.settings, self.profile
        if settings is None or profile is None:
            return Work()
        text = prompts * (_frames().judge + profile.prompt_tokens + 2 * profile.response_tokens)
        work = Work()
        for judge in settings.judge_models:
            work = work.plus(self._calls(judge, prompts, text, VERDICT_TOKENS * prompts))
        return Work().plus(work, settings.inference.samples * settings.judge.repeats)

    def _answered(self, prompts: int) -> Work:
        """The service's own responses, and their verdicts."""
        settings, profile = self.settings, self.profile
        if settings is None or profile is None:
            return Work()
        tokens = profile.prompt_tokens * prompts, profile.response_tokens * prompts
        work = self._calls(settings.service.model, prompts, *tokens)
        return work.plus(self._judged(prompts), 1 / settings.inference.samples)

    def _calls(self, model: str, calls: float, prompt: float, completion: float) -> Work:
        price = self._price(model)
        return Work(calls, prompt + completion, prompt * price.prompt + completion * price.completion)

    def _price(self, model: str) -> Prices:
        if model == SANDBOX_MODEL:
            return Prices(0.0, 0.0)
        settings = self.settings
        own = settings.service.endpoint(model) if settings is not None else None
        found = self.prices.get(model) or self.prices.get(model.partition("/")[2])
        if own is not None and own.input_price is not None and own.output_price is not None:
            found = own.input_price, own.output_price
        if found is None:
            return UNKNOWN
        share = 0.5 if settings is not None and settings.service.batch else 1.0
        return Prices(found[0] * share / 1e6, found[1] * share / 1e6)

    def _data(self) -> str:
        profile = self.profile
        if profile is None or not profile.used:
            return ""
        about = "" if profile.exact and profile.whole else "about "
        return f"{about}{profile.train:,} train · {profile.dev:,} dev · {profile.test:,} sealed"

    def _training(self) -> str:
        settings, profile = self.settings, self.profile
        if settings is None or profile is None or not self._known:
            return ""
        batches = -(-profile.train // settings.finetune.batch_size)
        steps, tokens = batches * settings.finetune.epochs, profile.train * self._pair * settings.finetune.epochs
        epochs = f"{settings.finetune.epochs} × {phrases.count(batches, 'step')}"
        return f"at most {steps:,} steps in round 1 ({epochs}), {short(tokens)} tokens"

    @property
    def _pair(self) -> float:
        return self.profile.prompt_tokens + self.profile.response_tokens if self.profile is not None else 0.0

    def _memory(self) -> str:
        settings = self.settings
        count = self.parameters.get(settings.local.model) if settings is not None else None
        if settings is None or count is None:
            return ""
        weights = count * (0.55 if settings.local.quantization == "nf4" else 2.0) / GIB
        free = f" of {self.free / GIB:.1f} GiB free" if self.free else ""
        return f"weights of about {weights:.1f} GiB{free}; training needs more"

    def _lengths(self) -> str:
        settings, profile = self.settings, self.profile
        if settings is None or profile is None or not profile.lengths:
            return ""
        longer = sum(length > settings.finetune.max_length for length in profile.lengths) / len(profile.lengths)
        rest = f"about {longer:.0%} of the rows are longer and left out" if longer else "all rows fit"
        return f"the longest row has about {profile.lengths[-1]:,} tokens: {rest}"

    def _budget(self) -> str:
        cap = self.settings.service.budget_usd if self.settings is not None else None
        if not self._known or math.isnan(self.most.usd) or cap is None:
            return self._total()
        enough = "covers" if cap >= self.most.usd else "may end the run before"
        return f"{phrases.money(cap)} {enough} the at most {phrases.money(self.most.usd)} of all rounds"

    def _total(self) -> str:
        return f"a run with all rounds: at most {self.most.text}" if self._known else ""

    def _verdicts(self) -> str:
        return f"verdicts of a round: at most {self.judging.text}" if self._known else ""

    def _pairs(self) -> str:
        settings, profile = self.settings, self.profile
        if settings is None or profile is None or not self._known:
            return ""
        last = profile.train + (settings.loop.max_rounds - 1) * settings.synthesis.pairs_per_round
        return f"a round: {self.synthesis.text}; the last round trains on up to {last:,} pairs"

    def _responses(self) -> str:
        settings, profile = self.settings, self.profile
        if settings is None or profile is None or not self._known:
            return ""
        count = profile.dev * settings.inference.samples
        return f"{count:,} responses to judge a round; recorded ones have about {profile.response_tokens:,.0f} tokens"

    def _sealed(self) -> str:
        sealed = self.profile.test if self.profile is not None else 0
        return f"{phrases.count(sealed, 'sealed prompt')} will decide; more of them narrow the bound" if sealed else ""


class Facts(NamedTuple):
    """What an outlook needs of this machine and its files: see `Outlook`."""

    prices: dict[str, tuple[float, float]]
    parameters: dict[str, int]
    free: int


def facts() -> Facts:
    """Read the price list, the presets and the free memory, that of the emptiest GPU if there is one; in a thread."""
    from engine.service import catalog
    from engine.settings import preset
    from llamaduo_tui.views import machine

    now = machine.sample()
    free = max((gpu.total - gpu.used for gpu in now.gpus), default=now.total - now.used)
    prices = {model.name: (model.input_price, model.output_price) for model in catalog.listed()}
    parameters = {name: found.about.parameters for found in preset.load_all() for name in (found.name, found.model)}
    return Facts(prices, parameters, free)


class _Frames(NamedTuple):
    """Tokens of the built-in prompts without the texts that fill them in."""

    judge: float
    synthesis: float
    scoring: float


_frames_read: list[_Frames] = []


def _frames() -> _Frames:
    """Read once, when they are first needed."""
    if not _frames_read:
        from engine.service.prompts import load

        prompts = load(None)
        texts = (
            prompts.judge(instruction="", reference="", response=""),
            prompts.synthesis(instruction="", response="", topic="", count=1, variation=""),
            prompts.judge_pair(instruction="", response=""),
        )
        _frames_read.append(_Frames(*(len(text) / 4 for text in texts)))
    return _frames_read[0]


def short(number: float) -> str:
    """A number where room is short: "812", "324k", "2.0M"."""
    return f"{number:,.0f}" if number < 1e4 else f"{number / 1e3:,.0f}k" if number < 1e6 else f"{number / 1e6:,.1f}M"


_EFFECTS: dict[str, Callable[[Outlook], str]] = {
    **dict.fromkeys(("coverage.source", "coverage.limit", "coverage.split.dev", "coverage.split.test"), Outlook._data),
    **dict.fromkeys(("service.model", "service.batch", "service.input_price", "service.output_price"), Outlook._total),
    **dict.fromkeys(("service.budget_usd", "service.budget_calls"), Outlook._budget),
    **dict.fromkeys(("judge.models", "judge.repeats", "judge.adaptive"), Outlook._verdicts),
    **dict.fromkeys(("local.model", "local.quantization"), Outlook._memory),
    **dict.fromkeys(("finetune.epochs", "finetune.batch_size", "finetune.patience"), Outlook._training),
    "finetune.max_length": Outlook._lengths,
    **dict.fromkeys(("inference.samples", "inference.max_new_tokens"), Outlook._responses),
    **dict.fromkeys(("synthesis.pairs_per_round", "synthesis.pairs_per_call", "synthesis.min_score"), Outlook._pairs),
    **dict.fromkeys(("target.precision", "target.similarity", "target.confidence"), Outlook._sealed),
    "loop.max_rounds": Outlook._total,
}

_MEANINGS: tuple[tuple[str, Callable[[Outlook], str]], ...] = (
    ("data", Outlook._data),
    ("sealed test", Outlook._sealed),
    ("lengths", Outlook._lengths),
    ("memory", Outlook._memory),
    ("training", Outlook._training),
    ("responses", Outlook._responses),
    ("judging", Outlook._verdicts),
    ("new pairs", Outlook._pairs),
    ("service", Outlook._total),
    ("budget", Outlook._budget),
)
