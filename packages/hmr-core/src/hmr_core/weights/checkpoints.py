"""Checkpoints: safetensors with a JSON file beside.

    epoch-0007/model.safetensors       the weights
    epoch-0007/model.json              which model and recipe they are of, what they were trained on, all digests
    epoch-0007/optimizer.safetensors   what a resume needs besides; not there where a released file was converted

A released file loads too (see `released`); files are told apart by their contents. Either kind is checked against its
model key by key and shape by shape.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors.torch import save_file
from torch import Tensor

from hmr_core.errors import HmrError, Option
from hmr_core.nn.files import read_safetensors
from hmr_core.nn.model import PoseModel
from hmr_core.plugins.failures import failures_told
from hmr_core.plugins.recipes import Recipe, parse_recipe
from hmr_core.plugins.run import CONFIG
from hmr_core.plugins.specs import ModelSpec
from hmr_core.staging import clear_leftovers, staged_folder
from hmr_core.weights.checkpoint_folders import saved_checkpoints, unfinished_checkpoints
from hmr_core.weights.checkpoint_record import (
    OPTIMIZER,
    RECORD,
    WEIGHTS,
    CheckpointRecord,
    best_on_val,
    check_file,
    check_model,
    check_run,
    read_record,
    write_record,
)
from hmr_core.weights.damage import readable_records
from hmr_core.weights.find_weights import CKPT, find_weights, is_ours, without_choice
from hmr_core.weights.released import load_released
from hmr_core.weights.released_file import ReleasedFile
from hmr_core.weights.run_record import open_run
from hmr_core.weights.state_dict import Uninitialised, first_not_finite, load_weights


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A model with its weights, the recipe it was made by, and what its JSON file says.

    record: None for a released file. digest: BLAKE2b of the weights file.
    released: the file that a released model's authors gave out, be it this one or what this one was converted from.
    """

    path: Path
    model: PoseModel
    recipe: Recipe
    record: CheckpointRecord | None
    digest: str
    released: ReleasedFile | None = None


class NotFiniteError(HmrError):
    """A checkpoint was not written, because it would hold numbers that are not finite."""


OWN_WEIGHTS, SCALER = "weights/", "scaler/"
"""What the names of tensors begin with in the optimizer's file that are no optimizer's state of a parameter."""


def save_checkpoint(
    folder: Path,
    model: PoseModel,
    optimizer: torch.optim.Optimizer | None,
    record: CheckpointRecord,
    *,
    averaged: Mapping[str, Tensor] | None = None,
    besides: Mapping[str, Tensor] = MappingProxyType({}),
) -> None:
    """Write a checkpoint's folder, whole or not at all.

    record: what the checkpoint says of itself; its digests are made here. optimizer: None for weights that were not
    trained here, which no run can go on from. averaged: the average of the weights, which is then the checkpoint's
    model; the weights themselves go with the optimizer's state, as "weights/NAME". besides: what else a resume needs,
    by names that begin with "scaler/"; it goes there, too.
    Raises NotFiniteError for numbers that are not finite, and HmrError when the folder cannot be written.
    """
    weights = model.state_dict()
    files = {WEIGHTS: _apart(weights if averaged is None else averaged)}
    if optimizer is not None:
        own = {} if averaged is None else {OWN_WEIGHTS + name: tensor for name, tensor in weights.items()}
        files[OPTIMIZER] = _apart({**_optimizer_tensors(model, optimizer), **own, **besides})
    for name, tensors in files.items():
        if (bad := first_not_finite(tensors, tensors)) is not None:
            raise NotFiniteError(
                f"the checkpoint {folder} was not written: {bad} in its {name} would hold numbers that are not finite."
            )
    with staged_folder(folder) as part:
        for name, tensors in files.items():
            save_file(tensors, part / name)
        write_record(part, record)


