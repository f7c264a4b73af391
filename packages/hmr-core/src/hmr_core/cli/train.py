"""`hmr train`."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hmr_core.cli.main import current_command, current_registry
from hmr_core.cli.options import data_option, device_option, find_data, hand_model_option, split_option, workers_option
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.shell import command_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch
    from jaxtyping import Int64
    from numpy import ndarray

    from hmr_core.data.pack.reader import Pack
    from hmr_core.hand.layer import HandLayer
    from hmr_core.hand.source import HandModelSource
    from hmr_core.plugins.recipes import Recipe
    from hmr_core.plugins.registry import Registry
    from hmr_core.plugins.run import Run
    from hmr_core.plugins.specs import ModelSpec

_FROM_RUN = ("split", "subset", "recipe", "overrides", "epochs", "batch_size", "out", "tensorboard", "verify")


@click.command()
@click.argument("model")
@split_option
@click.option("--subset", help="train or train+val; the recipe's own by default. Test is never trained on.")
@data_option
@click.option("--recipe", default="published", show_default=True, help="One of the model's recipes (see `hmr models`).")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value of the recipe; may be repeated."
)
@click.option("--epochs", type=click.IntRange(min=1), help="Short for --set train.epochs=N.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Short for --set train.batch_size=N.")
@hand_model_option
@device_option
@workers_option
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder; by default a new one under runs/.")
@click.option("--tensorboard", is_flag=True, help="Also write TensorBoard's files into the run's folder.")
@click.option("--verify", is_flag=True, help="Compare the checksums of all that is read from the pack.")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with a run after its last epoch.")
@click.pass_context
def train(ctx: click.Context, /, model: str, resume: Path | None, **options: Any) -> None:
    """Train MODEL on a split of a pack.

    \b
    Examples:
      hmr train integral --split sp0                     the published recipe, on data/oakink.h5
      hmr train integral --split sp0 --recipe tiny       learns on a CPU in minutes
      hmr train integral --split sp0 --set train.learning_rate=3e-4 --set backbone.depth=18
      hmr train integral --resume runs/integral-sp0-tiny
      hmr train i2l --split sp0 --hand-model hand.npz    needs the hand model of the annotations
      hmr train iknet --split sp0 --hand-model hand.npz  so does this one, which learns from the pack's joints

    The run's folder gets config.json, metrics.jsonl, train.log and checkpoints/ (the newest, and the best on val).
    `hmr models MODEL` lists everything that --set takes. After an epoch a run can be stopped and resumed; it then
    takes the very steps that it would have taken.
    """
    registry = current_registry()
    if resume is None:
        _fresh(registry, model, **options)
        return
    given = [
        name for name in _FROM_RUN if ctx.get_parameter_source(name) not in (None, click.core.ParameterSource.DEFAULT)
    ]
    if given:
        flags = ", ".join("--set" if name == "overrides" else "--" + name.replace("_", "-") for name in given)
        raise UsageError(f"--resume takes these from the run, so they cannot be given with it: {flags}.")
    again = {name: options[name] for name in ("data", "hand_model", "device", "workers")}
    _resumed(registry, model, resume, **again)


def _fresh(
    registry: Registry,
    model: str,
    *,
    split: str | None,
    subset: str | None,
    data: Path | None,
    recipe: str,
    overrides: tuple[str, ...],
    epochs: int | None,
    batch_size: int | None,
    hand_model: Path | None,
    device: str | None,
    workers: int | None,
    out: Path | None,
    tensorboard: bool,
    verify: bool,
) -> None:
    spec = registry.model(model)
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("training runs in one process in this version: start it without torchrun.")
    if subset not in (None, "train", "train+val"):
        raise UsageError(f'--subset "{subset}": training takes train or train+val, never another subset.')
    if split is None:
        raise UsageError(
            "--split is needed: sp0 (views), sp1 (subjects), sp2 (objects) or sp0-ho (hand-object frames)."
        )
    from hmr_core.data.splits import split_name
    from hmr_core.plugins.recipes import load_recipe

    split = split_name(split)
    short = (("epochs", epochs), ("batch_size", batch_size), ("subset", subset))
    overrides += tuple(f"train.{key}={value}" for key, value in short if value is not None)
    values = load_recipe(spec, recipe, overrides)

    from hmr_core.devices import check_device_name, choose_device
    from hmr_core.plugins.run import Run
    from hmr_core.provenance import provenance
    from hmr_core.training.run import check_batch, check_free, default_folder, new_run
    from hmr_core.training.run_log import require_tensorboard
    from hmr_core.versions import versions

    folder = out or default_folder(model, split, recipe)
    if tensorboard:
        require_tensorboard(folder)
    # What needs no torch is looked at first: a mistake is told at once.
    check_device_name(device)
    check_free(folder, model)
    _check_hand(spec, hand_model)

    from hmr_core.data.pack.reader import Pack

    pack = Pack(find_data(data))
    rows = pack.indices(split, values.train.subset)
    _check_data(pack, split, values.train.subset)
    check_batch(split, values.train, len(rows))
    chosen = choose_device(device)
    hand = _hand(spec, hand_model)
    layer = _layer(hand, pack, rows)
    run = Run(
        folder=folder,
        model=model,
        split=split,
        recipe_name=recipe,
        recipe=values.model_dump(mode="json"),
        data=pack.path,
        data_digest=pack.info.digest,
        hand_model=None if hand is None else hand.as_run(),
        versions=versions(),
        tensorboard=tensorboard,
        verify=verify,
        started=provenance(current_command()),
    )
    if out is None and folder.name != f"{model}-{split}-{recipe}":
        click.echo(f"note: there is a run of that name already; this one is {folder}", err=True)
    with new_run(run):
        _train(registry, run, values, pack, layer, chosen, workers)


def _check_data(pack: Pack, split: str, subset: str) -> None:
    """Warn of odd samples to train or to validate on; HmrError for data that nobody should train on."""
    from hmr_core.data.pack.entry import check_pack

    validated = [] if subset == "train+val" or not pack.info.counts[split].get("val") else ["val"]
    for name in (subset, *validated):
        for text in check_pack(pack, split, name):
            click.echo(f"warning: {text}", err=True)


def _check_hand(spec: ModelSpec, given: Path | None) -> None:
    """HmrError when the hand model's file is not there, UsageError when the model uses none."""
    from hmr_core.hand.arrays import named_hand_file

    if spec.needs_hand:
        named_hand_file(given)
    elif given is not None:
        raise UsageError(f"--hand-model: {spec.name} learns without a hand model; leave it out.")


