"""A run that was stopped goes on, to its end, by the very steps that it would have taken."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from hmr_core.devices import check_device_name, choose_device, choose_workers
from hmr_core.errors import Option, UsageError
from hmr_core.files import as_path
from hmr_core.plugins.recipes import parse_recipe
from hmr_core.plugins.registry import Registry, discover
from hmr_core.plugins.run import CONFIG, Run
from hmr_core.processes import TIMEOUT_S, joined, place
from hmr_core.provenance import provenance
from hmr_core.shell import python_call
from hmr_core.training.inputs import (
    check_arithmetic,
    check_data,
    check_processes,
    hand_of_model,
    hand_of_run,
    layer_of,
    record_of_hand,
)
from hmr_core.training.lengthening import lengthen, lengthening_notes
from hmr_core.training.packs_of_run import packs_of_run
from hmr_core.training.profile import Profile
from hmr_core.training.run_folder import is_finished, locked, resume_command
from hmr_core.training.run_log import log_line
from hmr_core.training.run_text import Lines
from hmr_core.training.sources import training_data
from hmr_core.training.stopping import stopped_early
from hmr_core.training.surroundings import commit_notes, version_notes
from hmr_core.training.watchers import Observer, Tell, Watchers, nobody, tell_on_stderr
from hmr_core.versions import versions
from hmr_core.weights.checkpoint_record import WEIGHTS, check_run, read_record
from hmr_core.weights.damage import find_damage, newest_whole, set_aside
from hmr_core.weights.run_record import open_run, write_run
from hmr_core.wording import counted


def resume(
    folder: str | Path,
    *,
    epochs: int | None = None,
    data: str | Path | Sequence[str | Path] | None = None,
    hand_model: str | Path | None = None,
    device: str | None = None,
    workers: int | None = None,
    timeout_s: float | None = None,
    profile: int | None = None,
    progress: bool = True,
    registry: Registry | None = None,
) -> Run:
    """Go on with a run where it stopped, and give it; a finished one is left as it is.

    epochs: how many it is to have from now on, finished or not. data, hand_model: where those that it began with are
    now, if they were moved; of several packs those that were. The rest is as in `train`.
    Raises HmrError for a folder that holds no run, and where it cannot take the very steps that it would have taken.
    """
    given = {name: value for name, value in locals().items() if name not in ("folder", "progress", "registry")}
    observers: list[Observer] = [Lines()] if progress else []
    observers += [] if profile is None else [Profile(profile)]
    return go_on(
        Path(folder),
        registry or discover(),
        observers,
        epochs=epochs,
        data=[Path(path) for path in ([data] if isinstance(data, str | Path) else data or [])],
        hand_model=as_path(hand_model),
        device=device,
        workers=workers,
        timeout_s=timeout_s,
        command=python_call("hmr.resume", str(folder), **given),
    )


def go_on(
    folder: Path,
    registry: Registry,
    observers: Sequence[Observer] = (),
    tell: Tell = tell_on_stderr,
    *,
    model: str | None = None,
    data: Sequence[Path] = (),
    hand_model: Path | None = None,
    device: str | None = None,
    workers: int | None = None,
    timeout_s: float | None = None,
    epochs: int | None = None,
    command: str = "",
    wait_s: float = 0.0,
) -> Run:
    """Go on with a run after its last checkpoint, to its end; a finished one is left as it is, and that is told.

    model: which it is expected to be of. data, hand_model: where those that it began with are now, if they were moved;
    of several packs those that were, in any order.
    epochs: how many it is to have from now on, if not those it has. wait_s: how long to wait for a process that trains
    it. The rest is as in TrainingRequest and in `session.start`.
    Raises HmrError for a folder that holds no run, and where it cannot take the very steps that it would have taken.
    """
    check_device_name(device)
    where = place()
    tell = tell if where.first else nobody
    run = open_run(folder)
    if model not in (None, run.model):
        raise UsageError(f'{folder} is a run of "{run.model}", not of "{model}": {resume_command(run)}')
    spec = registry.model(run.model)
    first = parse_recipe(spec, run.recipe, source=f"the recipe in {folder / CONFIG}")
    newest, damaged = newest_whole(run.checkpoints)
    if newest is not None:
        check_run(run, newest / WEIGHTS)
    saved = None if newest is None else read_record(newest / WEIGHTS)
    done, steps = (0, 0) if saved is None else (saved.epoch or 0, saved.step or 0)
    if epochs in (None, first.train.epochs) and not damaged and is_finished(run):
        # No error: a queue that starts a job again after it was done has nothing to be told of.
        tell(f"note: {folder} is finished: {_how_it_finished(run, first.train.epochs)}")
        return replace(run, data=(replace(run.data[0], path=data[0]),)) if data and len(run.data) == 1 else run
    started, recipe = provenance(command), first
    if epochs is not None:
        run = lengthen(run, epochs, done, started)
        recipe = parse_recipe(spec, run.recipe, source=f"the recipe in {folder / CONFIG} with {epochs} epochs")
    config = run  # as it is to be written down
    packs = packs_of_run(run, data)
    hand = hand_of_model(spec, hand_model) if run.hand_model is None else hand_of_run(run, run.hand_model, hand_model)
    trained = training_data(packs, recipe.train, run.limits)
    for source in trained.sources:
        check_data(spec, source.pack, source.split, recipe.train.subset, tell)
    check_processes(recipe, where)
    longer = recipe.train.epochs != first.train.epochs
    notes = lengthening_notes(first.train, recipe.train, steps, trained.steps_per_epoch) if longer else []
    if where.count != run.processes:
        notes.append(
            f"{counted(where.count, 'process')} now, {run.processes} before: from here on the steps are the same but "
            "for rounding"
        )
    layer = layer_of(hand, trained, tell)
    chosen = choose_device(device)
    check_arithmetic(recipe, chosen, where)
    with joined(where, chosen, timeout_s or TIMEOUT_S) as group, locked(run, wait_s) if where.first else nullcontext():
        if where.first:
            _set_aside(run, list(damaged), tell)
        group.share(None)  # all wait for it
        if where.first and longer:
            write_run(config)
        before = run.versions if saved is None else saved.versions
        notes += version_notes(before, versions(), registry.distribution(spec))
        notes += commit_notes(run.started.get("commits"), started["commits"])
        # As it goes on now: its files may have been moved.
        run = replace(
            run,
            data=trained.as_run(),
            hand_model=record_of_hand(hand),
            versions=versions(),
            processes=where.count,
            started=started,
        )
        from hmr_core.training.loop import train_model

        train_model(
            run, spec, recipe, trained, group=group, layer=layer, device=chosen,
            workers=choose_workers(workers, chosen), notify=Watchers(run, observers, registry, tell), notes=notes,
        )  # fmt: skip
    return run


def _how_it_finished(run: Run, epochs: int) -> str:
    """How a finished run ended, and what to do to train longer."""
    if (early := stopped_early(run)) is not None:
        return f"it stopped early ({early}); to train longer, start a new run with a larger train.patience."
    return f"epoch {epochs} of {epochs} is done; to train longer: {resume_command(run, Option('epochs', 'N'))}"


def _set_aside(run: Run, damaged: Sequence[Path], tell: Tell) -> None:
    """Set aside the checkpoints that are damaged, and tell of each, on screen and in the log."""
    for checkpoint in damaged:
        if damage := find_damage(checkpoint):  # another process may have had the run until now
            name = set_aside(checkpoint).name
            text = f"warning: {damage} The checkpoint is set aside as {name}; the one before it is used."
            tell(text)
            log_line(run, text)
