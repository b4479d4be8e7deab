"""The gate: an artefact is released once its files pass the checks and it answers, as served, like the adapter."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from msgspec.structs import replace

from engine.dataset.prepare import family_names
from engine.local.inference import load_inference
from engine.local.inference.base import Completion, Place, Prompt
from engine.local.inference.encoded import Encoded
from engine.protocol import records
from engine.protocol.counts import number_of
from engine.protocol.errors import LlamaDuoError
from engine.protocol.release import Cause, Check, Gate, Result
from engine.protocol.rows import RESPONSES_FILE, Response, Verdict
from engine.protocol.stages import INFER
from engine.release.artefact import read_artefact
from engine.release.asking import AT_ONCE, TOLD_EVERY, Asking
from engine.release.checks import check_files
from engine.release.comparison import Compared, compare
from engine.release.judging import judge_answers
from engine.release.live_checks import check_answers, check_tokens
from engine.release.serving import Server, start
from engine.release.source import Source
from engine.settings.local import Local

UNKNOWN_PRE, LOG_END = "unknown pre-tokenizer", 8000
"""What llama.cpp says before it ends, and the characters of its log that are of its last start."""

ROUNDED = (
    "The adapter was trained and judged on 4-bit weights, and alone it is served on the base's 16-bit ones: "
    "safetensors and GGUF have the values of the 4-bit weights."
)

ADAPTER, SERVED = "adapter", "served"
"""The two sets of answers that are judged."""


@dataclass(kw_only=True)
class GateKeeper:
    """Holds artefacts of one release against the adapter; `margin` is in points, `risk` of each bound."""

    release: Path
    source: Source
    margin: float
    vllm: str

    @property
    def risk(self) -> float:
        return round(1 - self.source.settings.target.confidence, 6)

    @cached_property
    def encoded(self) -> Encoded:
        return Encoded(self.source.tokenizer)

    @cached_property
    def adapter(self) -> list[Response]:
        """The adapter's answers to the sealed prompts at temperature 0, one each: drawn ones would differ by luck."""
        source = self.source
        if source.settings.inference.temperature == 0:
            rows = records.read(INFER.folder(source.run, None) / RESPONSES_FILE, Response)
            found = {row.id: row for row in rows if row.sample == 0}
            return [found[pair.id] for pair in source.prompts]
        source.tell(f"the adapter answers the {len(source.prompts):,} sealed prompts again, at temperature 0")
        return answers_at_zero(source)

    def hold(self, name: str) -> Gate:
        """The gate of an artefact: checks of its files, then of its server, then the comparison of its answers."""
        began = time.monotonic()
        artefact = read_artefact(self.release, name)
        checks = check_files(self.release / name, artefact, self.source)
        if refused := self._refused(name, "", checks):
            return refused
        self.source.tell(f"{name}: starting its server")
        log = self.source.work / f"{name}.log"
        try:
            settings = self.source.settings
            hidden, trusted = settings.key_names, settings.local.trust_remote_code is not None
            with start(
                self.release, name, log=log, vllm=self.vllm, slots=AT_ONCE, hidden=hidden, trusted=trusted
            ) as server:
                return replace(self._served(server, name, checks), seconds=round(time.monotonic() - began, 1))
        except LlamaDuoError as error:
            if error.exit_status == 2 or not checks:
                raise
            reason = f"it cannot be served: {error.message}."
            if log.is_file() and UNKNOWN_PRE in log.read_text(errors="replace")[-LOG_END:]:
                told = "llama.cpp does not know the file's pre-tokenizer"
                reason = f"{Cause.TOKENIZER}: {told}."
                checks = merged(checks, [Check(cause=Cause.TOKENIZER, result=Result.FAILED, detail=told)])
            return self._gate(name, "", checks, passed=False, reason=reason)

    def _served(self, server: Server, name: str, checks: list[Check]) -> Gate:
        source, asking = self.source, Asking(server, self.encoded)
        if server.model not in asking.names():
            unnamed = Check(
                cause=Cause.ADAPTER, result=Result.FAILED, detail=f"the server does not list {server.model}"
            )
            checks = merged(checks, [unnamed])
        checks = merged(checks, check_tokens(source, source.prompts, asking.tokens(source.prompts)))
        if refused := self._refused(name, server.engine, checks):
            return refused
        count = len(source.prompts)
        source.tell(f"{name}: {server.engine} answers the {count:,} sealed prompts")

        def progress(done: int) -> None:
            if done % TOLD_EVERY == 0:
                source.tell(f"{name}: {done:,} of {count:,} answered")

        served = asking.answers(source.prompts, source.settings.inference.max_new_tokens, progress)
        checks = merged(checks, check_answers(source, self.adapter, served))
        if refused := self._refused(name, server.engine, checks):
            return refused
        return self._compared(server, name, checks, served)

    def _compared(self, server: Server, name: str, checks: list[Check], served: Sequence[Completion]) -> Gate:
        source = self.source
        answers = {
            row.id: replace(row, response=one.text, finish_reason=one.finish_reason)
            for row, one in zip(self.adapter, served, strict=True)
        }
        differing = [row for row in self.adapter if answers[row.id].response != row.response]
        verdicts: dict[str, list[Verdict]] = {ADAPTER: [], SERVED: []}
        cost = 0.0
        if differing:
            source.tell(f"{name}: {number_of(len(differing), 'answer')} unlike the adapter's; the service judges both")
            sets = {ADAPTER: differing, SERVED: [answers[row.id] for row in differing]}
            verdicts, cost = judge_answers(source.run, source.settings, sets, source.work / name, source.tell)
        compared = compare(
            self.adapter,
            {id_: row.response for id_, row in answers.items()},
            (verdicts[ADAPTER], verdicts[SERVED]),
            family_names(source.prompts),
            self.margin,
            self.risk,
        )
        reason = reason_of(compared, source.settings.local, name)
        return replace(
            self._gate(name, server.engine, checks, passed=compared.passed, reason=reason),
            prompts=len(self.adapter),
            families=compared.families,
            identical=compared.identical,
            identical_low=compared.identical_low,
            precision=compared.precision,
            similarity=compared.similarity,
            differences=compared.differences,
            cost_usd=round(cost, 6),
        )

    def _refused(self, name: str, engine: str, checks: list[Check]) -> Gate | None:
        """The gate of an artefact that fails a check; None where it fails none."""
        bad = [check for check in checks if check.result is Result.FAILED]
        if not bad:
            return None
        reason = "; ".join(f"{check.cause}: {check.detail}" for check in bad)
        return self._gate(name, engine, checks, passed=False, reason=f"{reason}.")

    def _gate(self, name: str, engine: str, checks: list[Check], *, passed: bool, reason: str) -> Gate:
        return Gate(
            artefact=name,
            engine=engine,
            passed=passed,
            reason=reason,
            checks=tuple(checks),
            margin=self.margin,
            risk=self.risk,
        )


