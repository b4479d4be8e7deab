"""How llama.cpp's own server is set up; its wheel is an extra, so what it is told is looked at here."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from engine.protocol import jsonl
from engine.release.artefact import ARTEFACT_FILE, Artefact
from engine.release.servers import llama_cpp


def test_clients_that_send_nothing_hold_no_server_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By itself it waits an hour for each, and a dozen of them are all that it can wait for."""
    folder = tmp_path / "gguf-q8_0"
    folder.mkdir()
    row = Artefact(
        format="gguf", quantization="q8_0", model="demo", context=64, temperature=0.3, max_new_tokens=8, base="tiny"
    )
    jsonl.write_json(folder / ARTEFACT_FILE, row.to_row())
    parts = ("model", "cpuparams", "sampling")
    params = SimpleNamespace(**{name: SimpleNamespace() for name in parts})
    wheel = SimpleNamespace(
        CommonParams=lambda: params,
        Server=lambda _: SimpleNamespace(listening_address="http://127.0.0.1:1"),
        common_reasoning_format=SimpleNamespace(COMMON_REASONING_FORMAT_NONE=0),
    )
    monkeypatch.setitem(sys.modules, "xllamacpp", wheel)
    monkeypatch.setattr(signal, "sigwait", lambda _: signal.SIGTERM)
    monkeypatch.setattr(sys, "argv", ["llama_cpp", str(folder / "model.gguf"), "--port", "1", "--slots", "4"])
    assert llama_cpp.main() == 0
    assert (params.n_threads_http, params.timeout_read) == (512, 30)
    sampling = params.sampling
    assert (sampling.temp, sampling.top_k, sampling.top_p, sampling.min_p) == (0.3, 0, 1.0, 0.0)
