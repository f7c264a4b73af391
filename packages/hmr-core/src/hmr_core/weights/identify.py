"""What a file of weights is, by its contents: a checkpoint of ours, a released file, a backbone, or something else."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from hmr_core.digests import file_digest
from hmr_core.nn.files import read_shapes, read_state_dict
from hmr_core.nn.resnet import ResNet
from hmr_core.nn.resnet_config import ResNetConfig
from hmr_core.plugins.discovery import CATCH
from hmr_core.plugins.known import KNOWN
from hmr_core.plugins.recipes import load_recipe, options
from hmr_core.plugins.specs import ModelSpec
from hmr_core.shell import command_line
from hmr_core.weights.checkpoint_record import ALTERED, OPTIMIZER, RECORD, WEIGHTS, read_info
from hmr_core.weights.find_weights import find_weights, is_optimizer_state, is_ours, model_beside
from hmr_core.weights.released import PUBLISHED, Ignored, ReleasedFile, known_model, not_finite, split_ignored, takes
from hmr_core.weights.state_dict import Differences, Uninitialised, compare, first_not_finite

SHOWN = 5
"""How many of the tensors that differ are described."""

HAND = ("--hand-model", "hand.npz")
"""As `hmr mano import` writes it; solvers always need it, synthetic data never does."""

DEPTHS = (18, 34, 50, 101, 152)


def describe(
    path: Path, models: Mapping[str, ModelSpec], solvers: Collection[str] = (), *, broken: Collection[str] = ()
) -> dict[str, Any]:
    """What a file, a run's folder or a checkpoint's is, as values that JSON has.

    models: the installed ones, by name; solvers: the names of the installed ones; broken: of the models that
    are installed and cannot be used.
    `kind` is "checkpoint" (ours), "optimizer" (what a checkpoint keeps beside its weights), "released" (a model's
    authors' own), "backbone" (torchvision's), "bare" (safetensors without the JSON file that says what they are of), or
    "unknown" (a state dict that fits no model). `use` has the commands that take it: none where there is a `problem`.
    Raises HmrError for what is not there, is damaged, or holds anything but a state dict; nothing in a file is run.
    """
    if path.is_file() and is_optimizer_state(path):
        model = model_beside(path)
        use = [command_line("hmr ckpt show", Path(model))] if Path(model).is_file() else []
        return {"kind": "optimizer", **_size(path, read_shapes(path)), "model_file": model, "use": use}
    weights = find_weights(path, option="FILE")
    usable = _Usable(models, solvers, broken)
    if not is_ours(path, weights):
        return _foreign(weights, read_state_dict(weights, takes("FILE")), usable)
    if weights.with_name("model.json").exists():
        return _ours(path, weights, usable)
    return _alone(weights, models)


class _Usable(NamedTuple):
    """What is installed, and the models of it that cannot be used."""

    models: Mapping[str, ModelSpec]
    solvers: Collection[str]
    broken: Collection[str]


def fitting_models(
    state: Mapping[str, Tensor], models: Mapping[str, ModelSpec]
) -> tuple[dict[str, Fit], dict[str, Fit]]:
    """The models whose released files a state dict fits, and the others that it was compared with, by name."""
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


def _ours(path: Path, weights: Path, usable: _Usable) -> dict[str, Any]:
    info = read_info(weights)
    size, digest = _size(weights, read_shapes(weights)), file_digest(weights)
    optimizer = weights.with_name(OPTIMIZER)
    digests = {WEIGHTS: digest, **({OPTIMIZER: file_digest(optimizer)} if optimizer.is_file() else {})}
    altered = [name for name in digests if digests[name] != info["digests"].get(name)]
    problem = "; ".join(f"{name} was {ALTERED}: its digest is not the one in {RECORD} beside it" for name in altered)
    name, converted = info["model"], info.get("released")
    released = converted and ReleasedFile.from_json(converted, source=weights.with_name("model.json"))
    return {
        "kind": "checkpoint",
        **size,
        "blake2b": digest,
        "model": name,
        "installed": name in usable.models,
        "broken": name in usable.broken,
        "recipe_name": info.get("recipe_name"),
        "split": info.get("split"),
        "subset": info["recipe"].get("train", {}).get("subset"),
        "epoch": info.get("epoch"),
        "val": info.get("val") or {},
        "versions": info.get("versions") or {},
        "optimizer": optimizer.is_file(),
        "released": released and released.as_json(),
        "problem": problem or None,
        "use": [] if altered else _commands(name, path, usable, split=info.get("split")),
    }


def _alone(path: Path, models: Mapping[str, ModelSpec]) -> dict[str, Any]:
    """Weights in safetensors without the JSON file that says what they are of."""
    state = read_shapes(path)
    problem = "a checkpoint is model.safetensors and model.json in one folder: put them together again"
    found = {"kind": "bare", **_size(path, state), "blake2b": file_digest(path), "problem": problem, "use": []}
    fits, others = fitting_models(state, models)
    return {**found, **_closest({**fits, **others}, state)}


def _foreign(path: Path, state: Mapping[str, Tensor], usable: _Usable) -> dict[str, Any]:
    models = usable.models
    size = {**_size(path, state), "blake2b": file_digest(path)}
    fits, others = fitting_models(state, models)
    if fits:
        name, fit = next(iter(fits.items()))
        released = models[name].released
        assert released is not None
        damaged = first_not_finite(fit.own, state)
        return {
            "kind": "released",
            **size,
            "model": name,
            "installed": True,
            "fits_too": list(fits)[1:],
            "overrides": list(released.overrides),
            "ignored": {prefix: ignored._asdict() for prefix, ignored in fit.ignored.items()},
            "problem": not_finite(damaged) if damaged else None,
            "use": [] if damaged else _released_commands(list(fits), path, usable),
        }
    damaged = first_not_finite(state, state)
    problem = not_finite(damaged) if damaged else None
    known = known_model(state)
    if known is not None and known not in models:
        return {
            "kind": "released",
            **size,
            "model": known,
            "installed": False,
            "broken": known in usable.broken,
            "problem": problem,
            "use": [] if problem else [*_commands(known, path, usable), command_line("hmr ckpt show", path)],
        }
    if (depth := _backbone_depth(state)) is not None:
        key = "backbone.weights"
        users = [spec for spec in models.values() if spec.consumes == "image" and key in options(spec)]
        settings = ("--set", f"backbone.depth={depth}", "--set", f"{key}={path}")
        use = [command_line("hmr train", user.name, "--split", "sp0", *settings, *_hand(user)) for user in users]
        return {"kind": "backbone", **size, "depth": depth, "problem": problem, "use": [] if problem else use}
    return {"kind": "unknown", **size, **_closest(others, state), "problem": problem, "use": []}


def _closest(fits: Mapping[str, Fit], state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The model that shares most names and shapes with a state dict, and what differs; None where none shares any."""
    name = max((name for name in fits if fits[name].shared), key=lambda name: fits[name].shared, default=None)
    return {"closest": None} if name is None else {"closest": name, **_differing(fits[name], state)}


