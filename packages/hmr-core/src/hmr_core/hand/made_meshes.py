"""Meshes for readers of data sets that give MANO's parameters and no vertices: the hand layer poses them.

A mesh that is made so is given with a sample only where the layer's joints are the annotated ones, within a tolerance:
parameters that were made with another hand model, or that are taken in another frame than theirs, make another hand.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Float32
from numpy import ndarray

from hmr_core.hand.joints import N_VERTS, WRIST
from hmr_core.hand.pose_basis import PoseBases

if TYPE_CHECKING:
    from hmr_core.hand.layer import HandLayer

SAME_MODEL_MM = 1.0
"""The tolerance where the annotated joints are the hand model's own: rounding is far below it."""

FITTED_MM = 10.0
"""The tolerance where the parameters were fitted to joints that are not the hand model's: they miss them by some mm."""

COMPARED = (WRIST, *(4 * finger + joint for finger in range(5) for joint in (1, 2, 3)))
"""The joints that are compared: all but the tips, which are vertices, and not the same ones in every data set."""


@dataclass(frozen=True)
class MadeHand:
    """A hand that was made of parameters, metres: the mesh, and the 21 joints in OpenPose order."""

    verts: Float[ndarray, "778 3"]
    joints: Float[ndarray, "21 3"]

    def moved(self, turn: Float[ndarray, "3 3"], origin: Float[ndarray, "3"] | None = None) -> MadeHand:
        """The hand in another frame: turn @ (point - origin)."""
        origin = np.zeros(3) if origin is None else origin
        return MadeHand((self.verts - origin) @ turn.T, (self.joints - origin) @ turn.T)

    def apart_mm(self, joints: Float[ndarray, "21 3"], known: Bool[ndarray, "21"]) -> float:
        """How far the known ones of the joints that are compared are from annotated ones, mm on average."""
        chosen = [joint for joint in COMPARED if known[joint]]
        return float(1000 * np.linalg.norm(self.joints[chosen] - joints[chosen], axis=-1).mean())


class MeshMaker:
    """Poses the hand models of files; each process reads a file when it first needs it.

    bases: pose spaces by side, of which those with a file make meshes. mended: for parameters that were fitted with the
    left model's shape directions mended (see hand.mirror.mended); a left hand then needs the right one's file, too.
    """

    def __init__(self, bases: PoseBases, *, mended: bool = False) -> None:
        self._files = {side: basis.file for side, basis in bases.items() if basis.file is not None}
        self._mended = mended

    @property
    def sides(self) -> Collection[str]:
        """The sides of whose hands meshes can be made."""
        return [side for side in self._files if not (self._mended and side == "left" and "right" not in self._files)]

    def make(
        self,
        side: str,
        rotations: Float[ndarray, "16 3"],
        betas: Float[ndarray, "10"],
        place: Float[ndarray, "3"],
    ) -> MadeHand:
        """Pose a hand in the frame of the wrist's rotation; computed in float64.

        rotations: axis-angle, relative to the flat hand. place: what is added to all points of the posed model, whose
        wrist is where the shaped template has it. Raises HmrError for a file that is no hand model.
        """
        import torch  # here, since readers without a hand model need none

        pose, shape = (torch.from_numpy(np.asarray(array, np.float64)[None]) for array in (rotations, betas))
        with torch.no_grad():
            posed = self._layers[side](pose, shape)
        return MadeHand(posed.verts[0].numpy() + place, posed.joints[0].numpy() + place)

    @cached_property
    def _layers(self) -> dict[str, HandLayer]:
        import torch

        from hmr_core.hand.layer import HandLayer
        from hmr_core.hand.mirror import mended
        from hmr_core.hand.model import load_hand_model

        models = {side: load_hand_model(self._files[side]) for side in self.sides}
        if self._mended and "left" in models:
            models["left"] = mended(models["left"], models["right"])
        return {side: HandLayer(model, torch.float64) for side, model in models.items()}


def kept_within(tolerance_mm: float) -> str:
    """What a reader's note says of which meshes it keeps, a clause."""
    return (
        f"and kept where the joints of the hand model are within {tolerance_mm:g} mm of the annotated ones on average; "
        "those of another hand model than theirs are left out"
    )


def mesh_of_sample(
    made: MadeHand | None, joints: Float32[ndarray, "21 3"], known: Bool[ndarray, "21"] | None, tolerance_mm: float
) -> dict[str, Any]:
    """The verts and verts_valid of a sample: the mesh where its joints are the annotated ones, within the tolerance.

    made: in camera space; None where no mesh can be made. known: which joints are annotated; None for all.
    """
    known = np.ones(len(joints), dtype=np.bool_) if known is None else known
    if made is None or not made.apart_mm(joints, known) <= tolerance_mm:
        return {"verts": np.zeros((N_VERTS, 3), np.float32), "verts_valid": False}
    return {"verts": made.verts.astype(np.float32), "verts_valid": True}
