"""litellm's price list, read without it."""

from __future__ import annotations

import subprocess
import sys

from engine.service import catalog
from engine.service.models import price
from engine.settings.schema import Service


def test_the_prices_are_litellm_s_own() -> None:
    found = {model.name: model for model in catalog.listed()}
    for name in ("gpt-4o", "gemini/gemini-2.5-pro"):
        listed = price(name, Service(model=name))
        assert listed is not None
        assert (found[name].input_price, found[name].output_price) == (1e6 * listed[0], 1e6 * listed[1])
    assert found["gpt-4o"].provider == "openai"
    assert found["gpt-4o"].context == 128_000


def test_litellm_is_not_imported() -> None:
    code = (
        "import sys; from engine.service import catalog; print(len(catalog.listed()) > 100, 'litellm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
