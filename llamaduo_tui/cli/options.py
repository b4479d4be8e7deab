"""Options and arguments that several commands take, and how results are printed for scripts."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import click

from llamaduo_tui import paths


def _complete_run(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    from engine.protocol.run_dir import all_runs

    root = paths.runs_dir(ctx.find_root().params.get("runs_dir"))
    return [run.name for run in all_runs(root) if run.name.startswith(incomplete)]


run = click.argument("run_name", metavar="RUN", shell_complete=_complete_run)
settings_file = click.argument("file", type=click.Path(path_type=Path))
as_json = click.option("--json", "as_json", is_flag=True, help="Print it as JSON, for scripts.")
headless = click.option("--headless", is_flag=True, help="Print plain progress lines instead of opening the app.")
yes = click.option("--yes", is_flag=True, help="Approve every round of synthesis in advance, whatever it costs.")
detach = click.option("--detach", is_flag=True, help="Start and return at once.")
name = click.option("--name", "run_name", metavar="RUN", help="Name of the run; a number is added if it is in use.")


def print_json(value: Any) -> None:
    """Print a value as JSON, for scripts."""
    import json

    click.echo(json.dumps(value, indent=1))


def variable(_ctx: click.Context, _: click.Parameter, name: str | None) -> str | None:
    """The name of an environment variable; a key in its place is refused, and not shown."""
    if name is not None and not re.fullmatch(r"[A-Za-z_]\w*", name):
        raise click.BadParameter("it must be the name of an environment variable, and never the key itself")
    return name


class Amount(click.FloatRange):
    """A number between two limits; not-a-number, which no limit stops, is refused too."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number
