"""MANO's pose space for readers of data sets: poses in the data's own form become relative to the flat hand.

Data sets give MANO's finger poses in three forms: relative to the flat hand; relative to the mean pose (the option
`flat_hand_mean` of the layers that made them is off); as coefficients of the principal components around the mean pose.
The mean pose and the components are in MANO's files alone, so that the last two need a hand-model file. All is numpy:
readers work in processes that need no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from hmr_core.errors import HmrError, Option
from hmr_core.hand.arrays import check_hand_file, named_hand_file
from hmr_core.shell import command_line


@dataclass(frozen=True, eq=False, kw_only=True)
class PoseBasis:
    """The pose space of one hand: the mean pose, and components as rows; axis-angle of MANO's 15 finger joints.

    side: which hand's; MANO has a file for each. source: the file of MANO's that it comes from. file: the hand-model
    file that it was read from, of which meshes can be made (see made_meshes); None where there is none.
    """

    side: str
    source: str
    mean: Float[ndarray, "45"]
    components: Float[ndarray, "45 45"]
    file: Path | None = None

    def of_mean_pose(self, pose: Float[ndarray, "48"]) -> Float[ndarray, "16 3"]:
        """Make rotations relative to the flat hand of axis-angle values relative to the mean pose.

        pose: the wrist's three values, which stay as they are, then the fingers'. The sum is one of axis-angle values,
        as MANO defines it.
        """
        return self._rotations(pose[:3], pose[3:] + self.mean)

    def of_components(self, pose: Float[ndarray, " n"]) -> Float[ndarray, "16 3"]:
        """Make rotations relative to the flat hand of the wrist's axis-angle and n - 3 coefficients of components.

        Raises ValueError for more than 45 coefficients.
        """
        coefficients = pose[3:]
        if len(coefficients) > len(self.components):
            raise ValueError(f"{len(coefficients)} coefficients of {len(self.components)} components")
        return self._rotations(pose[:3], coefficients @ self.components[: len(coefficients)] + self.mean)

    @staticmethod
    def _rotations(wrist: ndarray, fingers: ndarray) -> ndarray:
        rotations: ndarray = np.concatenate([wrist, fingers]).astype(np.float64).reshape(16, 3)
        return rotations


PoseBases = Mapping[str, PoseBasis]
"""The pose spaces that there are, by side; hands of another side have no rotations."""


def find_pose_bases(given: Sequence[Path] = ()) -> PoseBases:
    """Read the pose spaces of the given hand-model files, at most one for each side.

    Without any it is the file that $HMR_HAND_MODEL names, unless that is the synthetic hand's, whose pose space no data
    set was made with. Raises HmrError, naming the file, for one that cannot be read, a synthetic one that was given,
    and two of one side.
    """
    from hmr_core.hand.model import load_hand_model  # which needs torch
    from hmr_core.hand.synthetic import NAME as SYNTHETIC

    named = None if given else named_hand_file(None)
    bases: dict[str, PoseBasis] = {}
    paths: dict[str, Path] = {}
    for path in given or ([] if named is None else [named]):
        check_hand_file(path)
        model = load_hand_model(path)
        if model.name == SYNTHETIC:
            if named is not None:
                continue
            raise HmrError(
                f"{path} is the synthetic hand, and the poses of data sets are in MANO's own pose space.",
                f"Import MANO's: `{command_line('hmr mano import MANO_RIGHT.pkl', Option('out', 'hand.npz'))}`.",
            )
        if model.side in bases:
            raise HmrError(
                f"{paths[model.side]} and {path} are both of a {model.side} hand.",
                "Give ",
                Option("hand_model"),
                " once for each side at most.",
            )
        paths[model.side] = path
        bases[model.side] = PoseBasis(
            side=model.side,
            source=model.source or f"{model.name}, {model.side}",
            mean=model.pose_mean.numpy(),
            components=model.pose_components.numpy(),
            file=path,
        )
    return bases
