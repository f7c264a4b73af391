"""What the files of runs tell of them, without a model: how far each is, in which state, with what figures."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from hmr_core.errors import HmrError
from hmr_core.plugins.run import CHECKPOINTS, CONFIG, LOG, METRICS, Run
from hmr_core.training.run_figures import EpochFigures, best_epoch, epoch_figures
from hmr_core.training.run_folder import is_being_trained, is_finished
from hmr_core.training.run_log import last_ending
from hmr_core.weights.run_record import open_run

State = Literal["training", "finished", "stopped", "interrupted", "failed", "killed", "broken"]
"""A stopped run was ended by what watches it, a sweep for instance; a killed one ended without a word; a broken one
has files that cannot be used.
"""

DEEPEST = 3
"""Folders below the one that is looked through, in which there may be runs: of a sweep, of a split, of one name."""


@dataclass(frozen=True, kw_only=True)
class RunOverview:
    """A run as its files have it.

    run: None where config.json cannot be used. problem: of a broken run, what is wrong. epochs: how many the run is to
    have. best: the epoch with the lowest MPJPE on val, the first of equal ones; last: the last one that was measured.
    """

    folder: Path
    state: State
    run: Run | None = None
    problem: str | None = None
    epochs_done: int = 0
    epochs: int | None = None
    best: EpochFigures | None = None
    last: EpochFigures | None = None


def find_runs(folder: Path) -> list[RunOverview]:
    """The runs in a folder and in those below it, in the order in which they were started; broken ones come last."""
    found = [look_at(run) for run in _run_folders(folder, DEEPEST)]
    return sorted(
        found, key=lambda each: (each.run is None, each.run and str(each.run.started.get("date")), each.folder)
    )


def look_at(folder: Path) -> RunOverview:
    """What there is to tell of the run in a folder; whatever is wrong with its files is told, not raised."""
    try:
        run = open_run(folder)
        epochs = _epochs(run)
        figures = epoch_figures(run)
        finished = is_finished(run)
        overview = RunOverview(
            folder=folder,
            state="finished" if finished else "killed",
            run=run,
            epochs_done=max((each.epoch for each in figures), default=0),
            epochs=epochs,
            best=best_epoch(figures),
            last=figures[-1] if figures else None,
        )
        if is_being_trained(folder):
            return replace(overview, state="training")
        return overview if finished else replace(overview, state=_ended(run))
    except HmrError as error:
        return RunOverview(folder=folder, state="broken", problem=str(error))
    except OSError as error:
        return RunOverview(folder=folder, state="broken", problem=f"{error.filename}: {error.strerror}")


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's, be it a damaged one: it holds at least two of the four that a run has."""
    return sum((folder / name).exists() for name in (CONFIG, CHECKPOINTS, LOG, METRICS)) >= 2


def _epochs(run: Run) -> int:
    train = run.recipe.get("train")
    epochs = train.get("epochs") if isinstance(train, dict) else None
    if not isinstance(epochs, int):
        raise HmrError(f"{run.folder / CONFIG} was altered or damaged: its recipe has no train.epochs.")
    return epochs


def _ended(run: Run) -> State:
    reason = last_ending(run)
    if reason is None:
        return "killed"
    if reason.startswith("stopped by an error"):
        return "failed"
    if reason.startswith("interrupted"):
        return "interrupted"
    return "finished" if reason.startswith("finished") else "stopped"


def _run_folders(folder: Path, deepest: int) -> list[Path]:
    """The folders of runs in a folder; what is in a run is not looked through, nor what is hidden or linked to."""
    found = []
    with os.scandir(folder) as entries:
        below = sorted(Path(each.path) for each in entries if not each.name.startswith(".") and each.is_dir())
    for each in below:
        if is_run(each):
            found.append(each)
        elif deepest > 1 and not each.is_symlink() and os.access(each, os.R_OK | os.X_OK):
            found += _run_folders(each, deepest - 1)
    return found
