"""A training run from request to end: what a notebook calls, and `hmr train`.

What the arguments and the files alone show is looked at first, without torch, so that a mistake is told at once.
Nothing is written before everything was looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from hmr_core.data.default_pack import default_pack
from hmr_core.data.pack.reader import Pack
from hmr_core.devices import check_device_name, choose_device, choose_workers
from hmr_core.errors import Option, UsageError
from hmr_core.files import as_path
from hmr_core.option_text import override_texts
from hmr_core.plugins.recipes import load_recipe, override
from hmr_core.plugins.registry import Registry, discover
from hmr_core.plugins.run import OVERFIT, Run
from hmr_core.processes import TIMEOUT_S, joined, place
from hmr_core.provenance import provenance
from hmr_core.shell import python_call
from hmr_core.training.every import parse_every
from hmr_core.training.inputs import (
    check_arithmetic,
    check_data,
    check_hand,
    check_processes,
    check_subset,
    hand_of_model,
    layer_of,
    record_of_hand,
    record_of_pack,
)
from hmr_core.training.limits import make_limits, training_rows, validation_rows
from hmr_core.training.profile import Profile
from hmr_core.training.resume import go_on
from hmr_core.training.run_folder import check_batch, check_free, default_folder, new_run, run_name
from hmr_core.training.run_text import Lines
from hmr_core.training.taking_up import AGAIN_S, begun_before, run_of_launch
from hmr_core.training.tensorboard import require_tensorboard
from hmr_core.training.wandb import require_wandb
from hmr_core.training.watchers import Observer, Tell, Watchers, nobody, tell_on_stderr
from hmr_core.versions import versions
from hmr_core.weights.find_weights import find_weights


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """What a new run is asked to do.

    overrides: of the recipe, as "key=value", applied in turn. epochs, batch_size, grad_accum, subset (train or
    train+val): short for overrides of train.epochs and so on; None for the recipe's own.
    limit_train, limit_val: how many samples to use of the subset, and of val; None for all. overfit: train on so many
    samples without augmentation and validate on the same, by batches that are no larger, to see that a model can learn.
    data: the pack; None for the default one. hand_model: a file; None for $HMR_HAND_MODEL, then the synthetic hand.
    device: cpu, cuda, cuda:N or mps; None for the best there is. workers: processes that load; None for what suits the
    device. out: the run's folder; None for a new one under runs/.
    checkpoint_every: how often to save in the middle of an epoch, a number of steps ("500") or a time ("10m"); None for
    never. keep_last: how many of the newest checkpoints to keep, besides the best on val.
    timeout_s: how many seconds processes wait for one that does not come; None for processes.TIMEOUT_S.
    verify: compare the checksums of what is read.
    init: a run, a checkpoint or a released file whose weights to start from; init_partial: those of them that fit.
    resume_or_start: go on with the run in the folder, if it is there and the same. out is then by default the first
    folder of the run's name under runs/.
    command: how the run was asked for, for its record.
    """

    model: str
    split: str
    subset: str | None = None
    recipe: str = "published"
    overrides: tuple[str, ...] = ()
    epochs: int | None = None
    batch_size: int | None = None
    grad_accum: int | None = None
    overfit: int | None = None
    limit_train: int | None = None
    limit_val: int | None = None
    data: Path | None = None
    hand_model: Path | None = None
    device: str | None = None
    workers: int | None = None
    out: Path | None = None
    checkpoint_every: str | None = None
    timeout_s: float | None = None
    keep_last: int = 2
    tensorboard: bool = False
    wandb: bool = False
    verify: bool = False
    init: Path | None = None
    init_partial: bool = False
    resume_or_start: bool = False
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
    grad_accum: int | None = None,
    overfit: int | None = None,
    limit_train: int | None = None,
    limit_val: int | None = None,
    data: str | Path | None = None,
    hand_model: str | Path | None = None,
    device: str | None = None,
    workers: int | None = None,
    out: str | Path | None = None,
    checkpoint_every: str | int | None = None,
    timeout_s: float | None = None,
    keep_last: int = 2,
    tensorboard: bool = False,
    wandb: bool = False,
    verify: bool = False,
    profile: int | None = None,
    init: str | Path | None = None,
    init_partial: bool = False,
    resume_or_start: bool = False,
    progress: bool = True,
    registry: Registry | None = None,
) -> Run:
    """Train a model on a split of a pack, and give the run: its folder has the checkpoints.

    set: overrides of the recipe, such as {"train.learning_rate": 3e-4}. profile: how many steps to record with
    PyTorch's profiler; None for none. progress: whether to print the run's lines on stderr. registry: the plugins; by
    default the installed ones. The rest is as in TrainingRequest; paths may be strings.
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
        grad_accum=grad_accum,
        overfit=overfit,
        limit_train=limit_train,
        limit_val=limit_val,
        data=as_path(data),
        hand_model=as_path(hand_model),
        device=device,
        workers=workers,
        out=as_path(out),
        checkpoint_every=None if checkpoint_every is None else str(checkpoint_every),
        timeout_s=timeout_s,
        keep_last=keep_last,
        tensorboard=tensorboard,
        wandb=wandb,
        verify=verify,
        init=as_path(init),
        init_partial=init_partial,
        resume_or_start=resume_or_start,
        command=python_call("hmr.train", model, **given),
    )
    observers: list[Observer] = [Lines()] if progress else []
    observers += [] if profile is None else [Profile(profile)]
    return start(request, registry or discover(), observers)


