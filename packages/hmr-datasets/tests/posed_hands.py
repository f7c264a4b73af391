"""Hands for look-alike data sets: the synthetic one, posed and shaped at random, before a camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray

from hmr_core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.poses import random_poses, random_shapes
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.viz.skeleton import draw_skeleton

PALM_TO_CAMERA = (1.2, 0.3, -0.9)
"""An axis-angle that turns MANO's flat hand so that the camera sees all of it."""


@dataclass(frozen=True)
class PosedHand:
    """A right hand in camera space, metres: x right, y down, z away. joints, in OpenPose order, and verts, float64.

    rotations: axis-angle of MANO's joints, relative to the flat hand. trans: what is added to the posed model.
    """

    rotations: Float64[ndarray, "16 3"]
    betas: Float64[ndarray, "10"]
    trans: Float64[ndarray, "3"]
    joints: Float64[ndarray, "21 3"]
    verts: Float64[ndarray, "778 3"]
    intrinsics: Float64[ndarray, "3 3"]

    @property
    def joints_px(self) -> list[tuple[float, float]]:
        """Where the camera sees the joints, one by one, without matrices."""
        (fx, _, cx), (_, fy, cy), _ = self.intrinsics.tolist()
        return [(fx * x / z + cx, fy * y / z + cy) for x, y, z in self.joints.tolist()]

    def picture(self, width: int, height: int) -> ndarray:
        """The skeleton, RGB, on grey."""
        image = np.full((height, width, 3), 96, np.uint8)
        draw_skeleton(image, np.array(self.joints_px))
        return image


def posed_hands(
    count: int,
    intrinsics: Float64[ndarray, "3 3"],
    depth_m: float,
    seed: int = 0,
    shape: Float64[ndarray, "10"] | None = None,
) -> list[PosedHand]:
    """Hands whose middle knuckle is near the camera's axis, at a depth; of one shape, or each of its own."""
    generator = np.random.default_rng(seed)
    model = load_synthetic_hand()
    layer = HandLayer(model, torch.float64)
    turns = random_poses(model, count, generator)
    wrists = torch.from_numpy(np.array(PALM_TO_CAMERA) + generator.uniform(-0.3, 0.3, (count, 3)))
    turns[:, 0] = axis_angle_to_matrix(wrists)
    rotations = matrix_to_axis_angle(turns)
    betas = random_shapes(count, generator) if shape is None else torch.from_numpy(np.tile(shape, (count, 1)))
    with torch.no_grad():
        posed = layer(rotations, betas)
    verts, joints = posed.verts.numpy(), posed.joints.numpy()
    places = np.array([0.0, 0.0, depth_m]) + generator.uniform(-0.02, 0.02, (count, 3)) - joints[:, 9]
    return [
        PosedHand(
            rotations=rotations[i].numpy(),
            betas=betas[i].numpy(),
            trans=places[i],
            joints=joints[i] + places[i],
            verts=verts[i] + places[i],
            intrinsics=intrinsics,
        )
        for i in range(count)
    ]
