"""Identify a file of weights by its contents: a checkpoint of ours, a released file, a backbone, or something else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hmr_core.digests import file_digest
from hmr_core.errors import Option
from hmr_core.nn.backbones.config import BackboneConfig
from hmr_core.nn.files import read_shapes, read_state_dict
from hmr_core.plugins.discovery import CATCH
from hmr_core.plugins.recipes import load_recipe
from hmr_core.plugins.specs import ModelSpec
from hmr_core.shell import command_line
from hmr_core.weights.checkpoint_record import ALTERED, OPTIMIZER, RECORD, WEIGHTS, read_record
from hmr_core.weights.find_weights import find_weights, is_optimizer_state, is_ours, model_beside
from hmr_core.weights.next_commands import Installed, to_convert, to_evaluate, to_train_from_backbone
from hmr_core.weights.released import PUBLISHED, known_model, not_finite, split_ignored, takes
from hmr_core.weights.released_file import Ignored
from hmr_core.weights.state_dict import Differences, Uninitialised, compare, first_not_finite
from hmr_core.weights.weights_file import (
    BackboneFile,
    BareWeights,
    CheckpointFile,
    Closest,
    Differing,
    Identified,
    OptimizerFile,
    ReleasedWeights,
    UnknownWeights,
)

SHOWN = 5
"""How many of the tensors that differ are described."""


def identify(path: Path, installed: Installed, *, option: Option | str = "FILE") -> Identified:
    """Identify a file of weights, or the weights of a run's folder or of a checkpoint's.

    option: what the path was given by, for the errors; a text where it is no option.
    Raises HmrError for what is not there, is damaged, or holds anything but a state dict; nothing in a file is run.
    """
    if path.is_file() and is_optimizer_state(path):
        model = model_beside(path)
        use = (command_line("hmr ckpt show", Path(model)),) if Path(model).is_file() else ()
        return OptimizerFile(**_contents(path, read_shapes(path)), model_file=model, use=use)
    weights = find_weights(path, option=option)
    if not is_ours(path, weights):
        return _foreign(weights, read_state_dict(weights, takes(option)), installed)
    if weights.with_name(RECORD).exists():
        return _checkpoint(path, weights, installed)
    return _bare(weights, installed.models)


def fitting_models(
    state: Mapping[str, Tensor], models: Mapping[str, ModelSpec]
) -> tuple[dict[str, Fit], dict[str, Fit]]:
    """Find the models whose released files a state dict fits, and the others that it was compared with, by name."""
    fits = {name: fit for name, spec in models.items() if (fit := _fit(spec, state)) is not None}
    return {n: f for n, f in fits.items() if not f.differences}, {n: f for n, f in fits.items() if f.differences}


class Fit(NamedTuple):
    """How a state dict compares with a model's released files. shared: how many names and shapes they share."""

    differences: Differences
    ignored: dict[str, Ignored]
    shared: int
    own: dict[str, Tensor]


def _fit(spec: ModelSpec, state: Mapping[str, Tensor]) -> Fit | None:
    """None for a model without released files, and one that cannot be built: a plugin's fault stops nobody else."""
    if spec.released is None or PUBLISHED not in spec.recipes:
        return None
    try:
        recipe = load_recipe(spec, PUBLISHED, spec.released.overrides)
        with _ShapesAlone():
            own = dict(spec.build(recipe.model).state_dict())
    except CATCH:
        return None
    used, ignored = split_ignored(spec.released, state)
    shared = sum(name in used and used[name].shape == value.shape for name, value in own.items())
    return Fit(compare(own, used), ignored, shared, own)


