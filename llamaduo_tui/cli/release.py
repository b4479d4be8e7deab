"""The commands that take a finished run's model out of it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from engine.protocol.release import MARGIN
from llamaduo_tui.cli import options
from llamaduo_tui.paths import called

POLL_S = 0.2

FORMATS = click.Choice(["safetensors", "lora", "gguf"])
QUANTIZATIONS = click.Choice(["f16", "q8_0", "q4_k_m"])


@click.command()
@options.run
@click.option("--format", "formats", multiple=True, type=FORMATS, help="What to write; repeat it for several.")
@click.option("--quantize", multiple=True, type=QUANTIZATIONS, help="Which GGUF files to write.")
@click.option(
    "--margin",
    type=click.FloatRange(min=0, max=99),
    default=MARGIN,
    show_default=True,
    metavar="POINTS",
    help="How much worse than the judged adapter it may be.",
)
@click.option("--push", metavar="ID", help="Upload what was released to this private repository of the Hub.")
@click.pass_obj
def release(
    root: Path, run_name: str, formats: tuple[str, ...], quantize: tuple[str, ...], margin: float, push: str | None
) -> None:
    """Write the best model of a run for servers, and prove it as served.

    Each artefact in RUN/release is started, answers the sealed prompts over HTTP, and is released only if it is not
    worse than the adapter that was judged: the same answers cost nothing, the service judges the others. Without
    options it writes safetensors, and a GGUF file in q8_0 where llama.cpp is installed.

    \b
    Examples:  llamaduo-tui release demo
               llamaduo-tui release demo --format lora --format gguf --quantize q4_k_m
    """
    import time

    from llamaduo_tui.cli import overview
    from llamaduo_tui.control import release as control

    run = overview.find(root, run_name)
    arguments = [word for name in formats for word in ("--format", name)]
    arguments += [word for name in quantize for word in ("--quantize", name)]
    arguments += ["--margin", str(margin), *(["--push", push] if push else [])]
    seen = control.size(run)
    process = control.start(run, arguments)
    try:
        with control.log_file(run).open("rb") as log:
            log.seek(seen)
            while (status := process.poll()) is None:
                click.echo(log.read(), nl=False)
                time.sleep(POLL_S)
            click.echo(log.read(), nl=False)
    except KeyboardInterrupt:
        click.echo(f"\nthe release of {run.name} goes on: tail -f {control.log_file(run)}")
        sys.exit(130)
    if status == 0:
        click.echo(f"released in {run.release}\nserve it: llamaduo-tui serve {called(run)}")
    elif status not in (2, 3):
        click.echo(f"see {run.releasing / control.OUTPUT}", err=True)
    sys.exit(status)
