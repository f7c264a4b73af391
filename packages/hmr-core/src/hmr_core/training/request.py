"""What a training is asked to do, and whether it can be done, as far as that can be told without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hmr_core.devices import check_device_name
from hmr_core.errors import Option, UsageError
from hmr_core.option_text import override_texts
from hmr_core.plugins.recipes import Recipe, load_recipe, override
from hmr_core.plugins.registry import Registry
from hmr_core.plugins.run import OVERFIT
from hmr_core.plugins.specs import ModelSpec
from hmr_core.processes import Place
from hmr_core.training.asked_data import AskedPack, packs_or_default
from hmr_core.training.every import parse_every
from hmr_core.training.inputs import check_hand, check_processes, check_subset
from hmr_core.training.limits import make_limits, training_rows
from hmr_core.training.run_folder import check_free, default_folder, run_name
from hmr_core.training.sources import TrainingData, mixture_label, open_packs, training_data
from hmr_core.training.taking_up import begun_before, run_of_launch
from hmr_core.training.tensorboard import require_tensorboard
from hmr_core.training.wandb import require_wandb
from hmr_core.weights.find_weights import find_weights


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """What a new run is asked to do.

    overrides: of the recipe, as "key=value", applied in turn. epochs, batch_size, grad_accum, subset (train or
    train+val): short for overrides of train.epochs and so on; None for the recipe's own.
    limit_train, limit_val: how many samples to use of the subset, and of val, of each pack; None for all. overfit:
    train on so many samples of each without augmentation and validate on the same, by batches that are no larger, to
    see that a model can learn.
    data: the packs; none for the default one. split: that of the packs without one of their own; None where each of
    them has but one. hand_model: a file; None for $HMR_HAND_MODEL, then the synthetic hand.
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
    split: str | None = None
    subset: str | None = None
    recipe: str = "published"
    overrides: tuple[str, ...] = ()
    epochs: int | None = None
    batch_size: int | None = None
    grad_accum: int | None = None
    overfit: int | None = None
    limit_train: int | None = None
    limit_val: int | None = None
    data: tuple[AskedPack, ...] = ()
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


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """A request of which all names were looked up, and that has nothing wrong as far as can be told without torch.

    split: of the pack; of several, their names. data: what to train on. name: what the run's folder is called by
    default. out: the folder, where it is known. there: that of a run that is to go on, in place of a new one.
    """

    request: TrainingRequest
    spec: ModelSpec
    recipe: Recipe
    limits: dict[str, int]
    split: str
    data: TrainingData
    name: str
    out: Path | None
    there: Path | None


def check(request: TrainingRequest, registry: Registry, where: Place) -> TrainingTask:
    """The request as a task; UsageError and HmrError for what can be told of it without torch.

    where: one of the processes that are to do it.
    """
    spec = registry.model(request.model)
    recipe = _recipe(request, spec)
    limits = make_limits(train=request.limit_train, val=request.limit_val, overfit=request.overfit)
    check_device_name(request.device, where)
    _check_init(request)
    may_be_there = request.resume_or_start or where.launch != ""
    if request.out is not None and not may_be_there:
        check_free(request.out, spec.name)
    check_hand(spec, request.hand_model)
    packs = open_packs(packs_or_default(request.data), request.split)
    split = mixture_label(packs)
    name = run_name(spec.name, split, request.recipe, limits)
    for one in packs:
        check_subset(one.pack, one.split, recipe.train.subset)
    if OVERFIT in limits:
        samples = sum(len(training_rows(one.pack, one.split, recipe.train, limits)) for one in packs)
        if samples < recipe.train.batch_size:
            recipe = override(spec, recipe, [f"train.batch_size={samples}"])
    data = training_data(packs, recipe.train, limits)
    out = Path("runs") / name if request.out is None and request.resume_or_start else request.out
    there = run_of_launch(where, request.command, out, name) if may_be_there else None
    if there is None and out is not None and request.resume_or_start:
        asked = {
            "model": spec.name,
            "split": split,
            "recipe_name": request.recipe,
            "recipe": recipe.model_dump(mode="json"),
            "limits": limits,
            **({"init": None} if request.init is None else {}),
            **({"data": [dict(each.as_json()) for each in data.as_run()]} if len(packs) > 1 else {}),
        }
        there = out if begun_before(out, asked) else None
    if there is None:
        if out is not None:
            check_free(out, spec.name)
        _check_new(request, recipe, where, out or default_folder(name))
    return TrainingTask(
        request=request,
        spec=spec,
        recipe=recipe,
        limits=limits,
        split=split,
        data=data,
        name=name,
        out=out,
        there=there,
    )


def _recipe(request: TrainingRequest, spec: ModelSpec) -> Recipe:
    """The model's recipe as it was asked for."""
    if request.subset not in (None, "train", "train+val"):
        raise UsageError(f'subset "{request.subset}": training takes train or train+val, never another subset.')
    short = {
        "train.epochs": request.epochs,
        "train.batch_size": request.batch_size,
        "train.grad_accum": request.grad_accum,
        "train.subset": request.subset,
    }
    given = {key: value for key, value in short.items() if value is not None}
    return load_recipe(spec, request.recipe, (*request.overrides, *override_texts(given)))


def _check_new(request: TrainingRequest, recipe: Recipe, where: Place, folder: Path) -> None:
    """UsageError and HmrError for a run that cannot be begun."""
    if request.tensorboard:
        require_tensorboard(folder)
    if request.wandb:
        require_wandb()
    parse_every(request.checkpoint_every)
    check_processes(recipe, where)


def _check_init(request: TrainingRequest) -> None:
    """HmrError where there is nothing to start from, UsageError where nothing was named."""
    if request.init is not None:
        find_weights(request.init, option=Option("init"))
    elif request.init_partial:
        raise UsageError("There is nothing whose weights could be taken in part.", "Name it by ", Option("init"), ".")
