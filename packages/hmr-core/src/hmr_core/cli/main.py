"""The root of the `hmr` command: which subcommands there are, and what an error looks like to its user."""

from __future__ import annotations

import importlib
import os
import shlex
import signal
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hmr_core.cli.terminal import keep_streams, show_any_path
from hmr_core.cli.worker import as_worker, tell_error
from hmr_core.errors import HmrError, did_you_mean
from hmr_core.interrupts import Stopped
from hmr_core.launcher import launched
from hmr_core.processes import place
from hmr_core.shell import flag
from hmr_core.system import refusal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hmr_core.plugins.registry import Registry


class LazyCommand(NamedTuple):
    """Where a subcommand lives. Its module is imported when it runs or shows its own help, not before."""

    module: str
    attribute: str
    help: str


SECTIONS: dict[str, dict[str, LazyCommand]] = {
    "Get data": {
        "synth": LazyCommand("hmr_core.cli.synth", "synth", "Make a synthetic data set; it needs no licensed file."),
        "mano": LazyCommand("hmr_core.cli.mano", "mano", "Import the licensed hand model."),
        "pack": LazyCommand("hmr_core.cli.pack", "pack", "Pack a data set into one file; verify and describe packs."),
    },
    "Train and evaluate": {
        "train": LazyCommand("hmr_core.cli.train", "train", "Train a model on a pack, or resume a run."),
        "runs": LazyCommand(
            "hmr_core.cli.runs", "runs", "List the runs, or show one: its state, its figures, its command."
        ),
        "sweep": LazyCommand("hmr_core.cli.sweep", "sweep", "Train with many options, chosen by Optuna, and compare."),
        "eval": LazyCommand("hmr_core.cli.evaluate", "evaluate", "Score a checkpoint: metrics, predictions, pictures."),
        "compare": LazyCommand(
            "hmr_core.cli.compare", "compare", "Evaluations side by side: intervals, and whether they differ."
        ),
        "score": LazyCommand("hmr_core.cli.score", "score", "Score a predictions file again, without a model."),
        "ckpt": LazyCommand("hmr_core.cli.ckpt", "ckpt", "Identify a weights file; make a released one a checkpoint."),
    },
    "Use a model": {
        "predict": LazyCommand(
            "hmr_core.cli.predict", "predict", "Hands of your own photos: joints, meshes, pictures."
        ),
    },
    "See what is there": {
        "doctor": LazyCommand("hmr_core.cli.doctor", "doctor", "Say what is there, what is wrong, what to run."),
        "models": LazyCommand("hmr_core.cli.listings", "models", "Models; the options of one, with their defaults."),
        "datasets": LazyCommand("hmr_core.cli.listings", "datasets", "Data sets that `hmr pack` can pack."),
        "solvers": LazyCommand("hmr_core.cli.listings", "solvers", "Ways from joints to a mesh."),
        "detectors": LazyCommand("hmr_core.cli.listings", "detectors", "What finds the hands of a photo."),
        "predictors": LazyCommand("hmr_core.cli.listings", "predictors", "What predicts hands without training."),
        "backbones": LazyCommand("hmr_core.cli.listings", "backbones", "What models of images can begin with."),
        "plugins": LazyCommand("hmr_core.cli.listings", "plugins", "Installed plugins, and why one does not work."),
    },
}
"""The subcommands in the order of `hmr --help`, which is the order in which they are used."""

LAZY_COMMANDS = {name: command for section in SECTIONS.values() for name, command in section.items()}
PLUGIN_SECTION = "From plugins"
_PLUGIN_COMMANDS = "hmr_core.plugin_commands"
_ARGUMENTS = "hmr_core.arguments"


def current_registry() -> Registry:
    """The plugins of this command line, discovered once; a test passes its own as click's `obj`."""
    from hmr_core.plugins.registry import Registry, discover

    root = click.get_current_context().find_root()
    if not isinstance(root.obj, Registry):
        root.obj = discover()
    return root.obj


def current_command() -> str:
    """The command line of this process, as it is typed."""
    return shlex.join(["hmr", *current_arguments()])


def current_arguments() -> list[str]:
    """What comes after `hmr` in the command line of this process."""
    arguments: list[str] = click.get_current_context().find_root().meta[_ARGUMENTS]
    return arguments


