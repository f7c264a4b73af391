"""A sweep from its file to its end: what `hmr sweep` calls.

Processes that are given the same sweep and folder share its trials. What one of them leaves, for whatever reason, the
next one that looks for work goes on with.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hmr_core.devices import check_device_name
from hmr_core.errors import HmrError, UsageError
from hmr_core.optional_packages import require_package
from hmr_core.plugins.recipes import TrainConfig
from hmr_core.plugins.registry import Registry
from hmr_core.processes import place
from hmr_core.staging import write_text
from hmr_core.sweep.definition import Sweep, read_sweep
from hmr_core.sweep.folder import SweepFolder
from hmr_core.sweep.space import Dimension, dimensions, grid_size, recipes
from hmr_core.sweep.trial import TrialRunner
from hmr_core.sweep.trials import TrialRow, best_trial, table_text
from hmr_core.training.asked_data import asked_packs, packs_or_default
from hmr_core.training.inputs import check_subset
from hmr_core.training.sources import OpenPack, mixture_label, open_packs, training_data
from hmr_core.training.watchers import Observer, Tell
from hmr_core.wording import counted, listed

if TYPE_CHECKING:
    from hmr_core.sweep.study import SweepStudy, TakenTrial

MOST_FAILURES = 5
"""How many trials may fail one after the other: a GPU that has gone wrong would fail all that are left."""


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """What a process is asked to do for a sweep.

    file: the sweep's TOML file. out: the sweep's folder; None for sweeps/NAME. device, workers: as in TrainingRequest.
    command: how it was asked for, for the runs' records.
    """

    file: Path
    out: Path | None = None
    device: str | None = None
    workers: int | None = None
    command: str = ""


@dataclass(frozen=True, kw_only=True)
class SweepResult:
    """A sweep and its trials as they stand, by number."""

    sweep: Sweep
    folder: Path
    rows: tuple[TrialRow, ...]


def read_trials(file: Path, out: Path | None = None) -> SweepResult:
    """Read the trials of a sweep as they stand, and run nothing.

    file, out: as in SweepRequest. Raises UsageError and HmrError for a sweep that is not valid or was not begun.
    """
    sweep = read_sweep(file)
    folder = _folder(sweep, out)
    require_optuna()
    from hmr_core.sweep.study import open_study

    with open_study(sweep, folder, None) as study:
        return SweepResult(sweep=sweep, folder=folder.path, rows=tuple(study.rows()))


def run_sweep(request: SweepRequest, registry: Registry, watch: Callable[[], Observer], tell: Tell) -> SweepResult:
    """Work on a sweep until none of its trials is left to begin or to go on with.

    watch: makes what is told of a trial's events. tell: takes what the user should know besides.
    Raises UsageError for what the file, the model's recipe or the pack do not allow, before anything runs, and HmrError
    for what is no single trial's fault. Ctrl-C leaves the trial as far as it came.
    """
    sweep = read_sweep(request.file)
    folder = _folder(sweep, request.out)
    spec = registry.model(sweep.model)
    if place().count > 1:
        raise UsageError("a sweep shares no trial among processes: start it without torchrun, as often as you like.")
    found = dimensions(sweep, spec, request.file)
    check_device_name(request.device)
    require_optuna()
    asked = packs_or_default(asked_packs(sweep.data))
    packs = open_packs(asked, sweep.split)
    _check_data(packs, [made.train for made in recipes(sweep, spec, found)])

    from hmr_core.sweep.study import open_study

    folder.make()
    runner = TrialRunner(
        sweep=sweep,
        data=asked,
        registry=registry,
        tell=tell,
        device=request.device,
        workers=request.workers,
        command=request.command,
    )
    with ExitStack() as stack:
        with folder.alone():  # two processes may begin it at once
            study = stack.enter_context(open_study(sweep, folder, {**sweep.identity(), **_identity(packs)}))
        _work(study, found, folder, runner, watch)
        return SweepResult(sweep=sweep, folder=folder.path, rows=tuple(study.rows()))


def require_optuna() -> None:
    """HmrError if Optuna is not installed."""
    require_package("optuna", "Optuna", 'pip install "hmr-core[sweep]"', has="create_study")


def _folder(sweep: Sweep, out: Path | None) -> SweepFolder:
    return SweepFolder(out or Path("sweeps") / sweep.name)


def _identity(packs: Sequence[OpenPack]) -> dict[str, Any]:
    """What of the packs makes a study the one it is, wherever their files are."""
    if len(packs) == 1:
        return {"split": packs[0].split, "pack": packs[0].pack.info.digest}
    return {
        "split": mixture_label(packs),
        "packs": [f"{one.pack.info.digest}:{one.split}={one.share}" for one in packs],
    }


def _check_data(packs: Sequence[OpenPack], configs: Sequence[TrainConfig]) -> None:
    """UsageError or HmrError for packs that some trial could not train on, or that have nothing to compare them by."""
    if not any(one.pack.info.counts[one.split].get("val") for one in packs):
        which = listed([f"{one.pack.path} has no val subset of {one.split}" for one in packs])
        raise HmrError(f"{which}, by which trials would be compared.")
    for config in configs:
        for one in packs:
            check_subset(one.pack, one.split, config.subset)
        training_data(packs, config, limits={})


def _work(
    study: SweepStudy,
    found: tuple[Dimension, ...],
    folder: SweepFolder,
    runner: TrialRunner,
    watch: Callable[[], Observer],
) -> None:
    most = runner.sweep.trials or grid_size(found)
    proven, failures = False, 0
    while (trial := study.take(found, most)) is not None:
        runner.tell(f"trial {trial.number} ({trial.number + 1} of {most}): {_values(trial)}")
        try:
            state = runner.run(trial, folder.trial(trial.number), [watch()], proven=proven)
        finally:
            trial.leave()
            _write_table(study, folder, runner)
        proven, failures = proven or state != "failed", failures + 1 if state == "failed" else 0
        runner.tell(_ended(runner.sweep, study.rows(), trial.number))
        if failures == MOST_FAILURES:
            raise HmrError(
                f"{failures} trials failed one after the other, the last one as told above, so this process may be to "
                "blame. Where it is not, the same command goes on with the next trial."
            )


def _write_table(study: SweepStudy, folder: SweepFolder, runner: TrialRunner) -> None:
    try:
        write_text(folder.table, table_text(runner.sweep, study.rows()))
    except HmrError as error:  # the study has all that is in it
        runner.tell(f"warning: {error}")


def _values(trial: TakenTrial) -> str:
    return ", ".join(f"{key}={text}" for key, text in trial.values.items())


def _ended(sweep: Sweep, rows: list[TrialRow], number: int) -> str:
    """How a trial ended, and which is the best by now, in a line."""
    row = next(row for row in rows if row.number == number)
    how = f"failed: {row.error.rstrip('.')}" if row.error else f"{row.state} after {counted(row.epochs, 'epoch')}"
    own = "" if row.best is None else f", {sweep.metric} {row.best:.3f} (epoch {row.best_epoch})"
    best = best_trial(sweep, rows)
    so_far = "" if best is None else f"; best so far: trial {best.number}, {best.best:.3f}"
    return f"trial {number} {how}{own}{so_far}"
