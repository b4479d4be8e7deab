"""Whether an endpoint that renders chats by the model's own template shows the model the prompts of training."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

from engine.local.chat import adapted_prompt, render_prompt
from engine.local.rendering import rendering
from engine.local.template import clock
from engine.local.turns import served_turns
from engine.protocol.errors import InputError
from engine.protocol.rows import Pair
from engine.settings.local import Inference

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LOOKED_AT = 50
"""Prompts that are compared."""

OTHER_TEMPLATE = re.compile(r"\{merged\}|LLAMADUO_MERGED|chat.?template", re.IGNORECASE)
"""What a command holds that gives a server another template than the model's own: that of training, or a file."""

HINT = 'give {merged} to the server in inference.serve, or set inference.backend to "vllm" or "transformers"'


def refuse_own_template(inference: Inference, tokenizer: PreTrainedTokenizerBase, asked: Iterable[Pair]) -> None:
    """Raise InputError where the endpoint's prompts would differ from those of training."""
    if inference.backend != "endpoint" or OTHER_TEMPLATE.search(f"{inference.serve} {inference.model}"):
        return
    pairs = list(islice(asked, LOOKED_AT))
    differing = sum(_differs(tokenizer, pair) for pair in pairs)
    if differing:
        raise InputError(
            f"the endpoint would show the model other prompts than training does, {differing:,} of {len(pairs):,}: "
            "the model's own chat template cannot make them",
            HINT,
        )


def _differs(tokenizer: PreTrainedTokenizerBase, pair: Pair) -> bool:
    """Whether a server on another day would make another prompt of the request for a pair."""
    ours, shown = render_prompt(tokenizer, pair.prompt, pair.tools), rendering(tokenizer)
    own = str(tokenizer.get_chat_template(None, list(pair.tools) or None))
    later = clock(shown.template.day + timedelta(days=1), own) + own if "strftime_now" in own else own
    try:
        theirs = tokenizer.apply_chat_template(
            served_turns(adapted_prompt(tokenizer, pair.prompt, pair.tools)),
            tools=list(pair.tools) or None,
            chat_template=later,
            tokenize=False,
            add_generation_prompt=True,
            **shown.arguments(bool(pair.tools)),
        )
    except Exception:  # noqa: BLE001 (templates raise anything; on a server, too)
        return True
    return bool(theirs != ours)
