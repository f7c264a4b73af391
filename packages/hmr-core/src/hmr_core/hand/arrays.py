"""The arrays of a hand model's file: their names and shapes, and checks of what a file holds."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hmr_core.errors import HmrError, Option
from hmr_core.shell import command_line

FORMAT = "hmr-hand/1"

SHAPES = {
    "template": (778, 3),
    "faces": (1538, 3),
    "shape_dirs": (778, 3, 10),
    "pose_dirs": (778, 3, 135),
    "joint_regressor": (16, 778),
    "skin_weights": (778, 16),
    "pose_components": (45, 45),
    "pose_mean": (45,),
}
"""The arrays of a hand model."""

MIDDLE = 4
"""The middle finger's knuckle in MANO's order of joints."""

SHORTEST_M, LONGEST_M = 0.02, 0.5
"""How long a hand can be from the wrist to that knuckle; people's are 0.05 to 0.12."""

ENVIRONMENT = "HMR_HAND_MODEL"
"""The variable that names a hand-model file."""

MAKE = (
    f"`{command_line('hmr mano import MANO_RIGHT.pkl', Option('out', 'hand.npz'))}` makes one of the licensed file; "
    "`hmr synth DIR` writes the synthetic hand's to DIR/hand.npz."
)
"""How to come by a hand model."""


def named_hand_file(given: Path | None) -> Path | None:
    """Choose the hand model's file: as given, else the one that $HMR_HAND_MODEL names; None for the synthetic hand.

    Raises HmrError, naming the file and the variable, when it cannot be one.
    """
    named = os.environ.get(ENVIRONMENT)
    if given is not None or not named:
        if given is not None:
            check_hand_file(given)
        return given
    try:
        check_hand_file(Path(named))
    except HmrError as error:
        raise HmrError(f"{ENVIRONMENT} is {named}: {error.message}", *error.remedy) from error
    return Path(named)


def check_hand_file(path: Path) -> None:
    """Raise HmrError for a file that is not there, or that is no hand model by its name."""
    if not path.exists():
        raise HmrError(f"no hand model at {path}. {MAKE}")
    if path.suffix == ".pkl":
        raise HmrError(
            f"{path} is no hand model by its name. If it is MANO's file, import it: "
            f"{command_line('hmr mano import', path, Option('out', 'hand.npz'))}"
        )


def check_arrays(found: Mapping[str, np.ndarray], what: str, names: Mapping[str, str] | None = None) -> None:
    """Raise HmrError unless the arrays are a hand model's: shapes, finiteness, faces, weights, size in metres.

    what: what they are of, the subject of the error. names: what its file calls them, where that differs.
    """
    for name, shape in SHAPES.items():
        array, shown = found[name], (names or {}).get(name, name)
        if array.shape != shape:
            raise HmrError(f"{what} has {shown} of shape {array.shape}; it must be {shape}.")
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise HmrError(f"{what} has values in {shown} that are not finite numbers.")
        if name == "faces" and (array.dtype.kind == "f" or array.min() < 0 or array.max() >= SHAPES["template"][0]):
            raise HmrError(f"{what} has faces that are not vertex numbers 0 to 777.")
        if name == "faces" and (array == np.roll(array, 1, axis=1)).any():
            raise HmrError(f"{what} has faces with one vertex twice.")
        if name in ("joint_regressor", "skin_weights"):
            worst = float(np.abs(array.astype(np.float64).sum(1) - 1).max())
            if worst > 1e-4:
                raise HmrError(f"{what} has rows of {shown} that do not sum to 1 (off by {worst:.2g}).")
        if name == "skin_weights" and array.min() < -1e-6:  # MANO's regressor has some negative ones, its weights none
            raise HmrError(f"{what} has {shown} below 0 (down to {array.min():.2g}).")
    with np.errstate(over="ignore", invalid="ignore"):
        joints = found["joint_regressor"].astype(np.float64) @ found["template"].astype(np.float64)
        length_m = float(np.linalg.norm(joints[MIDDLE] - joints[0]))
    if not SHORTEST_M <= length_m <= LONGEST_M:  # nan too
        question = " Are these millimetres?" if length_m > LONGEST_M else ""
        raise HmrError(
            f"{what} is {length_m:.3g} m long from the wrist to the middle finger's knuckle; it must be in metres, "
            f"{SHORTEST_M} to {LONGEST_M} there.{question}"
        )