def reason_of(compared: Compared, local: Local, artefact: str) -> str:
    """Why an artefact was released or refused; a refused adapter of a 4-bit base with what avoids that."""
    if compared.passed or local.quantization == "none" or artefact != "lora":
        return compared.reason
    return f"{compared.reason} {ROUNDED}"


def merged(files: Iterable[Check], live: Iterable[Check]) -> list[Check]:
    """All checks, one for each cause, in the order of the causes; what was seen live counts more."""
    found = {check.cause: check for check in (*files, *live)}
    return [found[cause] for cause in Cause if cause in found]


def answers_at_zero(source: Source) -> list[Response]:
    """The adapter's answers to the sealed prompts at temperature 0, by the backend of the sealed test."""
    settings = source.settings
    inference = settings.inference.model_copy(update={"temperature": 0.0, "samples": 1})
    settings = settings.model_copy(update={"inference": inference})
    prompts = [Prompt(id=pair.id, messages=pair.prompt, tools=pair.tools) for pair in source.prompts]
    judged = {
        row.id: row for row in records.read(INFER.folder(source.run, None) / RESPONSES_FILE, Response) if not row.sample
    }
    found: dict[str, Response] = {}
    place = Place(folder=source.work / "adapter", adapter=source.adapter, tell=source.tell, warn=source.tell)
    with closing(load_inference(settings, source.base, place)) as backend:
        for batch in backend.plan(prompts, 1).batches:
            for sample, one in zip(batch, backend.complete(batch, lambda _: None), strict=True):
                found[sample.prompt.id] = replace(
                    judged[sample.prompt.id],
                    response=one.text,
                    finish_reason=one.finish_reason,
                    completion_tokens=one.completion_tokens,
                    mean_logprob=one.mean_logprob,
                    least_logprob=one.least_logprob,
                )
    return [found[pair.id] for pair in source.prompts]