class _ShapesAlone(Uninitialised):
    """While it lasts, what layers make their weights of takes no memory.

    torch.device("meta") would do, but for much of what models do at their making torch imports its compiler then,
    which takes seconds.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {**(kwargs or {}), "device": "meta"} if func is torch.empty else kwargs
        return super().__torch_function__(func, types, args, given)


def _checkpoint(path: Path, weights: Path, installed: Installed) -> CheckpointFile:
    record = read_record(weights)
    contents = _contents(weights, read_shapes(weights))
    optimizer = weights.with_name(OPTIMIZER)
    digests = {WEIGHTS: contents["blake2b"], **({OPTIMIZER: file_digest(optimizer)} if optimizer.is_file() else {})}
    altered = [name for name in digests if digests[name] != record.digests.get(name)]
    problem = "; ".join(f"{name} was {ALTERED}: its digest is not the one in {RECORD} beside it" for name in altered)
    return CheckpointFile(
        **contents,
        model=record.model,
        model_state=installed.state(record.model),
        recipe_name=record.recipe_name,
        split=record.split,
        subset=record.recipe.get("train", {}).get("subset"),
        epoch=record.epoch,
        val=record.val,
        versions=record.versions,
        optimizer=optimizer.is_file(),
        released=record.released,
        problem=problem or None,
        use=() if altered else tuple(to_evaluate(record.model, path, installed, says_split=record.split is not None)),
    )


def _bare(path: Path, models: Mapping[str, ModelSpec]) -> BareWeights:
    """Weights in safetensors without the JSON file that says what they are of."""
    state = read_shapes(path)
    fits, others = fitting_models(state, models)
    return BareWeights(
        **_contents(path, state),
        closest=_closest({**fits, **others}, state),
        problem=f"a checkpoint is {WEIGHTS} and {RECORD} in one folder: put them together again",
    )


def _foreign(
    path: Path, state: Mapping[str, Tensor], installed: Installed
) -> ReleasedWeights | BackboneFile | UnknownWeights:
    contents = _contents(path, state)
    fits, others = fitting_models(state, installed.models)
    if fits:
        return _released(path, state, fits, installed)
    damaged = first_not_finite(state, state)
    problem = not_finite(damaged) if damaged else None
    known = known_model(state)
    if known is not None and known not in installed.models:
        use = () if problem else (*to_evaluate(known, path, installed), command_line("hmr ckpt show", path))
        return ReleasedWeights(**contents, model=known, model_state=installed.state(known), problem=problem, use=use)
    if (backbone := _backbone(state, installed)) is not None:
        train = to_train_from_backbone(path, backbone, installed.models.values())
        return BackboneFile(**contents, backbone=backbone.name, problem=problem, use=() if problem else tuple(train))
    return UnknownWeights(**contents, closest=_closest(others, state), problem=problem)


def _released(
    path: Path, state: Mapping[str, Tensor], fits: Mapping[str, Fit], installed: Installed
) -> ReleasedWeights:
    """A released file that installed models fit."""
    names = list(fits)
    fit, released = fits[names[0]], installed.models[names[0]].released
    assert released is not None
    damaged = first_not_finite(fit.own, state)
    evaluate = [command for name in names for command in to_evaluate(name, path, installed)]
    return ReleasedWeights(
        **_contents(path, state),
        model=names[0],
        model_state="installed",
        fits_too=tuple(names[1:]),
        overrides=released.overrides,
        ignored=fit.ignored,
        problem=not_finite(damaged) if damaged else None,
        use=() if damaged else (*evaluate, *to_convert(names, path)),
    )


def _closest(fits: Mapping[str, Fit], state: Mapping[str, Tensor]) -> Closest | None:
    """The model that shares most names and shapes with a state dict, and what differs; None where none shares any."""
    name = max((name for name in fits if fits[name].shared), key=lambda name: fits[name].shared, default=None)
    if name is None:
        return None
    fit = fits[name]
    missing, unknown, wrong, mixed = fit.differences
    shapes = [f"{k} has shape {tuple(state[k].shape)}, the model wants {tuple(fit.own[k].shape)}" for k in wrong]
    kinds = [f"{k} holds {_kind(state[k])}, the model wants {_kind(fit.own[k])}" for k in mixed]
    return Closest(
        model=name,
        tensors_that_fit=fit.shared,
        tensors_wanted=len(fit.own),
        missing=_differing(missing),
        unknown=_differing(unknown),
        wrong_shape=_differing(shapes),
        wrong_type=_differing(kinds),
    )


def _differing(texts: list[str]) -> Differing:
    return Differing(count=len(texts), first=tuple(texts[:SHOWN]))


def _kind(value: Tensor) -> str:
    return "floats" if value.is_floating_point() else "integers"


def _backbone(state: Mapping[str, Tensor], installed: Installed) -> BackboneConfig | None:
    """The backbone whose weights a state dict is of; None if it is of none. A family's members are not tried."""
    for name, spec in installed.backbones.items():
        for class_token in (True, False) if "class_token" in spec.options else (True,):
            config = BackboneConfig(name=name, class_token=class_token)
            with _ShapesAlone():
                backbone = spec.build(config, True)
            own = {name: value for name, value in backbone.state_dict().items() if "num_batches" not in name}
            given = {name: value for name, value in backbone.own_names(state).items() if "num_batches" not in name}
            if not compare(own, given):
                return config
    return None


def _contents(path: Path, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a record of every kind has."""
    return {
        "path": path,
        "size_bytes": path.stat().st_size,
        "tensors": len(state),
        "numbers": sum(value.numel() for value in state.values()),
        "blake2b": file_digest(path),
    }
