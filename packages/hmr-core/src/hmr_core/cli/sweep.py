"""`hmr sweep`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hmr_core.cli.main import current_command, current_registry
from hmr_core.cli.options import device_option, workers_option
from hmr_core.cli.table import show_table
from hmr_core.errors import Option
from hmr_core.shell import command_line

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hmr_core.sweep.definition import Sweep
    from hmr_core.sweep.session import SweepResult
    from hmr_core.sweep.trials import TrialRow


@click.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="SWEEP.toml")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="The sweep's folder; by default sweeps/NAME."
)
@click.option("--show", is_flag=True, help="Print the trials as they stand, and run nothing.")
@device_option
@workers_option
def sweep(file: Path, out: Path | None, show: bool, device: str | None, workers: int | None) -> None:
    """Train a model many times with different options, and compare: SWEEP.toml says which.

    \b
    Examples:
      hmr sweep sweep.toml                    goes on with what is there; more of it at once share the trials
      hmr sweep sweep.toml --device cuda:1
      hmr sweep sweep.toml --show             the trials as they stand

    \b
    A file, for which docs/sweeps.md has all keys:
      model = "integral"
      split = "sp0"
      recipe = "tiny"
      trials = 20
      set = { "train.epochs" = 5 }
      [space]
      "train.learning_rate" = { low = 1e-4, high = 1e-2, log = true }
      "backbone.name" = ["resnet18", "resnet34"]

    Optuna (`pip install "hmr-core[sweep]"`) chooses the values and stops trials early that are not worth going on with.
    The sweep's folder gets a run for each trial (trial-0000/), the study, and sweep.csv. Whatever ends the command, the
    same command goes on with it.
    """
    from hmr_core.sweep.session import SweepRequest, read_trials, run_sweep

    if show:
        _show(read_trials(file, out), file, out)
        return
    request = SweepRequest(file=file, out=out, device=device, workers=workers, command=current_command())
    try:
        from hmr_core.cli.console import display

        result = run_sweep(request, current_registry(), display, lambda line: click.echo(line, err=True))
    except KeyboardInterrupt:
        click.echo(f"to go on with the sweep: {_command(file, out)}", err=True)
        raise
    _show(result, file, out)


def _show(result: SweepResult, file: Path, out: Path | None) -> None:
    """Print a sweep's trials, the best first, and what to do with the best."""
    from hmr_core.sweep.trials import best_trial, ranked

    sweep, rows = result.sweep, result.rows
    titles = ["trial", "state", *sweep.space, f"best {sweep.metric}", "epoch", "epochs", "folder"]
    show_table(titles, [_cells(sweep, row) for row in ranked(sweep, rows)])
    for row in rows:
        if row.error:
            click.echo(f"trial {row.number} failed: {row.error}")
    states = [row.state for row in rows]
    if running := states.count("running"):
        click.echo(f"note: other processes work on {running} of the trials")
    if "cut off" in states:
        click.echo(f"to go on with what was cut off: {_command(file, out)}")
    best = best_trial(sweep, rows)
    if best is not None:
        click.echo(f"best: trial {best.number}, {best.folder}")
        click.echo(f"the same anew: {_training(sweep, best)}")
        for command in _evaluations(sweep, best):
            click.echo(f"next: {command}")


def _cells(sweep: Sweep, row: TrialRow) -> list[str]:
    values = [_short(row.values.get(key, "")) for key in sweep.space]
    best = "-" if row.best is None else f"{row.best:.3f}"
    epoch = "-" if row.best_epoch is None else str(row.best_epoch)
    return [str(row.number), row.state, *values, best, epoch, str(row.epochs), str(row.folder)]


def _short(text: str) -> str:
    """A value for a table: a drawn number has 17 digits, of which sweep.csv and the commands keep all."""
    try:
        return f"{float(text):.4g}" if "." in text or "e" in text else text
    except ValueError:
        return text


def _command(file: Path, out: Path | None) -> str:
    """The command that goes on with a sweep."""
    return command_line("hmr sweep", file, *([] if out is None else [Option("out", out)]))


def _training(sweep: Sweep, row: TrialRow) -> str:
    """The command that trains what a trial trained."""
    overrides = [*sweep.overrides, *(f"{key}={text}" for key, text in row.values.items())]
    return command_line(
        "hmr train",
        sweep.model,
        *([] if sweep.split is None else [Option("split", sweep.split)]),
        Option("recipe", sweep.recipe),
        *(Option("set", override) for override in overrides),
        *(Option("data", pack) for pack in sweep.data),
        *_hand_model(sweep),
    )


def _evaluations(sweep: Sweep, row: TrialRow) -> Iterator[str]:
    """The commands that score a trial's best checkpoint, one for each pack that it was trained on."""
    from hmr_core.weights.run_record import open_run

    run = open_run(row.folder)
    for pack in run.data:
        yield command_line(
            "hmr eval",
            sweep.model,
            Option("ckpt", f"{row.folder}:best"),
            Option("split", pack.split or run.split),
            *([Option("data", pack.path)] if sweep.data else []),
            *_hand_model(sweep),
        )


def _hand_model(sweep: Sweep) -> list[Option]:
    return [] if sweep.hand_model is None else [Option("hand_model", sweep.hand_model)]