def _differing(fit: Fit, state: Mapping[str, Tensor]) -> dict[str, Any]:
    missing, unknown, wrong, mixed = fit.differences
    shapes = [f"{k} has shape {tuple(state[k].shape)}, the model wants {tuple(fit.own[k].shape)}" for k in wrong]
    kinds = [f"{k} holds {_kind(state[k])}, the model wants {_kind(fit.own[k])}" for k in mixed]
    return {
        "tensors_that_fit": fit.shared,
        "tensors_wanted": len(fit.own),
        "missing": {"count": len(missing), "first": missing[:SHOWN]},
        "unknown": {"count": len(unknown), "first": unknown[:SHOWN]},
        "wrong_shape": {"count": len(wrong), "first": shapes[:SHOWN]},
        "wrong_type": {"count": len(mixed), "first": kinds[:SHOWN]},
    }


def _kind(value: Tensor) -> str:
    return "floats" if value.is_floating_point() else "integers"


def _released_commands(names: list[str], path: Path, usable: _Usable) -> list[str]:
    """The commands that take a released file that fits the models of these names."""
    evaluate = [command for name in names for command in _commands(name, path, usable)]
    choose = len(names) > 1
    convert = [
        command_line("hmr ckpt convert", path, "--out", f"{name}-released", *(["--model", name] if choose else []))
        for name in names
    ]
    return [*evaluate, *convert]


def _commands(name: str, path: Path, usable: _Usable, *, split: str | None = None) -> list[str]:
    """The commands that evaluate with weights of a model, be it as a model or as a solver's; else the way there."""
    if name in usable.broken:
        return ["hmr plugins"]
    if name not in usable.models:
        known = KNOWN["model"].get(name)
        return [command_line("pip install", known.distribution)] if known else []
    hand = _hand(usable.models[name])
    evaluate = command_line("hmr eval", name, "--ckpt", path, "--split", split or "sp0", *hand)
    as_solver = command_line("hmr eval MODEL --ckpt RUN --split sp0 --solver", name, "--solver-ckpt", path, *HAND)
    return [evaluate, *([as_solver] if name in usable.solvers else [])]


def _hand(spec: ModelSpec) -> tuple[str, ...]:
    """What a command line needs besides for a model that works with the annotations' hand model."""
    return HAND if spec.needs_hand else ()


def _backbone_depth(state: Mapping[str, Tensor]) -> int | None:
    """The depth of torchvision's ResNet that a state dict is of; None if it is of none."""
    given = {name: value for name, value in state.items() if _of_backbone(name)}
    if "layer1.0.conv1.weight" not in given:
        return None
    for depth in DEPTHS:
        with _ShapesAlone():
            own = ResNet(ResNetConfig(depth=depth)).state_dict()
        if not compare({name: value for name, value in own.items() if _of_backbone(name)}, given):
            return depth
    return None


def _of_backbone(name: str) -> bool:
    """Whether a tensor counts: old files have no counts of batches, and the classifier is of no use."""
    return not name.startswith("fc.") and not name.endswith("num_batches_tracked")


def _size(path: Path, state: Mapping[str, Tensor]) -> dict[str, Any]:
    numbers = sum(value.numel() for value in state.values())
    return {"path": str(path), "size_bytes": path.stat().st_size, "tensors": len(state), "numbers": numbers}
