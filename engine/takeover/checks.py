"""Whether a local answer may be given: the task's contract, and the run's certified threshold of confidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from engine.evaluation.confidence import agreement
from engine.evaluation.contract import Contract, load
from engine.protocol.decision import Confidence, FinalDecision, Rule
from engine.settings.schema import Migration
from engine.takeover.chat import ChatReply


@dataclass(frozen=True, slots=True)
class Checked:
    """The result: why the answer may not be given, "" where it may, and the value of the rule's signal."""

    reason: str
    confidence: float | None


@dataclass(frozen=True, slots=True)
class Checks:
    """What a local answer must pass; without any, it can be streamed as it comes.

    `samples` answers to a prompt are needed where the rule compares them with each other, else one. They must be drawn
    at `temperature` and by nothing else, as those that the rule was tested on; None where the client may choose.
    """

    contract: Contract
    has_contract: bool
    rule: Rule | None
    samples: int = 1
    temperature: float | None = None

    @property
    def any(self) -> bool:
        return self.has_contract or self.rule is not None

    @property
    def logprobs(self) -> bool:
        """Whether the rule needs the log-probabilities of the answer's tokens."""
        return self.rule is not None and self.rule.signal in ("mean_logprob", "least_logprob")

    def broken(self, reply: ChatReply) -> str:
        """How an answer breaks the contract, "" where it does not: it is for answers in words, not for calls."""
        return "" if reply.calls or not self.has_contract else self.contract.broken(reply.text)

    def check(self, reply: ChatReply, others: Sequence[ChatReply] = ()) -> Checked:
        """Check an answer; `others` are further ones to the same prompt."""
        if broken := self.broken(reply):
            return Checked(f"breaks the contract: {broken.partition(':')[0]}", None)
        if self.rule is None:
            return Checked("", None)
        confidence = Confidence(
            mean_logprob=reply.mean_logprob,
            least_logprob=reply.least_logprob,
            agreement=agreement(reply.text, [other.text for other in others]),
            keeps_contract=True,
        )
        value = confidence.value(self.rule.signal)
        if self.rule.allows(confidence):
            return Checked("", value)
        found = "unknown" if value is None else f"{value:.3g}"
        return Checked(f"not sure enough: {found}, the threshold is {self.rule.threshold:.3g}", value)


def checks_of(settings: Migration, final: FinalDecision | None) -> Checks:
    """The checks of a run: its contract, and the rule of its certificate where only a part of the task may move."""
    part = None if final is None or final.reached else final.part
    rule = part.rule if part is not None and part.certified else None
    given = settings.task.contract
    contract, has_contract = load(given), given != type(given)()
    if rule is None:
        return Checks(contract, has_contract, None)
    samples = (rule.samples or settings.inference.samples) if rule.signal == "agreement" else 1
    temperature = settings.inference.temperature if rule.temperature is None else rule.temperature
    return Checks(contract, has_contract, rule, samples, temperature)
