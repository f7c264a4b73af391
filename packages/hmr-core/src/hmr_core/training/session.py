"""A training run from request to end: what a notebook calls, and `hmr train`.

What the arguments and the files alone show is looked at first, without torch, so that a mistake is told at once.
Nothing is written before everything was looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hmr_core.data.default_pack import default_pack
from hmr_core.data.pack.entry import check_pack
from hmr_core.data.pack.reader import Pack
from hmr_core.devices import check_device_name, choose_device, choose_workers
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.files import as_path
from hmr_core.hand.arrays import check_hand_file, named_hand_file
from hmr_core.option_text import override_texts
from hmr_core.plugins.recipes import Recipe, load_recipe, parse_recipe
from hmr_core.plugins.registry import Registry, discover
from hmr_core.plugins.run import CONFIG, Run, RunData, RunHand
from hmr_core.plugins.specs import ModelSpec
from hmr_core.processes import Place, check_shares, joined, place
from hmr_core.provenance import provenance
from hmr_core.shell import python_call
from hmr_core.training.every import parse_every
from hmr_core.training.run_folder import (
    check_batch,
    check_free,
    default_folder,
    is_finished,
    locked,
    new_run,
    resume_command,
)
from hmr_core.training.run_text import Lines, say
from hmr_core.training.tensorboard import require_tensorboard
from hmr_core.training.watchers import Observer, Tell, Watchers
from hmr_core.versions import versions
from hmr_core.weights.checkpoint_folders import saved_checkpoints
from hmr_core.weights.checkpoint_record import check_run
from hmr_core.weights.find_weights import find_weights
from hmr_core.weights.run_record import open_run
from hmr_core.wording import counted

if TYPE_CHECKING:
    from jaxtyping import Int64
    from numpy import ndarray

    from hmr_core.hand.layer import HandLayer
    from hmr_core.hand.source import HandModelSource


def tell_on_stderr(line: str) -> None:
    """Print a line on stderr, if anybody is there."""
    with suppress(OSError):
        say(line)


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """What a new run is asked to do.

    overrides: of the recipe, as "key=value", applied in turn. epochs, batch_size, subset (train or train+val): short
    for overrides of train.epochs and so on; None for the recipe's own.
    data: the pack; None for the default one. hand_model: a file; None for $HMR_HAND_MODEL, then the synthetic hand.
    device: cpu, cuda, cuda:N or mps; None for the best there is. workers: processes that load; None for what suits the
    device. out: the run's folder; None for a new one under runs/.
    checkpoint_every: how often to save in the middle of an epoch, a number of steps ("500") or a time ("10m"); None for
    never. keep_last: how many of the newest checkpoints to keep, besides the best on val.
    verify: compare the checksums of what is read.
    command: how the run was asked for, for its record.
    """

    model: str
    split: str
    subset: str | None = None
    recipe: str = "published"
    overrides: tuple[str, ...] = ()
    epochs: int | None = None
    batch_size: int | None = None
    data: Path | None = None
    hand_model: Path | None = None
    device: str | None = None
    workers: int | None = None
    out: Path | None = None
    checkpoint_every: str | None = None
    keep_last: int = 2
    tensorboard: bool = False
    verify: bool = False
    command: str = ""


def train(
    model: str,
    *,
    split: str,
    subset: str | None = None,
    recipe: str = "published",
    set: Mapping[str, object] | None = None,  # as the command has it
    epochs: int | None = None,
    batch_size: int | None = None,
    data: str | Path | None = None,
    hand_model: str | Path | None = None,
    device: str | None = None,
    workers: int | None = None,
    out: str | Path | None = None,
    checkpoint_every: str | int | None = None,
    keep_last: int = 2,
    tensorboard: bool = False,
    verify: bool = False,
    progress: bool = True,
    registry: Registry | None = None,
) -> Run:
    """Train a model on a split of a pack, and give the run: its folder has the checkpoints.

    set: overrides of the recipe, such as {"train.learning_rate": 3e-4}. progress: whether to print the run's lines on
    stderr. registry: the plugins; by default the installed ones. The rest is as in TrainingRequest; paths may be
    strings.
    Raises UsageError for what does not exist, and HmrError for data, files and models that cannot be trained with.
    """
    given = {name: value for name, value in locals().items() if name not in ("model", "progress", "registry")}
    request = TrainingRequest(
        model=model,
        split=split,
        subset=subset,
        recipe=recipe,
        overrides=override_texts(set),
        epochs=epochs,
        batch_size=batch_size,
        data=as_path(data),
        hand_model=as_path(hand_model),
        device=device,
        workers=workers,
        out=as_path(out),
        checkpoint_every=None if checkpoint_every is None else str(checkpoint_every),
        keep_last=keep_last,
        tensorboard=tensorboard,
        verify=verify,
        command=python_call("hmr.train", model, **given),
    )
    return start(request, registry or discover(), [Lines()] if progress else [])


def start(
    request: TrainingRequest, registry: Registry, observers: Sequence[Observer] = (), tell: Tell = tell_on_stderr
) -> Run:
    """Train a new run to its end.

    observers: are told of its events, after the run's own log. tell: takes what the user should know besides.
    Raises UsageError for what does not exist, and HmrError for data, files and models that cannot be trained with.
    """
    spec = registry.model(request.model)
    if request.subset not in (None, "train", "train+val"):
        raise UsageError(f'subset "{request.subset}": training takes train or train+val, never another subset.')
    short = {"train.epochs": request.epochs, "train.batch_size": request.batch_size, "train.subset": request.subset}
    given = {key: value for key, value in short.items() if value is not None}
    recipe = load_recipe(spec, request.recipe, (*request.overrides, *override_texts(given)))
    check_device_name(request.device)
    if request.out is not None:
        check_free(request.out, spec.name)
    _check_hand(spec, request.hand_model)
    pack = Pack(request.data or default_pack())
    split = pack.split_name(request.split)
    if request.tensorboard:
        require_tensorboard(request.out or default_folder(spec.name, split, request.recipe))
    _check_subset(pack, split, recipe.train.subset)
    rows = pack.indices(split, recipe.train.subset)
    _check_data(spec, pack, split, recipe.train.subset, tell)
    check_batch(split, recipe.train, len(rows))
    parse_every(request.checkpoint_every)
    where = place()
    _check_processes(recipe, where)
    device = choose_device(request.device)
    with joined(where, device) as group:
        # The first process chooses for all: another one might find the folder taken by now.
        folder = group.share(request.out or default_folder(spec.name, split, request.recipe))
        hand = _hand(spec, request.hand_model)
        layer = _layer(hand, pack, rows, tell)
        run = Run(
            folder=folder,
            model=spec.name,
            split=split,
            recipe_name=request.recipe,
            recipe=recipe.model_dump(mode="json"),
            data=_record(pack),
            hand_model=_record_hand(hand),
            versions=versions(),
            processes=where.count,
            checkpoint_every=request.checkpoint_every,
            keep_last=request.keep_last,
            tensorboard=request.tensorboard,
            verify=request.verify,
            started=provenance(request.command),
        )
        if request.out is None and folder.name != f"{spec.name}-{split}-{request.recipe}":
            tell(f"note: there is a run of that name already; this one is {folder}")
        watchers = Watchers(run, observers, registry, tell)
        from hmr_core.training.loop import train_model

        with new_run(run) if where.first else nullcontext():
            train_model(
                run, spec, recipe, pack, group=group, layer=layer, device=device,
                workers=choose_workers(request.workers, device), notify=watchers,
            )  # fmt: skip
    return run


def resume(
    folder: Path,
    registry: Registry,
    observers: Sequence[Observer] = (),
    tell: Tell = tell_on_stderr,
    *,
    model: str | None = None,
    data: Path | None = None,
    hand_model: Path | None = None,
    device: str | None = None,
    workers: int | None = None,
    command: str = "",
) -> Run:
    """Go on with a run after its last checkpoint, to its end; a finished one is left as it is, and that is told.

    model: which it is expected to be of. data, hand_model: where those that it began with are now, if they were moved.
    The rest is as in TrainingRequest and `start`.
    Raises HmrError for a folder that holds no run, and where it cannot take the very steps that it would have taken.
    """
    check_device_name(device)
    run = open_run(folder)
    if model not in (None, run.model):
        raise UsageError(f'{folder} is a run of "{run.model}", not of "{model}": {resume_command(run)}')
    spec = registry.model(run.model)
    recipe = parse_recipe(spec, run.recipe, source=f"the recipe in {folder / CONFIG}")
    if saved_checkpoints(run.checkpoints):
        check_run(run, find_weights(run.checkpoints, option=Option("resume")))
    if len(run.data) != 1:
        raise HmrError(f"{folder} was trained on {len(run.data)} packs, and this version of hmr trains on one.")
    (recorded,) = run.data
    path = data or recorded.path
    if is_finished(run):
        # No error: a queue that starts a job again after it was done has nothing to be told of.
        last = recipe.train.epochs
        tell(
            f"note: {folder} is finished: epoch {last} of {last} is done; to train longer, start a new run with more "
            "epochs."
        )
        return replace(run, data=(replace(recorded, path=path),))
    if data is None and not path.exists():
        raise _gone(run, "pack", path, "data")
    pack = Pack(path)
    if pack.info.digest != recorded.blake2b:
        raise HmrError(
            f"{pack.path} is not the pack that {folder} was trained on (its digest differs).",
            "Give that one with ", Option("data"), ".",
        )  # fmt: skip
    hand = _hand(spec, hand_model) if run.hand_model is None else _hand_of_run(run, run.hand_model, hand_model)
    rows = pack.indices(run.split, recipe.train.subset)
    _check_data(spec, pack, run.split, recipe.train.subset, tell)
    where = place()
    _check_processes(recipe, where)
    if where.count != run.processes:
        tell(
            f"note: {counted(where.count, 'process')} now, {run.processes} before: from here on the steps are the same "
            "but for rounding"
        )
    layer = _layer(hand, pack, rows, tell)
    chosen = choose_device(device)
    with joined(where, chosen) as group, locked(run) if where.first else nullcontext():
        # As it goes on now: its files may have been moved.
        moved = replace(run, data=_record(pack), hand_model=_record_hand(hand), processes=where.count)
        run = replace(moved, started=provenance(command))
        from hmr_core.training.loop import train_model

        train_model(
            run, spec, recipe, pack, group=group, layer=layer, device=chosen,
            workers=choose_workers(workers, chosen), notify=Watchers(run, observers, registry, tell),
        )  # fmt: skip
    return run


def _check_processes(recipe: Recipe, where: Place) -> None:
    """UsageError where the processes cannot have equal parts of a batch."""
    parts = recipe.train.grad_accum
    what = "a batch" if parts == 1 else f"each of the {parts} parts of a batch"
    check_shares(recipe.train.batch_size // parts, where.count, what)


def _record(pack: Pack) -> tuple[RunData, ...]:
    return (RunData(path=pack.path, blake2b=pack.info.digest),)


def _record_hand(hand: HandModelSource | None) -> RunHand | None:
    return None if hand is None else RunHand(path=hand.path and hand.path.resolve(), blake2b=hand.digest)


def _check_subset(pack: Pack, split: str, subset: str) -> None:
    """UsageError where a recipe trains on train+val, and the pack has train alone."""
    there = pack.info.counts[split]
    if subset == "train+val" and subset not in there and "train" in there:
        raise UsageError(
            f'{pack.path} has no subset "train+val" of {split}, which is what the recipe trains on.',
            "To train on train, use ", Option("subset", "train"), ".",
        )  # fmt: skip


def _check_data(spec: ModelSpec, pack: Pack, split: str, subset: str, tell: Tell) -> None:
    """Warn of odd samples to train or to validate on; HmrError for data that nobody, or not this model, trains on."""
    pack.require(*spec.learns_from, by=f"training {spec.name}")
    if spec.consumes == "joints" and not pack.joints_valid(pack.indices(split, subset)).all():
        raise HmrError(
            f"training {spec.name} needs every joint, and some of {split} {subset} in {pack.path} are not known. Use a "
            "model of images, or a data set whose joints are all known."
        )
    validated = [] if subset == "train+val" or not pack.info.counts[split].get("val") else ["val"]
    for name in (subset, *validated):
        for text in check_pack(pack, split, name):
            tell(f"warning: {text}")


def _check_hand(spec: ModelSpec, given: Path | None) -> None:
    """HmrError when the hand model's file is not there, UsageError when the model uses none."""
    if spec.needs_hand:
        named_hand_file(given)
    elif given is not None:
        raise UsageError(f"{spec.name} learns without a hand model.", "Leave out ", Option("hand_model"), ".")


