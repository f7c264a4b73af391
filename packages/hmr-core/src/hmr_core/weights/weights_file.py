"""What a file of weights can be: a record for each kind of file, as `identify` finds it.

All records are plain values, so that they can be printed and written as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from hmr_core.weights.released_file import Ignored, ReleasedFile

ModelState = Literal["installed", "broken", "not installed"]
"""Whether a file's model can be used; broken: its plugin is there, and does not work."""


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A file of weights, whatever it is.

    tensors, numbers: how many it holds. blake2b: its digest.
    problem: what is wrong with the weights; None where they are sound.
    use: the commands that take the file, or the way there; none where there is a problem.
    """

    kind: ClassVar[str]

    path: Path
    size_bytes: int
    tensors: int
    numbers: int
    blake2b: str
    problem: str | None = None
    use: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CheckpointFile(WeightsFile):
    """The weights of a checkpoint of ours, with what its model.json says.

    epoch: how many it was trained for; None for a converted one, whose origin is `released`. val: its metrics on val.
    optimizer: whether the optimizer's state is beside it, so that a run can go on from it.
    """

    kind = "checkpoint"

    model: str
    model_state: ModelState
    recipe_name: str | None
    split: str | None
    subset: str | None
    epoch: int | None
    val: Mapping[str, float | None]
    versions: Mapping[str, str]
    optimizer: bool
    released: ReleasedFile | None


@dataclass(frozen=True, kw_only=True)
class OptimizerFile(WeightsFile):
    """What a checkpoint keeps beside its weights for a resumed run. model_file: where the weights are, in words."""

    kind = "optimizer"

    model_file: str


@dataclass(frozen=True, kw_only=True)
class ReleasedWeights(WeightsFile):
    """The weights that a model's authors gave out. fits_too: the other installed models that the file fits.

    overrides, ignored: as in ReleasedFile; not known where the model is not installed.
    """

    kind = "released"

    model: str
    model_state: ModelState
    fits_too: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    ignored: Mapping[str, Ignored] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class BackboneFile(WeightsFile):
    """The weights of an installed backbone, which a model can start from. backbone: its name."""

    kind = "backbone"

    backbone: str


@dataclass(frozen=True, kw_only=True)
class Differing:
    """Tensors that differ from a model's: how many, and the first of them in words."""

    count: int
    first: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Closest:
    """The model whose names and shapes weights share most, and what differs.

    tensors_that_fit: how many the weights share, of the tensors_wanted by the model.
    """

    model: str
    tensors_that_fit: int
    tensors_wanted: int
    missing: Differing
    unknown: Differing
    wrong_shape: Differing
    wrong_type: Differing


@dataclass(frozen=True, kw_only=True)
class BareWeights(WeightsFile):
    """Weights in safetensors without the model.json that says what they are of."""

    kind = "bare"

    closest: Closest | None


@dataclass(frozen=True, kw_only=True)
class UnknownWeights(WeightsFile):
    """A state dict of torch's that fits no installed model."""

    kind = "unknown"

    closest: Closest | None


Identified = CheckpointFile | OptimizerFile | ReleasedWeights | BackboneFile | BareWeights | UnknownWeights
"""What `identify` finds."""
