"""How commands fail: with a line, a hint and an exit status; the traceback is shown on request alone."""

from __future__ import annotations

import difflib
import os
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from engine.protocol.errors import LlamaDuoError
from engine.protocol.full_disk import Full, full
from engine.protocol.programs import BROKEN_PIPE
from engine.protocol.sharing import denied
from engine.protocol.terminal import say
from llamaduo_tui.views.text import clean

INTERRUPTED = 130


class Commands(click.Group):
    """Commands in sections, with errors for users; the group's `--debug` option shows the traceback, too.

    A command given as "module.function" of `llamaduo_tui.cli` is imported once it is needed.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._sections: dict[str, list[str]] = {}
        self._places: dict[str, str] = {}

    def add_section(self, title: str, *commands: click.Command | str) -> None:
        """Add commands that the help lists together, in this order."""
        self._sections[title] = []
        for command in commands:
            if isinstance(command, str):
                name = command.rpartition(".")[2]
                self._places[name] = command
            else:
                name = command.name or ""
                self.add_command(command)
            self._sections[title].append(name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*self.commands, *self._places})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if (place := self._places.pop(cmd_name, None)) is not None:
            module, _, function = place.rpartition(".")
            self.add_command(getattr(import_module(f"llamaduo_tui.cli.{module}"), function))
        return super().get_command(ctx, cmd_name)

    def all(self) -> dict[str, click.Command]:
        """All commands by their names, imported."""
        for name in list(self._places):
            self.get_command(click.Context(self), name)
        return dict(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = self.all()
        width = formatter.width - 6 - max(map(len, commands))
        for title, names in self._sections.items():
            with formatter.section(title):
                formatter.write_dl([(name, commands[name].get_short_help_str(width)) for name in names])

    def main(self, *args: Any, **extra: Any) -> Any:
        try:
            return super().main(*args, **extra)
        except OSError as error:  # of `--help` and `--version`, which are printed before `invoke`
            if (used_up := full(error)) is None:
                raise
            sys.exit(_no_room(used_up))

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.UsageError as error:
            _say(*_misuse(error))
            sys.exit(error.exit_code)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            _say(*_misuse(error))
            ctx.exit(error.exit_code)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last boundary
            ctx.exit(failed(error, debug=ctx.params["debug"]))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            nearest = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1)
            raise click.UsageError(
                f"no command {clean(args[0])!r}" + (f"; did you mean {nearest[0]!r}?" if nearest else ""), ctx
            )
        return super().resolve_command(ctx, args)


def failed(error: Exception | KeyboardInterrupt, *, debug: bool) -> int:
    """Say in a line what failed, with `debug` the traceback, too; the exit status."""
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _leave_output()
        return BROKEN_PIPE
    if debug:
        traceback.print_exc()
    if isinstance(error, PermissionError):
        error = denied(error)
    if isinstance(error, LlamaDuoError):
        _say(error.message, error.hint)
        return error.exit_status
    if (used_up := full(error)) is not None:
        return _no_room(used_up)
    say(f"unexpected: {type(error).__name__}: {error}" + ("" if debug else "  (--debug shows where)"), err=True)
    return 1


def _no_room(used_up: Full) -> int:
    """Say that nothing more can be written, if that can still be said; the exit status."""
    _leave_output()
    with suppress(OSError):
        _say(*used_up)
    return 1


def _leave_output() -> None:
    """Let go what is still to be printed: it would fail again at the exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str, hint: str) -> None:
    say(f"error: {message}", err=True)
    if hint:
        say(f"hint: {hint}", err=True)


def _misuse(error: click.UsageError) -> tuple[str, str]:
    """The message and hint of a usage error that click found."""
    found = error.format_message().rstrip(".")
    found = found.replace("a valid integer range", "a whole number").replace("a valid float range", "a number")
    return found[:1].lower() + found[1:], f"see {error.ctx.command_path if error.ctx else 'llamaduo-tui'} --help"
