"""litellm is loaded late, set up for us, and fetches nothing."""

from __future__ import annotations

import subprocess
import sys


def output_of(program: str) -> list[str]:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_an_import_of_the_service_changes_nothing_in_the_process() -> None:
    program = """
import os, sys
before = dict(os.environ)
import engine.preflight.check, engine.service.client, engine.worker.process
print('litellm' in sys.modules, os.environ == before)
"""
    assert output_of(program) == ["False", "True"]


def test_loading_litellm_asks_no_network() -> None:
    program = """
import socket
socket.getaddrinfo = socket.socket.connect = None
from engine.service.models import load_litellm
litellm = load_litellm()
from litellm.anthropic_beta_headers_manager import _load_beta_headers_config
from litellm.litellm_core_utils.get_model_cost_map import get_model_cost_map_source_info
source = get_model_cost_map_source_info()
print(source['source'], source['is_env_forced'], bool(_load_beta_headers_config()))
print(litellm.telemetry, load_litellm() is litellm)
"""
    assert output_of(program) == ["local", "True", "True", "False", "True"]
