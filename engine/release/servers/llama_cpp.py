"""`python -m engine.release.servers.llama_cpp FILE`: llama.cpp's own server for a GGUF file.

It answers as the artefact next to the file says: its context for each request, the sampling of the sealed test where a
request names none, the file's own chat template. The key comes in the environment; no browser page may ask it.
"""

from __future__ import annotations

import os
import signal
import sys

from engine.protocol.errors import LlamaDuoError
from engine.release.artefact import read_artefact
from engine.release.engines import KEY_VARIABLE
from engine.release.servers.command_line import arguments

HTTP_THREADS = 512
"""Each connection holds one until its request is there; by itself llama.cpp has a handful."""

SILENT_S = 30
"""Seconds for which a client may send nothing of its request; by itself llama.cpp waits an hour."""


def main() -> int:
    args = arguments("engine.release.servers.llama_cpp", __doc__)
    try:
        artefact = read_artefact(args.artefact.parent.parent, args.artefact.parent.name)
    except LlamaDuoError as error:
        print(f"error: {error.message}; {error.hint}", file=sys.stderr)
        return error.exit_status

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(args.artefact)
    params.hostnames, params.port = [args.host], args.port
    params.model_alias = {artefact.model}
    params.n_threads_http, params.timeout_read = HTTP_THREADS, SILENT_S
    params.api_keys = [key] if (key := os.environ.get(KEY_VARIABLE, "")) else []
    params.cors_origins = ""
    # The slots' page would show the prompts at work.
    params.ui, params.endpoint_slots, params.endpoint_metrics, params.use_jinja = False, False, True, True
    params.n_parallel, params.n_ctx = args.slots, args.slots * artefact.context
    params.cpuparams.n_threads = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    # What a request doesn't name is as in the sealed test; llama.cpp's own defaults are top-k 40, top-p 0.95, min-p.
    sampling = params.sampling
    sampling.temp, sampling.top_k, sampling.top_p, sampling.min_p = artefact.temperature, 0, 1.0, 0.0
    sampling.penalty_repeat = 1.0
    params.n_predict = artefact.max_new_tokens
    # Thoughts are cut by who reads the answer, as in the sealed test.
    params.reasoning_format = xllamacpp.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
    server = xllamacpp.Server(params)
    print(f"serving {artefact.model} at {server.listening_address}", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    return 0


if __name__ == "__main__":
    # Blocked before any thread is started, so that `sigwait` gets them.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    sys.exit(main())
