"""A training run from request to end: what a notebook calls, and `hmr train`.

What the arguments and the files alone show is looked at first, without torch, so that a mistake is told at once.
Nothing is written before everything was looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

from hmr_core.devices import choose_device, choose_workers
from hmr_core.files import as_path
from hmr_core.option_text import override_texts
from hmr_core.plugins.registry import Registry, discover
from hmr_core.plugins.run import Run
from hmr_core.processes import TIMEOUT_S, joined, place
from hmr_core.provenance import provenance
from hmr_core.shell import python_call
from hmr_core.training.asked_data import PackArgument, asked_packs
from hmr_core.training.inputs import (
    check_arithmetic,
    check_data,
    hand_of_model,
    layer_of,
    record_of_hand,
)
from hmr_core.training.profile import Profile
from hmr_core.training.request import TrainingRequest, check
from hmr_core.training.resume import go_on
from hmr_core.training.run_folder import default_folder, new_run
from hmr_core.training.run_text import Lines
from hmr_core.training.taking_up import AGAIN_S
from hmr_core.training.watchers import Observer, Tell, Watchers, nobody, tell_on_stderr
from hmr_core.versions import versions


def train(
    model: str,
    *,
    split: str | None = None,
    subset: str | None = None,
    recipe: str = "published",
    set: Mapping[str, object] | None = None,  # as the command has it
    epochs: int | None = None,
    batch_size: int | None = None,
    grad_accum: int | None = None,
    overfit: int | None = None,
    limit_train: int | None = None,
    limit_val: int | None = None,
    data: PackArgument | Sequence[PackArgument] | None = None,
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
    """Train a model on a split of a pack, or of several, and give the run: its folder has the checkpoints.

    data: a pack, or several, some of them with a share of the samples that an epoch draws: ["a.h5", ("b.h5", 0.25)]. A
    string may be PACK:SPLIT. split: that of all packs without one of their own; needed where a pack has several.
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
        data=asked_packs(data),
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
    task = check(request, registry, where)
    spec, recipe, data = task.spec, task.recipe, task.data
    if task.there is not None:
        return go_on(
            task.there, registry, observers, tell, model=spec.name, data=[one.path for one in request.data],
            hand_model=request.hand_model, device=request.device, workers=request.workers,
            timeout_s=request.timeout_s, command=request.command, wait_s=AGAIN_S if where.launch else 0.0,
        )  # fmt: skip
    for source in data.sources:
        check_data(spec, source.pack, source.split, recipe.train.subset, tell)
    device = choose_device(request.device)
    check_arithmetic(recipe, device, where)
    with joined(where, device, request.timeout_s or TIMEOUT_S) as group:
        # The first process chooses for all: another one might find the folder taken by now.
        folder = group.share(task.out or default_folder(task.name))
        hand = hand_of_model(spec, request.hand_model)
        layer = layer_of(hand, data, tell)
        init = None
        if request.init is not None:
            from hmr_core.weights.starting_weights import fit_starting_weights, starting_note

            init = fit_starting_weights(request.init, spec, recipe, partial=request.init_partial)
        run = Run(
            folder=folder,
            model=spec.name,
            split=task.split,
            recipe_name=request.recipe,
            recipe=recipe.model_dump(mode="json"),
            data=data.as_run(),
            hand_model=record_of_hand(hand),
            limits=task.limits,
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
        if task.out is None and folder.name != task.name:
            tell(f"note: there is a run of that name already; this one is {folder}")
        watchers = Watchers(run, observers, registry, tell)
        from hmr_core.training.loop import train_model

        with new_run(run) if where.first else nullcontext():
            train_model(
                run, spec, recipe, data, group=group, layer=layer, device=device,
                workers=choose_workers(request.workers, device), notify=watchers,
                notes=[] if init is None else [starting_note(init)],
            )  # fmt: skip
    return run
