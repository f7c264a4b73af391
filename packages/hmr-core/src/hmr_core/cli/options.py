"""Options that several commands share."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from hmr_core.data.default_pack import DEFAULT, ENVIRONMENT, default_pack, named_pack
from hmr_core.errors import HmrError, Option
from hmr_core.hand.layer_names import HAND_LAYERS, OWN
from hmr_core.shell import command_line, flag
from hmr_core.system import usable_cpus
from hmr_core.wording import counted

_NOT_NAMED = "hmr_core.data_not_named"

MOST_WORKERS = 1024


def _workers_told(ctx: click.Context, param: click.Parameter, workers: int | None) -> int | None:
    """The number of workers, as given; a line where they are more than can run at once."""
    cores = usable_cpus()
    if workers is not None and workers > cores:
        click.echo(
            f"note: {command_line('--workers', workers)} is more than the {counted(cores, 'CPU core')} there are: more "
            "processes take more memory, and load no faster",
            err=True,
        )
    return workers


data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=f"The pack; by default ${ENVIRONMENT}, then {DEFAULT}.",
)
split_option = click.option("--split", help="One of the pack's splits, such as sp0 (`hmr pack info` lists them).")
device_option = click.option("--device", help="cpu, cuda, cuda:N or mps; by default the best there is.")
gpus_option = click.option(
    "--gpus",
    type=click.IntRange(min=1),
    metavar="N",
    help="Work in N processes of this machine, each with a GPU of its own (with --device cpu, on the CPU).",
)
max_restarts_option = click.option(
    "--max-restarts",
    type=click.IntRange(min=0),
    metavar="K",
    help="With --gpus: start all processes again when one fails, up to K times.  [default: 0]",
)
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=0, max=MOST_WORKERS),
    callback=_workers_told,
    help="Data-loading processes; by default up to 8 for a GPU, none for a CPU.",
)
hand_model_option = click.option(
    "--hand-model",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The hand model (`hmr mano import` makes one); by default $HMR_HAND_MODEL, then the synthetic hand.",
)
hand_layer_option = click.option(
    "--hand-layer",
    type=click.Choice(HAND_LAYERS),
    default=OWN,
    show_default=True,
    help="What poses the hand model: hmr's own layer, or manotorch where it is installed.",
)


def named_data(given: Path | None) -> Path | None:
    """The pack that is named: as given, else by $HMR_DATA; None where the work itself finds one."""
    path = find_data(given)
    return path if given is not None or named_pack() is not None else None


def find_data(given: Path | None) -> Path:
    """The pack to use: as given, else $HMR_DATA, else data/oakink.h5."""
    if given is not None:
        return given
    path = default_pack()
    if (context := click.get_current_context(silent=True)) is not None:
        context.meta[_NOT_NAMED] = path
    return path


def explain_data(context: click.Context, error: HmrError) -> None:
    """Say of an error that names the pack who chose it, if that was not --data."""
    path = context.meta.get(_NOT_NAMED)
    if path is None or not re.search(rf"(?<![\w./-]){re.escape(str(path))}(?![\w/-]|\.\w)", error.worded(flag)):
        return
    by = (
        f"It is {ENVIRONMENT} that names"
        if os.environ.get(ENVIRONMENT)
        else f"Neither --data nor {ENVIRONMENT} names a pack, so it is"
    )
    space = " " if error.remedy else ""
    error.remedy = (*error.remedy, f"{space}({by} {path}; ", Option("data"), " names another.)")
