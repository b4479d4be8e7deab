"""`python -m engine.notify`: send the message on standard input, in a process that outlives the worker that sends it.

Standard input is a JSON object with `settings` (the table [notify]) and `notice`. Standard output is a JSON list with
what became of it, for the worker, if there still is one; problems go to standard error, worker.log, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import asdict
from typing import NoReturn

from engine.notify.notice import Notice
from engine.notify.send import send
from engine.protocol import records
from engine.settings.notify import Notify


def main() -> NoReturn:
    """Send, report, and exit at once: a target that hangs holds nothing up."""
    given = json.load(sys.stdin)
    deliveries = send(Notify.model_validate(given["settings"]), records.build(Notice, given["notice"]))
    for delivery in deliveries:
        if delivery.problem:
            print(f"a message was not sent by {delivery.target}: {delivery.problem}", file=sys.stderr)
    with contextlib.suppress(BrokenPipeError):  # the worker has ended
        print(json.dumps([asdict(delivery) for delivery in deliveries]), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
