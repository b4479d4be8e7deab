"""The tests lie as the code does: a test module is named after the module that it is about.

Tests of one module may lie in several: `test_MODULE_IDEA.py` beside `test_MODULE.py`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGES = ("engine", "llamaduo_tui")
ABOUT_SEVERAL = {
    "engine/evaluation/test_error_rate.py": "simulates whole migrations",
    "engine/local/test_architectures.py": "each architecture from its folder to the merged model",
    "engine/sandbox/test_command.py": "the sandbox as a program",
    "engine/service/test_mishaps.py": "faults that cross the client's modules",
    "engine/service/test_providers_behave.py": "stages against all that providers do",
    "engine/stages/test_contexts.py": "tools and system prompts through all stages",
    "engine/stages/test_injection.py": "instructions in data, through the stages that call the service",
    "engine/worker/test_event_loop.py": "the whole worker next to its event loop",
    "engine/takeover/test_drop_in.py": "clients of the service at the door",
    "engine/takeover/test_hostile.py": "hostile clients and broken sides",
    "llamaduo_tui/control/test_isolated.py": "processes that outlive the terminal",
    "llamaduo_tui/test_app_keys.py": "keys of the terminal, in several screens",
    "llamaduo_tui/test_app_looks.py": "pictures of several screens",
    "llamaduo_tui/test_app_shared.py": "the app at another user's runs",
    "llamaduo_tui/test_app_sizes.py": "all screens at all sizes",
    "llamaduo_tui/test_app_terminal.py": "the program in a pseudo-terminal",
    "llamaduo_tui/test_formats.py": "runs of an older and of a newer version",
}
"""Test modules about more than one module, and what they are about."""


@pytest.mark.parametrize("package", PACKAGES)
def test_each_test_module_is_named_after_a_module(package: str) -> None:
    strays = []
    for file in sorted((TESTS / package).rglob("test_*.py")):
        path = file.relative_to(TESTS)
        own = TESTS.parent / path.with_name(path.stem.removeprefix("test_"))
        words = own.name.split("_")
        shorter = [own.with_name("_".join(words[:count])) for count in range(1, len(words)) if words[0]]
        about = any(_is_module(module) for module in (own, own / "__main__"))
        part = any(_is_module(module) and file.with_name(f"test_{module.name}.py").exists() for module in shorter)
        if not about and not part and not own.is_dir():
            strays.append(path.as_posix())
    assert [path for path in strays if path not in ABOUT_SEVERAL] == []


def _is_module(path: Path) -> bool:
    return path.with_name(f"{path.name}.py").exists()


def test_the_exceptions_are_there() -> None:
    assert all((TESTS / path).exists() for path in ABOUT_SEVERAL)
