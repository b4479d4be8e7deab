"""The second half of the demo without a screen: release, a prompt, the drill, each by its own command."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from engine.protocol.release import PAPER_FILE, lacking_for_gguf, read_gates
from engine.protocol.terminal import say
from llamaduo_tui.paths import called
from llamaduo_tui.views.text import one_line

if TYPE_CHECKING:
    from engine.protocol.run_dir import Run


def go_on(run: Run) -> int:
    """Release the model of a run that reached its target, ask it, rehearse the day.

    The exit status is 0 where one artefact at least is released and nothing failed, else that of the command that
    failed. Raises LlamaDuoError where a door does not start.
    """
    from llamaduo_tui.cli.release import LEFT, follow_release
    from llamaduo_tui.control import takeover

    _head(1, "the release", f"release {called(run)}")
    lacking = lacking_for_gguf()
    if lacking:
        say(f"{lacking} is not installed: safetensors alone is released (pip install 'llamaduo-tui[gguf]')")
    status = follow_release(run, ["--format", "safetensors"] if lacking else [])
    if status == LEFT or not any(gate.passed for gate in read_gates(run.release)):
        return status
    _head(2, "a prompt", f"takeover {called(run)} --mode shadow")
    ask_both(run)
    options = takeover.drill_pace(run)
    _head(3, "the drill", " ".join(["drill", called(run), *options]))
    if status := takeover.drill(run, options, None):
        return status
    say(f"the demo is complete; on one page: {run.release / PAPER_FILE}")
    say("your own task: llamaduo-tui edit migration.toml")
    return 0


def ask_both(run: Run) -> None:
    """Ask the service and the released model one sealed prompt, by a door that ends again. Raises LlamaDuoError."""
    from engine.protocol import records
    from engine.protocol.rows import RESPONSES_FILE, Response, prompt_text
    from engine.protocol.stages import INFER
    from llamaduo_tui.control import takeover as control
    from llamaduo_tui.views import takeover

    prompt = prompt_text(next(records.read(INFER.folder(run, None) / RESPONSES_FILE, Response)).prompt)
    status = control.start(run, ["--mode=shadow", "--port=0"])
    try:
        say(f"the door answers at {status.address}; your code would change its base URL to this")
        say(f"{'prompt':<8} {one_line(prompt, 300)}")
        view = takeover.read(run)
        for side in ("service", "local"):
            began = time.monotonic()
            answer = takeover.try_prompt(view, prompt, side)
            say(f"{side:<8} {one_line(answer, 300)}  ({time.monotonic() - began:.2f} s)")
    finally:
        control.stop(run)


def _head(number: int, title: str, command: str) -> None:
    say(f"\n{number} of 3 · {title}: llamaduo-tui {command}")