def start(
    request: TrainingRequest, registry: Registry, observers: Sequence[Observer] = (), tell: Tell = tell_on_stderr
) -> Run:
    """Train a new run to its end, or the rest of one that is there where that is asked for.

    Processes that were all started again, by what had launched them, go on with the run that they had begun.
    observers: are told of its events, after the run's own log. tell: takes what the user should know besides.
    Raises UsageError for what does not exist, and HmrError for data, files and models that cannot be trained with.
    """
    where = place()
    tell = tell if where.first else nobody
    spec = registry.model(request.model)
    if request.subset not in (None, "train", "train+val"):
        raise UsageError(f'subset "{request.subset}": training takes train or train+val, never another subset.')
    short = {
        "train.epochs": request.epochs,
        "train.batch_size": request.batch_size,
        "train.grad_accum": request.grad_accum,
        "train.subset": request.subset,
    }
    given = {key: value for key, value in short.items() if value is not None}
    recipe = load_recipe(spec, request.recipe, (*request.overrides, *override_texts(given)))
    limits = make_limits(train=request.limit_train, val=request.limit_val, overfit=request.overfit)
    check_device_name(request.device)
    _check_init(request)
    may_be_there = request.resume_or_start or where.launch != ""
    if request.out is not None and not may_be_there:
        check_free(request.out, spec.name)
    check_hand(spec, request.hand_model)
    pack = Pack(request.data or default_pack())
    split = pack.split_name(request.split)
    name = run_name(spec.name, split, request.recipe, limits)
    check_subset(pack, split, recipe.train.subset)
    rows = training_rows(pack, split, recipe.train, limits)
    validation_rows(pack, split, recipe.train, limits)
    if OVERFIT in limits and len(rows) < recipe.train.batch_size:
        recipe = override(spec, recipe, [f"train.batch_size={len(rows)}"])
    out = request.out
    if may_be_there:
        out = Path("runs") / name if out is None and request.resume_or_start else out
        there = run_of_launch(where, request.command, out, name)
        if there is None and out is not None and request.resume_or_start:
            asked = {
                "model": spec.name,
                "split": split,
                "recipe_name": request.recipe,
                "recipe": recipe.model_dump(mode="json"),
                "limits": limits,
                **({"init": None} if request.init is None else {}),
            }
            there = out if begun_before(out, asked) else None
        if there is not None:
            return go_on(
                there, registry, observers, tell, model=spec.name, data=request.data, hand_model=request.hand_model,
                device=request.device, workers=request.workers, timeout_s=request.timeout_s, command=request.command,
                wait_s=AGAIN_S if where.launch else 0.0,
            )  # fmt: skip
        if out is not None:
            check_free(out, spec.name)
    if request.tensorboard:
        require_tensorboard(out or default_folder(name))
    if request.wandb:
        require_wandb()
    check_data(spec, pack, split, recipe.train.subset, tell)
    check_batch(split, recipe.train, len(rows))
    parse_every(request.checkpoint_every)
    check_processes(recipe, where)
    device = choose_device(request.device)
    check_arithmetic(recipe, device, where)
    with joined(where, device, request.timeout_s or TIMEOUT_S) as group:
        # The first process chooses for all: another one might find the folder taken by now.
        folder = group.share(out or default_folder(name))
        hand = hand_of_model(spec, request.hand_model)
        layer = layer_of(hand, pack, rows, tell)
        init = None
        if request.init is not None:
            from hmr_core.weights.starting_weights import fit_starting_weights, starting_note

            init = fit_starting_weights(request.init, spec, recipe, partial=request.init_partial)
        run = Run(
            folder=folder,
            model=spec.name,
            split=split,
            recipe_name=request.recipe,
            recipe=recipe.model_dump(mode="json"),
            data=record_of_pack(pack),
            hand_model=record_of_hand(hand),
            limits=limits,
            versions=versions(),
            processes=where.count,
            checkpoint_every=request.checkpoint_every,
            keep_last=request.keep_last,
            tensorboard=request.tensorboard,
            wandb=request.wandb,
            verify=request.verify,
            init=init,
            started={**provenance(request.command), **({"launch": where.launch} if where.launch else {})},
        )
        if out is None and folder.name != name:
            tell(f"note: there is a run of that name already; this one is {folder}")
        watchers = Watchers(run, observers, registry, tell)
        from hmr_core.training.loop import train_model

        with new_run(run) if where.first else nullcontext():
            train_model(
                run, spec, recipe, pack, group=group, layer=layer, device=device,
                workers=choose_workers(request.workers, device), notify=watchers,
                notes=[] if init is None else [starting_note(init)],
            )  # fmt: skip
    return run


def _check_init(request: TrainingRequest) -> None:
    """HmrError where there is nothing to start from, UsageError where nothing was named."""
    if request.init is not None:
        find_weights(request.init, option=Option("init"))
    elif request.init_partial:
        raise UsageError("There is nothing whose weights could be taken in part.", "Name it by ", Option("init"), ".")
