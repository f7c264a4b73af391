"""The weights of another checkpoint that a new run starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from hmr_core.digests import file_digest
from hmr_core.errors import HmrError, Option
from hmr_core.files import is_there
from hmr_core.nn.files import read_safetensors, read_state_dict
from hmr_core.nn.model import PoseModel
from hmr_core.plugins.failures import failures_told
from hmr_core.plugins.recipes import Recipe
from hmr_core.plugins.run import RunInit
from hmr_core.plugins.specs import ModelSpec
from hmr_core.weights.checkpoint_record import WEIGHTS, check_file, read_record
from hmr_core.weights.find_weights import find_weights, is_ours, without_choice
from hmr_core.weights.released import known_model, not_finite, split_ignored, takes
from hmr_core.weights.state_dict import Differences, Uninitialised, compare, first_not_finite
from hmr_core.wording import counted

INIT = Option("init")

_LISTED = 5
"""How many tensors of a kind an error names."""


class StartingWeights(NamedTuple):
    """Weights by name, the file they are from, its BLAKE2b, and the model they are of, where that is known."""

    state: dict[str, Tensor]
    path: Path
    blake2b: str
    model: str | None


def read_starting_weights(path: Path, spec: ModelSpec) -> StartingWeights:
    """Read the weights of a run, of a checkpoint, or of a released file, for a run of a model.

    Raises HmrError for what holds none, and for what is damaged.
    """
    weights = find_weights(path, option=INIT)
    if is_ours(without_choice(path), weights):
        record = read_record(weights)
        state = read_safetensors(weights)
        return StartingWeights(state, weights, check_file(weights, record, WEIGHTS), record.model)
    state = read_state_dict(weights, takes(INIT))
    if spec.released is not None:
        state, _ = split_ignored(spec.released, state)
    return StartingWeights(state, weights, file_digest(weights), known_model(state))


def fit_starting_weights(path: Path, spec: ModelSpec, recipe: Recipe, *, partial: bool) -> RunInit:
    """The record of what a run of a model starts from.

    partial: whether tensors may be missing, unknown or of another shape; the run then draws those that it lacks.
    Raises HmrError, with the names of those that do not fit, where all must fit or none does.
    """
    found = read_starting_weights(path, spec)
    with Uninitialised(), failures_told(f'the model "{spec.name}"', "when it was made"):
        own = spec.build(recipe.model).state_dict()
    differences = compare(own, found.state)
    drawn = [*differences.missing, *differences.wrong, *differences.mixed]
    if len(drawn) == len(own):
        of = "" if found.model in (None, spec.name) else f' is of the model "{found.model}". It'
        raise HmrError(
            f'{found.path}{of} has no tensor that fits the model "{spec.name}": nothing could be started from.'
        )
    if differences and not partial:
        raise HmrError(
            f'{found.path} does not fit the model "{spec.name}". {_listed(differences, own, found.state)}',
            Option("init_partial"),
            " takes what fits and draws the rest anew.",
        )
    used = {name: value for name, value in own.items() if name not in drawn}
    if (name := first_not_finite(used, found.state)) is not None:
        raise HmrError(f"{found.path} {not_finite(name)}.")
    return RunInit(
        path=found.path.resolve(), blake2b=found.blake2b, model=found.model, partial=partial, drawn=tuple(drawn)
    )


def start_from(model: PoseModel, init: RunInit, spec: ModelSpec) -> None:
    """Give a model the weights that its run starts from; all but those that were to be drawn.

    Raises HmrError when the file is not there any more, or is not what it was.
    """
    if not is_there(init.path):
        raise HmrError(
            f"{init.path}, whose weights the run starts from, is not there any more, and the run has no checkpoint "
            "yet. Put it back, or start another run."
        )
    found = read_starting_weights(init.path, spec)
    if found.blake2b != init.blake2b:
        raise HmrError(f"{found.path} is not the file that the run started from (its digest differs). Put it back.")
    names = model.state_dict().keys() - set(init.drawn)
    model.load_state_dict({name: found.state[name] for name in names}, strict=False)


def starting_note(init: RunInit) -> str:
    """What a run starts from, and what it draws, in words."""
    drawn = f"; drawn anew: {_names(init.drawn)}" if init.drawn else ""
    return f"starts from the weights in {init.path}{drawn}"


def _listed(differences: Differences, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    """The tensors that do not fit, in sentences, by what is wrong with them."""
    wrong = [f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}" for name in differences.wrong]
    kinds = {
        "Missing": differences.missing,
        "Not of this model": differences.unknown,
        "Of another shape": wrong,
        "Of another type": differences.mixed,
    }
    return " ".join(f"{kind}: {_names(names)}." for kind, names in kinds.items() if names)


def _names(names: Sequence[str]) -> str:
    more = f" and {counted(len(names) - _LISTED, 'more tensor')}" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more