def _hand(spec: ModelSpec, given: Path | None) -> HandModelSource | None:
    """The hand model that training needs, if the model uses one."""
    _check_hand(spec, given)
    if not spec.needs_hand:
        return None
    from hmr_core.hand.source import find_hand_model

    return find_hand_model(given)


def _hand_of_run(run: Run, recorded: RunHand, given: Path | None) -> HandModelSource:
    """The hand model that a run began with, wherever its file is now; HmrError for another."""
    path = given or recorded.path
    if given is None and path and not path.exists():
        raise _gone(run, "hand model", path, "hand_model")
    if path:
        check_hand_file(path)  # before torch is imported

    from hmr_core.hand.source import find_hand_model, packaged_hand

    source = find_hand_model(path) if path else packaged_hand()  # whatever HMR_HAND_MODEL says by now
    if source.digest != recorded.blake2b:
        began = (
            f"Give that of {recorded.path}" if recorded.path else "It was the synthetic hand of hmr itself: give none"
        )
        raise HmrError(
            f"{source.label} is not the hand model that {run.folder} was trained with (its digest differs). {began}."
        )
    return source


def _gone(run: Run, what: str, path: Path, option: str) -> HmrError:
    """The error for a file that a run began with and that is not where it was."""
    return HmrError(
        f"{path}, the {what} that {run.folder} was trained with, is not there any more. Where it was moved, say where: "
        f"{resume_command(run, Option(option, 'FILE'))}"
    )


def _layer(hand: HandModelSource | None, pack: Pack, rows: Int64[ndarray, " n"], tell: Tell) -> HandLayer | None:
    """The layer of the annotations' hand model, if there is one; HmrError when it is another hand's."""
    if hand is None:
        return None
    from hmr_core.data.hand_model_check import check_hand_model, mismatch_note
    from hmr_core.hand.layer import HandLayer

    layer = HandLayer(hand.model)
    note = mismatch_note(check_hand_model(hand, layer, pack, rows))
    if note is not None:
        tell(f"note: {note}")
    return layer