def _hand(spec: ModelSpec, given: Path | None) -> HandModelSource | None:
    """The hand model that training needs, if the model uses one."""
    _check_hand(spec, given)
    if not spec.needs_hand:
        return None
    from hmr_core.hand.source import find_hand_model

    return find_hand_model(given)


def _hand_of_run(run: Run, recorded: Mapping[str, str | None], given: Path | None) -> HandModelSource:
    """The hand model that a run began with, wherever its file is now; HmrError for another."""
    from hmr_core.hand.arrays import check_hand_file

    path = given or (recorded["path"] and Path(recorded["path"]))
    if given is None and path and not path.exists():
        raise _gone(run, "hand model", path, "--hand-model")
    if path:
        check_hand_file(path)  # before torch is imported

    from hmr_core.hand.source import find_hand_model, packaged_hand

    source = find_hand_model(path) if path else packaged_hand()  # whatever HMR_HAND_MODEL says by now
    if source.digest != recorded["blake2b"]:
        began = (
            f"Give that of {recorded['path']}"
            if recorded["path"]
            else "It was the synthetic hand of hmr itself: give none"
        )
        raise HmrError(
            f"{source.label} is not the hand model that {run.folder} was trained with (its digest differs). {began}."
        )
    return source


def _gone(run: Run, what: str, path: Path, option: str) -> HmrError:
    """The error for a file that a run began with and that is not where it was."""
    from hmr_core.training.run import resume_command

    return HmrError(
        f"{path}, the {what} that {run.folder} was trained with, is not there any more. Where it was moved, say where: "
        f"{resume_command(run)} {option} FILE"
    )


def _layer(hand: HandModelSource | None, pack: Pack, rows: Int64[ndarray, " n"]) -> HandLayer | None:
    """The layer of the annotations' hand model, if there is one; HmrError when it is another hand's."""
    if hand is None:
        return None
    from hmr_core.data.hand_model_check import check_hand_model, mismatch_note
    from hmr_core.hand.layer import HandLayer

    layer = HandLayer(hand.model)
    note = mismatch_note(check_hand_model(hand, layer, pack, rows))
    if note is not None:
        click.echo(f"note: {note}")
    return layer


