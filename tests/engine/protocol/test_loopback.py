"""The address at which this machine reaches a server, whatever that listens on."""

from __future__ import annotations

import pytest
from yarl import URL

from engine.protocol.loopback import address_of
from engine.protocol.release import Served


@pytest.mark.parametrize(
    ("host", "reached"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("::1", "[::1]"),
        ("::", "[::1]"),
        ("fe80::1", "[fe80::1]"),
        ("box.example", "box.example"),
    ],
)
def test_a_host_and_its_address(host: str, reached: str) -> None:
    assert address_of(host, 8080) == f"http://{reached}:8080"
    assert URL(address_of(host, 8080)).port == 8080
    served = Served(
        artefact="a", pid=1, host=host, port=8080, model="", engine="", log="", up=True, restarts=0, since=0.0
    )
    assert served.base_url == f"http://{reached}:8080/v1"
