"""What only shows once an artefact is served: the tokens that it sees, where its answers end, how probable they are."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from engine.local.chat import encode_prompt
from engine.local.inference.base import Completion
from engine.local.rendering import rendering
from engine.protocol.counts import number_of
from engine.protocol.release import Cause, Check, Result
from engine.protocol.rows import Pair, Response, message_text
from engine.release.source import Source

MOST_LOGPROB = 0.25
"""Nats a token by which the same answer may be less or more probable: rounding moves it by some hundredths."""


def check_tokens(source: Source, pairs: Sequence[Pair], served: Sequence[Sequence[int]]) -> list[Check]:
    """Whether the server shows the model the tokens of training, with one BOS token or none as there.

    Prompts that hold control tokens are left out: in training they are text, and no server can be told so.
    """
    tokenizer = source.tokenizer
    control = rendering(tokenizer).control
    bos = tokenizer.bos_token_id
    compared, left_out, bos_problem, problem = 0, 0, "", ""
    for pair, ids in zip(pairs, served, strict=True):
        if any(control.places(message_text(message), control.special) for message in pair.prompt):
            left_out += 1
            continue
        own = encode_prompt(tokenizer, pair.prompt, pair.tools)
        compared += 1
        if bos is not None and not bos_problem and _leading(ids, bos) > max(1, _leading(own, bos)):
            bos_problem = (
                f"prompt {pair.id} begins with {_leading(ids, bos)} BOS tokens; in training with {_leading(own, bos)}"
            )
        if list(ids) != own and not problem:
            at = next((at for at, (a, b) in enumerate(zip(ids, own, strict=False)) if a != b), min(len(ids), len(own)))
            seen, meant = (repr(tokenizer.decode(list(one[at : at + 5]))) for one in (ids, own))
            problem = (
                f"prompt {pair.id} differs at token {at}: {seen} instead of {meant} ({len(ids)} and {len(own)} tokens)"
            )
    aside = f"; {left_out} with control tokens in their text are left out" if left_out else ""
    return [
        _check(Cause.BOS, bos_problem, f"as in training, in {number_of(compared, 'prompt')}"),
        _check(Cause.TOKENS, problem, f"the same as in training, in {number_of(compared, 'prompt')}{aside}"),
    ]


def check_answers(source: Source, judged: Sequence[Response], served: Sequence[Completion]) -> list[Check]:
    """Whether answers end where the adapter's end, and the same answers are as probable."""
    both = list(zip(judged, served, strict=True))
    ended = [(old, new) for old, new in both if old.finish_reason == "stop"]
    endless = [old.id for old, new in ended if new.finish_reason != "stop"]
    marks = [str(source.tokenizer.convert_ids_to_tokens(token)) for token in source.turn_ends]
    shown = [old.id for old, new in both if any(mark in new.text and mark not in old.response for mark in marks)]
    end = f"{len(endless):,} of {len(ended):,} answers do not end, first {endless[0]}" if endless else ""
    end = end or (f"the answer to {shown[0]} goes on behind the end of its turn" if shown else "")
    moved = [
        abs(new.mean_logprob - old.mean_logprob)
        for old, new in both
        if new.text == old.response and new.mean_logprob is not None and old.mean_logprob is not None
    ]
    if not moved:
        kernels = Check(cause=Cause.KERNELS, result=Result.DOES_NOT_APPLY, detail="no same answers to compare")
    else:
        told = f"the same answers differ by {fmean(moved):.3f} nats a token in the mean"
        kernels = _check(Cause.KERNELS, told if fmean(moved) > MOST_LOGPROB else "", told)
    return [_check(Cause.END, end, f"{number_of(len(ended), 'answer')} with the same end as the adapter's"), kernels]


def _check(cause: Cause, problem: str, fine: str) -> Check:
    return Check(cause=cause, result=Result.FAILED if problem else Result.PASSED, detail=problem or fine)


def _leading(ids: Sequence[int], token: int) -> int:
    """How often a token stands at the start."""
    return next((at for at, one in enumerate(ids) if one != token), len(ids))
