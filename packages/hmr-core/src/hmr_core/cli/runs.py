"""`hmr runs`: the runs in a folder, or one of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hmr_core.cli.table import show_record, show_table
from hmr_core.errors import HmrError
from hmr_core.shell import command_line

if TYPE_CHECKING:
    from hmr_core.training.run_figures import EpochFigures
    from hmr_core.training.run_overview import RunOverview

RUNS = Path("runs")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=RUNS)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def runs(folder: Path, as_json: bool) -> None:
    """List the runs in FOLDER (by default runs/) and in the folders below it, or show the one that FOLDER is.

    \b
    A run is
      training      a process trains it now
      finished      all its epochs are done
      stopped       what watched it ended it, a sweep for instance
      interrupted   it was stopped by a signal, such as that of Ctrl-C
      failed        it was stopped by an error
      killed        it ended without a word: its process was killed, or the machine
      broken        its files cannot be used, and why not is said

    Figures are of the val subset, after the epoch in brackets. A run that is not finished is shown with the command
    that goes on with it.

    \b
    Examples:
      hmr runs
      hmr runs demo
      hmr runs runs/integral-sp0-tiny
      hmr runs --json
    """
    from hmr_core.training.run_overview import find_runs, is_run, look_at

    if is_run(folder):
        overview = look_at(folder)
        if as_json:
            click.echo(json.dumps(_as_json(overview), indent=2))
        else:
            show_record(_details(overview))
        return
    if not folder.is_dir() and folder != RUNS:
        raise HmrError(f"{folder} is no folder of runs: {'it is a file' if folder.exists() else 'it is not there'}.")
    found = find_runs(folder) if folder.is_dir() else []
    if as_json:
        click.echo(json.dumps([_as_json(overview) for overview in found], indent=2))
        return
    if not found:
        example = command_line("hmr train", "integral", "--split", "sp0", "--recipe", "tiny")
        click.echo(f"no runs in {folder}. `hmr train` makes them: {example}", err=True)
        return
    columns = ["run", "state", "model, split, recipe", "epochs", "best MPJPE", "last", "started", "commit", "command"]
    show_table(columns, [_row(overview, folder) for overview in found])
    for overview in found:
        if overview.problem:
            click.echo(f"broken: {overview.problem}")


def _row(overview: RunOverview, parent: Path) -> list[str]:
    name, run = str(overview.folder.relative_to(parent)), overview.run
    if run is None:
        return [name, overview.state, *([""] * 7)]
    return [
        name,
        overview.state,
        f"{run.model}, {run.split}, {run.recipe_name}",
        _progress(overview),
        "-" if overview.best is None else f"{overview.best.mpjpe_mm:.2f} mm ({overview.best.epoch})",
        _mpjpe(overview.last),
        _date(overview),
        _short_commit(overview),
        str(run.started.get("command", "")),
    ]


def _details(overview: RunOverview) -> list[tuple[str, str]]:
    """What is shown of one run, a line each; a line without a text is left out."""
    run = overview.run
    if run is None:
        return [("run", str(overview.folder)), ("state", overview.state), ("problem", overview.problem or "")]
    from hmr_core.training.run_folder import resume_command
    from hmr_core.training.run_log import last_line
    from hmr_core.weights.checkpoint_folders import saved_checkpoints

    hand, started = run.hand_model, run.started
    return [
        ("run", str(run.folder)),
        ("state", overview.state),
        ("model", run.model),
        ("split", f"{run.split}, {run.recipe['train'].get('subset', 'train')}"),
        ("recipe", run.recipe_name),
        ("epochs", _progress(overview)),
        ("best on val", _figures(overview.best)),
        ("last on val", _figures(overview.last)),
        *((f"last on {name}", _metrics(of_pack)) for name, of_pack in _by_pack(overview.last).items()),
        *(("data", f"{_path(pack.path)}{pack.part}") for pack in run.data),
        ("hand model", "" if hand is None else _path(hand.path) if hand.path else "the synthetic hand of hmr itself"),
        ("command", str(started.get("command", ""))),
        ("started", f"{_date(overview)} in {started.get('folder')} on {started.get('host')}"),
        *((f"commit of {what}", commit) for what, commit in _commits(overview).items()),
        ("versions", ", ".join(f"{name} {version}" for name, version in run.versions.items())),
        ("log", str(run.log)),
        ("said last", "" if overview.state == "finished" else last_line(run)),
        ("metrics", str(run.metrics)),
        *(("checkpoint", str(path)) for path in saved_checkpoints(run.checkpoints)),
        ("go on", "" if overview.state in ("training", "finished") else resume_command(run)),
    ]


def _as_json(overview: RunOverview) -> dict[str, Any]:
    """A run as a value of JSON; what a broken one cannot tell is null."""
    run, started = overview.run, {} if overview.run is None else overview.run.started
    figures = {
        name: each and {"epoch": each.epoch, "val": dict(each.val)}
        for name, each in (("best", overview.best), ("last", overview.last))
    }
    return {
        "folder": str(overview.folder),
        "state": overview.state,
        "problem": overview.problem,
        "model": run and run.model,
        "split": run and run.split,
        "recipe_name": run and run.recipe_name,
        "recipe": run and dict(run.recipe),
        "epochs_done": overview.epochs_done,
        "epochs": overview.epochs,
        **figures,
        "data": run and [str(pack.path) for pack in run.data],
        "mixture": run and [dict(pack.as_json()) for pack in run.data if pack.name is not None],
        "started": run and dict(started),
        "versions": run and dict(run.versions),
    }


def _progress(overview: RunOverview) -> str:
    return f"{overview.epochs_done}/{overview.epochs}"


def _mpjpe(figures: EpochFigures | None) -> str:
    return f"{figures.mpjpe_mm:.2f} mm" if figures is not None and "mpjpe_mm" in figures.val else "-"


def _figures(figures: EpochFigures | None) -> str:
    if figures is None:
        return ""
    from hmr_core.training.run_figures import of_all

    return f"epoch {figures.epoch}: {_metrics(of_all(figures.val)) or 'none'}"


def _by_pack(figures: EpochFigures | None) -> dict[str, dict[str, float]]:
    from hmr_core.training.run_figures import by_pack

    return {} if figures is None else by_pack(figures.val)


def _metrics(val: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in val.items())


def _date(overview: RunOverview) -> str:
    """When a run was first started, to the minute."""
    date = "" if overview.run is None else str(overview.run.started.get("date", ""))
    return date[:16].replace("T", " ")


def _commits(overview: RunOverview) -> dict[str, str]:
    """The commits that a run was started at, those that are known, by what they are of: hmr's own code first."""
    commits = None if overview.run is None else overview.run.started.get("commits")
    if not isinstance(commits, dict):
        return {}
    return {what: commit for what, commit in commits.items() if isinstance(commit, str)}


def _short_commit(overview: RunOverview) -> str:
    commit, _, dirty = next(iter(_commits(overview).values()), "-").partition("-")
    return f"{commit[:8]}{'-dirty' if dirty else ''}" or "-"


def _path(path: Path) -> str:
    return str(path) if path.exists() else f"{path} (not there any more)"
