"""What the doctor says, and what it never says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engine.preflight import doctor
from tests.engine.nvml import Card, Nvml


def test_keys_are_named_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in doctor.KEYS:
        monkeypatch.delenv(name, raising=False)
    assert doctor._keys()[0].state == "warn"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    (finding,) = doctor._keys()
    assert (finding.state, finding.detail) == ("ok", "set: OPENAI_API_KEY")


def test_a_package_that_is_not_there_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "TESTED", {"no-such-package-at-all": "1.0", "pydantic": "0.0.1"})
    missing, other = doctor._packages()
    assert (missing.state, missing.detail) == ("missing", "pip install no-such-package-at-all==1.0")
    assert other.state == "warn"


def test_room_is_told_for_a_folder_yet_to_be_made(tmp_path: Path) -> None:
    finding = doctor._disk("runs", tmp_path / "a" / "b")
    assert finding.state in ("ok", "warn")
    assert "GiB free" in finding.detail
    assert not (tmp_path / "a").exists()


def test_a_hub_out_of_reach_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    assert doctor._hub()[0].state == "warn"


def test_a_hub_behind_a_proxy_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.corp.example")
    monkeypatch.setenv("https_proxy", "http://proxy.corp.example:3128")
    monkeypatch.setattr("socket.create_connection", None)
    (finding,) = doctor._hub()
    assert (finding.state, "proxy.corp.example:3128" in finding.detail) == ("ok", True)


def test_each_gpu_is_listed_with_its_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", Nvml())
    assert doctor._gpus() == []
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(Card(78), Card(), Card(12)))
    found = doctor._gpus()
    assert [(finding.name, finding.state) for finding in found] == [("gpu 0", "ok"), ("gpu 1", "ok"), ("gpu 2", "warn")]
    assert found[0].detail == (
        'GPU 0 (NVIDIA H100, 78.0 of 80.0 GiB free), GPU-a0; free; a run uses it too with compute.launcher = "torchrun"'
    )
    assert found[1].detail.endswith("GPU-b0; free; a run uses it: it has the most free memory")
    assert found[2].detail.endswith("12.0 of 80.0 GiB free), GPU-c0; in use by others")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [finding.detail for finding in doctor._gpus()] == ["CUDA_VISIBLE_DEVICES is '': it hides all GPUs"]


def test_locale_and_terminal_say_what_they_lack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("locale.getpreferredencoding", lambda _: "ANSI_X3.4-1968")
    (locale,) = doctor._locale()
    assert locale.state == "warn" and "export LC_ALL=C.UTF-8" in locale.detail
    monkeypatch.delenv("TMUX", raising=False)
    monkeypatch.setenv("TERM", "dumb")
    (terminal,) = doctor._terminal()
    assert terminal.state == "warn" and "the app does not open" in terminal.detail
    monkeypatch.setenv("TERM", "tmux-256color")
    monkeypatch.setenv("TMUX", "/nowhere,1,0")
    monkeypatch.setattr(doctor, "_tmux_option", {"set-clipboard": "external", "allow-passthrough": "off"}.get)
    _, tmux = doctor._terminal()
    assert tmux.state == "warn" and tmux.detail.endswith("tmux set -g allow-passthrough on")


def test_gpus_that_torch_cannot_use_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setitem(sys.modules, "pynvml", Nvml(Card()))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (finding,) = doctor._device()
    assert finding.state == "missing" and "none of the 1 GPUs" in finding.detail