def load_checkpoint(path: Path, spec: ModelSpec, *, option: Option | str = CKPT) -> Checkpoint:
    """The model of a run (its last checkpoint), of a checkpoint's folder or weights file, or of a released file.

    option: what the path was given by, for the errors.
    Raises HmrError for a missing or damaged file, another model's checkpoint, a run that says something else than its
    checkpoint, and weights that do not fit.
    """
    weights = find_weights(path, option=option)
    path = without_choice(path)
    if not is_ours(path, weights):
        model, recipe, origin = load_released(weights, spec, option=option)
        return Checkpoint(path=weights, model=model, recipe=recipe, record=None, digest=origin.blake2b, released=origin)
    record = read_record(weights)
    if (path / CONFIG).is_file():
        check_run(open_run(path), weights)
    check_model(path, record, spec.name, option)
    recipe = parse_recipe(spec, record.recipe, source=f"the recipe in {weights.with_name(RECORD)}")
    state = read_safetensors(weights)
    digest = check_file(weights, record, WEIGHTS)
    with Uninitialised(), failures_told(f'the model "{spec.name}"', "when it was made"):
        model = spec.build(recipe.model)
    load_weights(model, state, source=f"{weights}", model_name=spec.name)
    return Checkpoint(path=weights, model=model, recipe=recipe, record=record, digest=digest, released=record.released)


def trained_record(checkpoint: Checkpoint) -> CheckpointRecord:
    """What a checkpoint says of its training; HmrError for one that was not trained here."""
    record = checkpoint.record
    if record is None or record.epoch is None or record.step is None:
        raise HmrError(
            f"{checkpoint.path} has no optimizer's state: it was converted from a released file, so no run can go on "
            "from it."
        )
    return record


def load_optimizer(checkpoint: Checkpoint, model: PoseModel, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Give the optimizer the state it had when a checkpoint was written; what was written besides is returned.

    HmrError when the state is not there, or is not what it was.
    """
    path = checkpoint.path.with_name(OPTIMIZER)
    if not path.is_file():
        raise HmrError(f"{path} is not there, without which no run can go on from this checkpoint. Put it back.")
    assert checkpoint.record is not None, "no other file has an optimizer's state beside it"
    check_file(path, checkpoint.record, OPTIMIZER)
    tensors = read_safetensors(path)
    besides = {key: tensors.pop(key) for key in list(tensors) if key.startswith((OWN_WEIGHTS, SCALER))}
    state = optimizer.state_dict()
    names = [name for name, _ in model.named_parameters()]
    state["state"] = {
        index: {key.split("/", 1)[0]: value for key, value in tensors.items() if key.split("/", 1)[1] == name}
        for index, name in enumerate(names)
    }
    optimizer.load_state_dict(state)
    return besides


def prune_checkpoints(folder: Path, keep_last: int = 2) -> None:
    """Keep the newest checkpoints and the one with the lowest MPJPE on val; remove the others and unfinished ones.

    One whose record cannot be read is nobody's to keep or to remove: it is left alone. What cannot be removed now, such
    as what somebody reads on a network file system, is removed the next time.
    """
    for leftover in unfinished_checkpoints(folder):
        shutil.rmtree(leftover, ignore_errors=True)
    records = readable_records(saved_checkpoints(folder))
    paths = list(records)
    kept = {*paths[-keep_last:], best_on_val(records)}
    for path in paths:
        if path not in kept:
            going = path.with_name(f".{path.name}.removed")
            path.rename(going)  # all of it at once: a process that is killed leaves no half of a checkpoint
            shutil.rmtree(going, ignore_errors=True)
        else:
            clear_leftovers(path / RECORD)  # of a process that was killed while it wrote the metrics on val


def _apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as a file takes them: contiguous, each with memory of its own, also where weights are tied."""
    apart: dict[str, Tensor] = {}
    taken: set[int] = set()
    for name, value in tensors.items():
        own = value.detach().contiguous()
        apart[name] = own.clone() if own.untyped_storage().data_ptr() in taken else own
        taken.add(own.untyped_storage().data_ptr())
    return apart


def _optimizer_tensors(model: PoseModel, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    state = optimizer.state_dict()["state"]
    names = [name for name, _ in model.named_parameters()]
    return {f"{key}/{names[index]}": value for index, values in state.items() for key, value in values.items()}