class RootGroup(click.Group):
    """The group `hmr`: its own subcommands come from a table, the others from plugins."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's; the whole command line is kept for `current_command`."""
        ctx.meta[_ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the table in its order, then those of plugins."""
        return [*LAZY_COMMANDS, *self._plugin_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The subcommand, imported now; None when there is none of this name."""
        if cmd_name not in LAZY_COMMANDS:
            return self._plugin_commands(ctx).get(cmd_name)
        module, attribute, _ = LAZY_COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            raise TypeError(f"{module}.{attribute} is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, with the closest name for a misspelt one (click would look among imported ones only)."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            suggestion = did_you_mean(name, self.list_commands(ctx))
            raise click.UsageError(f'unknown command "{name}".{suggestion}', ctx)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """As click's; an error that concerns a pack says so where the environment chose it."""
        from hmr_core.cli.options import explain_data

        try:
            return super().invoke(ctx)
        except HmrError as error:
            explain_data(ctx, error)
            raise
        except Stopped as error:
            if error.number == signal.SIGINT:
                raise
            raise click.Abort from error  # click would begin a new line, as after ^C on a terminal

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The subcommands by section, from the table alone."""
        plugins = self._plugin_commands(ctx)
        width = max(len(name) for name in [*LAZY_COMMANDS, *plugins])
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(width), command.help) for name, command in commands.items()])
        shown = [(name.ljust(width), command.get_short_help_str(80)) for name, command in plugins.items()]
        if shown:
            with formatter.section(PLUGIN_SECTION):
                formatter.write_dl(shown)

    def _plugin_commands(self, ctx: click.Context) -> dict[str, click.Command]:
        """The plugins' commands, asked for once per command line and kept in its root context."""
        meta = ctx.find_root().meta
        if _PLUGIN_COMMANDS not in meta:
            collected = click.Group(self.name)
            current_registry().add_commands(collected, reserved=LAZY_COMMANDS)
            meta[_PLUGIN_COMMANDS] = dict(sorted(collected.commands.items()))
        commands: dict[str, click.Command] = meta[_PLUGIN_COMMANDS]
        return commands


@click.group(cls=RootGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="hmr-core", prog_name="hmr", message="%(prog)s %(version)s")
def cli() -> None:
    """Hand mesh recovery: the joints and the mesh of a hand from an image.

    \b
    A first run, without any licensed file:
      hmr synth demo
      hmr pack oakink --root demo/OakInk
      hmr train integral --split sp0 --recipe tiny
      hmr eval integral --ckpt runs/integral-sp0-tiny

    `hmr COMMAND --help` shows a command's options and examples.
    """


def main(args: Sequence[str] | None = None) -> int:
    """Run the command line (by default the process's own) and return its exit status: 0 done, 1 failed, 2 misused.

    Errors are one line on stderr; with HMR_DEBUG=1 in the environment their traceback comes first.
    """
    if reason := refusal():
        _say(f"error: {reason}")
        return HmrError.exit_code
    keep_streams()
    show_any_path()
    with as_worker(place()):
        return _run(args)


def _run(args: Sequence[str] | None) -> int:
    try:
        result = cli.main(args, prog_name="hmr", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        tell_error(error.format_message(), error.exit_code)
        context = getattr(error, "ctx", None)
        if context is not None and not launched():
            _say(f"see: {context.command_path} --help")
        return error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        left = error.__cause__ or error  # click wraps it
        if not launched() and not getattr(left, "told", False):
            _say("interrupted")
        number: int = getattr(left, "number", signal.SIGINT)
        return 128 + number  # as shells have it
    except HmrError as error:
        tell_error(error.worded(flag), error.exit_code, error, trace=_debugging())
        return error.exit_code
    except Exception as error:
        from hmr_core.plugins.discovery import cause

        hint = "" if _debugging() else " (set HMR_DEBUG=1 for the traceback)"
        tell_error(f"{cause(error)}{hint}", 1, error, trace=_debugging())
        return 1
    return result if isinstance(result, int) else 0


def _debugging() -> bool:
    return os.environ.get("HMR_DEBUG", "") not in ("", "0")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
