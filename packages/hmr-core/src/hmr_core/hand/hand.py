"""A hand that was found in a picture: what a predictor gives."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float64, Int
from numpy import ndarray

from hmr_core.errors import HmrError, Option
from hmr_core.hand.mesh_files import check_mesh_name, write_mesh

GIVEN, EXIF, ASSUMED = "given", "exif", "assumed"
"""Where intrinsics come from."""

HAND_SIZE = "hand size"
"""Where a hand's depth comes from, if it was not given: the depth at which it has its size."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Hand:
    """One hand of a picture, in camera space: metres, x right, y down, z away. Pixels are of the upright picture.

    side: right or left. score: 0 to 1, how sure it is that there is a hand in the box; 1 for a box that was given.
    box: x, y, width and height, tight around the hand.
    joints, joints_px: in OpenPose order. verts, faces: its mesh; None where none was made.
    rotations: axis-angle of MANO's 16 joints, relative to the flat hand of its side. betas: its shape.
    confidence: 0 to 1 for each joint, where the model has one.
    intrinsics_from: given, exif or assumed. depth_from: given or hand size. remarks: what is to be said of it.
    """

    side: str
    score: float
    box: tuple[float, float, float, float]
    joints: Float[ndarray, "21 3"]
    joints_px: Float[ndarray, "21 2"]
    verts: Float[ndarray, "778 3"] | None = None
    faces: Int[ndarray, "f 3"] | None = None
    rotations: Float[ndarray, "16 3"] | None = None
    betas: Float[ndarray, "10"] | None = None
    confidence: Float[ndarray, "21"] | None = None
    intrinsics: Float64[ndarray, "3 3"]
    intrinsics_from: str
    depth_from: str
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """The hand in one line: a notebook shows it, and the arrays would fill pages."""
        box = ", ".join(f"{value:g}" for value in self.box)
        mesh = "no mesh" if self.verts is None else f"mesh of {len(self.verts)} vertices"
        return f"Hand({self.side}, box {box}, wrist {self.joints[0, 2]:.3f} m away, {mesh})"

    def save(self, path: str | Path) -> None:
        """Write the mesh as .obj, .ply or .glb, by the path's ending; see hmr_core.hand.mesh_files.

        Raises UsageError for another ending, HmrError for a hand without a mesh or a file that cannot be written.
        """
        path = Path(path)
        check_mesh_name(path)
        if self.verts is None or self.faces is None:
            raise HmrError(
                f"{path} was not written: the hand has joints alone and no mesh.",
                "Make one with ",
                Option("solver", "lm"),
                ".",
            )
        write_mesh(path, self.verts, self.faces)

    def mirrored(self, width_px: int) -> Hand:
        """The other hand, as a picture of this width shows it when it is mirrored; twice mirrored it is the same again.

        Points in camera space change the sign of x, pixels x become width_px - 1 - x, and so do the box and the camera.
        A rotation vector is a pseudo-vector: y and z change their signs. Faces are turned round, so that they look
        outwards still.
        """
        import torch

        from hmr_core.geometry.mirror import mirror_intrinsics, mirror_points, mirror_rotations

        left, top, width, height = self.box
        joints, camera = torch.from_numpy(self.joints), torch.from_numpy(self.intrinsics)
        flipped = self.joints_px.copy()
        flipped[:, 0] = width_px - 1 - flipped[:, 0]
        return replace(
            self,
            side="left" if self.side == "right" else "right",
            box=(width_px - left - width, top, width, height),
            joints=mirror_points(joints).numpy(),
            joints_px=flipped,
            verts=None if self.verts is None else mirror_points(torch.from_numpy(self.verts)).numpy(),
            faces=None if self.faces is None else self.faces[:, [0, 2, 1]],
            rotations=None if self.rotations is None else mirror_rotations(torch.from_numpy(self.rotations)).numpy(),
            intrinsics=mirror_intrinsics(camera, camera.new_tensor(width_px)).numpy(),
        )

    def as_json(self) -> dict[str, Any]:
        """What hands.json has of it: all but the mesh, with null for what there is not."""
        values: dict[str, Any] = {"side": self.side, "score": self.score, "box": list(self.box)}
        for name in ("joints", "joints_px", "rotations", "betas", "confidence", "intrinsics"):
            array: ndarray | None = getattr(self, name)
            # Six decimals are a thousandth of a millimetre; a camera's matrix is kept as it is.
            digits = 16 if name == "intrinsics" else 6
            values[name] = None if array is None else np.round(array.astype(np.float64), digits).tolist()
        rest = {"intrinsics_from": self.intrinsics_from, "depth_from": self.depth_from, "remarks": list(self.remarks)}
        return {**values, **rest}
