"""Released files: the weights that a model's authors gave out, as torch saved them.

Such a file is a state dict, by itself or under "model". It is loaded into the model's `published` recipe with the
overrides of the model's spec. The tensors that the spec ignores are left out, and all others must fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from hmr_core.digests import file_digest
from hmr_core.errors import HmrError, Option
from hmr_core.nn.files import read_state_dict
from hmr_core.nn.model import PoseModel
from hmr_core.plugins.failures import failures_told
from hmr_core.plugins.known import KNOWN
from hmr_core.plugins.recipes import Recipe, load_recipe
from hmr_core.plugins.specs import ModelSpec, Released
from hmr_core.shell import command_line
from hmr_core.weights.find_weights import CKPT
from hmr_core.weights.released_file import Ignored, ReleasedFile
from hmr_core.weights.state_dict import Uninitialised, compare, first_not_finite, load_weights

PUBLISHED = "published"
"""The recipe that released files are of."""


def load_released(
    path: Path, spec: ModelSpec, *, option: Option | str = CKPT
) -> tuple[PoseModel, Recipe, ReleasedFile]:
    """Load a released file: its model, its recipe, and a record of the file.

    option: what the path was given by, for the errors.
    Raises HmrError for a model of which no released files are known, a file that holds anything but a state dict,
    another model's file, tensors that are missing, unknown or of another shape, and weights that are not finite.
    """
    released = spec.released
    if released is None or PUBLISHED not in spec.recipes:
        raise HmrError(
            f"{path} is no checkpoint of ours (.safetensors with model.json beside), and no released files of the "
            f'model "{spec.name}" are known.'
        )
    state = read_state_dict(path, takes(option))
    recipe = load_recipe(spec, PUBLISHED, released.overrides)
    with Uninitialised(), failures_told(f'the model "{spec.name}"', "when it was made"):
        model = spec.build(recipe.model)
    own = model.state_dict()
    used, ignored = split_ignored(released, state)
    if compare(own, used):
        _refuse_another(path, spec, state, option)
    load_weights(model, used, source=str(path), model_name=spec.name)
    if (name := first_not_finite(own, own)) is not None:
        raise HmrError(f"{path} {not_finite(name)}.")
    origin = ReleasedFile(path=path, blake2b=file_digest(path), overrides=released.overrides, ignored=ignored)
    return model, recipe, origin


def takes(option: Option | str) -> tuple[Option | str, ...]:
    """Say what an option for weights takes, as an error's remedy."""
    return option, " takes a run's folder, a checkpoint's folder, a model.safetensors, or a released file."


def split_ignored(released: Released, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Ignored]]:
    """Split a released file into the tensors that must fit the model, and what is left out, by how names begin."""
    used, counts = {}, dict.fromkeys(released.ignored, 0)
    for name, value in state.items():
        prefix = next((prefix for prefix in released.ignored if name.startswith(prefix)), None)
        if prefix is None:
            used[name] = value
        else:
            counts[prefix] += 1
    return used, {prefix: Ignored(n, released.ignored[prefix]) for prefix, n in counts.items() if n}


def not_finite(name: str) -> str:
    """Word what is wrong with a file with a tensor that is not finite, to be put behind the file's name."""
    return f"holds numbers that are not finite, first in {name}: it is damaged. Get it again"


def known_model(state: Mapping[str, Tensor]) -> str | None:
    """Find the model of ours, installed or not, whose tell-tale tensor a state dict has; None if it has none's."""
    return next((name for name, known in KNOWN["model"].items() if known.tensor and known.tensor in state), None)


def _refuse_another(path: Path, spec: ModelSpec, state: Mapping[str, Tensor], option: Option | str) -> None:
    """HmrError when a file that does not fit is of another of our models."""
    name = known_model(state)
    if name is None or name == spec.name:
        return
    raise HmrError(
        f'{path} is a released file of the model "{name}", not of "{spec.name}".',
        "Give ",
        option,
        f" one of {spec.name}, or use it with {name}: `{command_line('hmr ckpt show', path)}` says how.",
    )
