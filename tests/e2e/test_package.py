"""The built wheel in an environment of its own: everything that a user needs is in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`llamaduo-tui` of the wheel, installed without -e; the libraries are those of this environment."""
    folder = tmp_path_factory.mktemp("package")
    # Of a copy: setuptools leaves a build folder behind, and takes stale files from one that it finds.
    source = folder / "source"
    shutil.copytree(ROOT, source, symlinks=True, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info", "tests"))
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    venv.create(folder / "venv")
    python = folder / "venv" / "bin" / "python"
    [wheel] = folder.glob("*.whl")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True)
    [packages] = (folder / "venv").glob("lib/python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.with_name("llamaduo-tui")


@pytest.fixture(autouse=True)
def no_other_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tests another checkout than the installed one has its path in there, before the wheel's."""
    monkeypatch.delenv("PYTHONPATH", raising=False)


def run(program: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL)


@pytest.mark.timeout(600)
def test_new_and_check_from_an_empty_folder(program: Path, tmp_path: Path) -> None:
    assert run(program, tmp_path, "--version").stdout.startswith("llamaduo-tui")

    written = run(program, tmp_path, "new", "migration.toml", "--preset", "smollm2-135m")
    assert written.returncode == 0, written.stderr
    unfilled = run(program, tmp_path, "check", "migration.toml")
    assert unfilled.returncode == 2, unfilled.stdout
    assert "hint: " in unfilled.stderr

    where = "import engine; from importlib.resources import files; print(files('engine') / 'demo')"
    demo = subprocess.run([program.with_name("python"), "-c", where], cwd=tmp_path, capture_output=True, text=True)
    shipped = Path(demo.stdout.strip())
    assert shipped.is_relative_to(program.parents[1]), "the wheel's own files, not the source's"
    checked = run(program, tmp_path, "check", str(shipped / "migration.toml"))
    assert checked.returncode == 0, checked.stderr
    assert "sealed " in checked.stdout


def test_code_of_the_folder_that_one_stands_in_is_not_run(program: Path, tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    (tmp_path / "engine" / "__init__.py").write_text("raise SystemExit('ran what lay about')")
    done = run(program, tmp_path, "check", "none.toml")
    assert done.returncode == 2
    assert "no such file" in done.stderr
