"""The sandbox's completion of a chat: a pure function of its user messages, the same for the same request."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from typing import Literal, NamedTuple

from engine.sandbox import judge, prompts, tickets

Task = Literal["judge", "synthesis", "ticket", "other"]

NOT_A_TICKET = (
    "This is llamaduo's offline sandbox, not a language model. It only triages support tickets, "
    "and this message is not one."
)


class Completion(NamedTuple):
    """The kind of task that was requested, and the text; `finish_reason` is as OpenAI names it."""

    task: Task
    text: str
    finish_reason: str = "stop"


def complete(prompt: str) -> Completion:
    """The completion of a judge's prompt, a synthesis prompt, a ticket, or anything else."""
    request = prompts.read(prompt)
    if isinstance(request, prompts.JudgeRequest):
        return Completion("judge", judge.assess(request.reference, request.response).to_json())
    if isinstance(request, prompts.PairRequest):
        right = tickets.triage(request.instruction)
        reference = tickets.answer_line(right) if right else NOT_A_TICKET
        precision = judge.assess(reference, request.response).precision
        return Completion("judge", json.dumps({"precision_assessment": precision._asdict()}))
    if isinstance(request, prompts.SynthesisRequest):
        return Completion("synthesis", json.dumps({"contents": synthesize(request, seed=text_hash(prompt))}))
    triaged = tickets.triage(prompt)
    return Completion("ticket", tickets.answer_line(triaged)) if triaged else Completion("other", NOT_A_TICKET)


def last_known(messages: Sequence[str]) -> str:
    """The newest user message that the sandbox understands, else the last: "try again" means the one before."""
    known = (text for text in reversed(messages) if prompts.read(text) or tickets.triage(text))
    return next(known, messages[-1])


def synthesize(request: prompts.SynthesisRequest, seed: int) -> list[dict[str, str]]:
    """New tickets with their responses; none where the seed pair is no ticket.

    All are of the requested kind; without one about half have the seed pair's kind or product.
    """
    example = tickets.triage(request.instruction)
    if example is None:
        return []
    rng = random.Random(seed)
    pairs = []
    for _ in range(request.count):
        shared = rng.choice(("product", "kind", None, None))
        kept = {shared: example[shared]} if shared else {}
        if request.kind in tickets.PROBLEMS:
            kept["kind"] = request.kind
        instruction, response = tickets.write_ticket(rng, **kept)
        pairs.append({"instruction": instruction, "response": response})
    return pairs


def text_hash(text: str) -> int:
    """A number of 64 bits that depends on every character of the text; the same in every process."""
    digest = hashlib.sha256(text.encode(errors="backslashreplace")).digest()
    return int.from_bytes(digest[:8], "big")