def _resumed(
    registry: Registry,
    model: str,
    folder: Path,
    *,
    data: Path | None,
    hand_model: Path | None,
    device: str | None,
    workers: int | None,
) -> None:
    from hmr_core.devices import check_device_name, choose_device
    from hmr_core.plugins.recipes import parse_recipe
    from hmr_core.provenance import provenance
    from hmr_core.training.run import locked, resume_command
    from hmr_core.weights.checkpoint_folders import saved_checkpoints
    from hmr_core.weights.checkpoint_record import check_run
    from hmr_core.weights.find_weights import find_weights
    from hmr_core.weights.run_record import open_run

    check_device_name(device)
    run = open_run(folder)
    if run.model != model:
        raise UsageError(f'{folder} is a run of "{run.model}", not of "{model}": {resume_command(run)}')
    spec = registry.model(model)
    recipe = parse_recipe(spec, run.recipe, source=f"the recipe in {folder / 'config.json'}")
    saved = saved_checkpoints(run.checkpoints)
    if saved:
        check_run(run, find_weights(run.checkpoints, option=Option("resume")))
    if saved and saved[-1].name == f"epoch-{recipe.train.epochs:04d}":
        # No error: a queue that starts a job again after it was done has nothing to be told of.
        click.echo(
            f"{folder} is finished: epoch {recipe.train.epochs} of {recipe.train.epochs} is done. To score it: "
            f"`{_evaluation(run, data or Path(run.data))}`; to train longer, start a new run with more --epochs."
        )
        return
    if data is None and not run.data.exists():
        raise _gone(run, "pack", run.data, "--data")

    from hmr_core.data.pack.reader import Pack

    pack = Pack(data or run.data)
    if pack.info.digest != run.data_digest:
        raise HmrError(
            f"{pack.path} is not the pack that {folder} was trained on (its digest differs). Give that one with --data."
        )
    hand = _hand(spec, hand_model) if run.hand_model is None else _hand_of_run(run, run.hand_model, hand_model)
    rows = pack.indices(run.split, recipe.train.subset)
    _check_data(pack, run.split, recipe.train.subset)
    layer = _layer(hand, pack, rows)
    chosen = choose_device(device)
    with locked(run):
        # As it goes on now: its files may have been moved.
        moved = replace(run, data=pack.path, hand_model=None if hand is None else hand.as_run())
        again = replace(moved, started=provenance(current_command()))
        _train(registry, again, recipe, pack, layer, chosen, workers)


def _train(
    registry: Registry,
    run: Run,
    recipe: Recipe,
    pack: Pack,
    layer: HandLayer | None,
    device: torch.device,
    workers: int | None,
) -> None:
    from hmr_core.devices import choose_workers
    from hmr_core.plugins.events import Event
    from hmr_core.training.loop import train
    from hmr_core.training.run import resume_command
    from hmr_core.weights.checkpoint_folders import saved_checkpoints

    told: set[str] = set()

    def notify(run: Run, event: Event) -> None:
        for failure in registry.notify(run, event):
            if failure.plugin not in told:  # a plugin that fails on every step is told of once
                told.add(failure.plugin)
                with suppress(OSError):  # nobody may be listening
                    click.echo(f"warning: {failure}; training goes on", err=True)

    spec, processes = registry.model(run.model), choose_workers(workers, device)
    try:
        train(run, spec, recipe, pack, layer=layer, device=device, workers=processes, notify=notify)
    except KeyboardInterrupt:
        if saved_checkpoints(run.checkpoints):
            click.echo(f"to go on after the last epoch that was finished: {resume_command(run)}", err=True)
        raise
    click.echo(f"run: {run.folder}")
    click.echo(f"next: {_evaluation(run, pack.path)}")


def _evaluation(run: Run, data: Path) -> str:
    """The command that scores a run."""
    path = None if run.hand_model is None else run.hand_model["path"]
    hand = [] if path is None else ["--hand-model", Path(path)]
    return command_line("hmr eval", run.model, "--ckpt", run.folder, "--split", run.split, "--data", data, *hand)
