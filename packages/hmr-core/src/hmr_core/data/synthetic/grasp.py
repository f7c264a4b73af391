"""A hand that closes round an object until its fingers touch it."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor

from hmr_core.data.synthetic.objects import Object
from hmr_core.geometry.rotations import axis_angle_to_matrix
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.poses import Bends, bend_fingers

_LEVELS = 14
"""So many bends are tried between straight and as far as a finger goes."""

_SINK_M = 0.001
"""How far skin gives where it touches."""

_FURTHEST_M = 0.12
_PARTS = (np.array([1, 2, 3]), np.array([4, 5, 6]), np.array([7, 8, 9]), np.array([10, 11, 12]), np.array([13, 14, 15]))
"""The joints of each finger, in the order of FINGER_ORDER."""


def grasp(
    layer: HandLayer, betas: Float[Tensor, "10"], held: Object, generator: np.random.Generator
) -> tuple[Float[Tensor, "16 3 3"], Float64[ndarray, "4 4"]]:
    """The rotations of a hand that holds an object, the wrist's the identity, and the object's pose in the frame of the
    hand model (fingers -x, palm -y, thumb +z).

    The object's long axis lies more or less across the palm, against it. First each finger bends as a whole until it
    touches; then its outer two joints go on.
    """
    weights = layer.skin_weights.numpy()
    strongest = weights.argmax(1)
    pose = _place(held, generator)
    sideways = generator.uniform(0.25, 0.75, (1, 5))
    reach = generator.uniform(0.55, 0.85, 5)  # of a finger that meets nothing
    ease = generator.uniform(0.75, 1.0, (5, 3))  # how far a finger's joints go along

    flexion = np.zeros((_LEVELS, 5, 3))
    open_hand = layer(_bent(layer, flexion[:1], sideways), betas[None]).verts[0].numpy()
    palm = open_hand[strongest == 0]
    away = np.linspace(0, _FURTHEST_M, 61)
    shifted = palm + np.stack([0 * away, away, 0 * away], axis=1)[:, None]
    clear = held.solid.distance_m((shifted - pose[:3, 3]) @ pose[:3, :3]).min(1) > -_SINK_M
    # From far to near, up to where it would go into the palm.
    pose[1, 3] -= away[np.flatnonzero(~clear)[-1] + 1] if not clear.all() else 0.0

    level = np.linspace(0, 1, _LEVELS)
    reached = np.zeros(5)
    for outer_only in (False, True):
        tried = np.zeros((_LEVELS, 5, 3))
        for finger in range(5):
            whole = reached[finger] if outer_only else 0.0
            course = whole + (reach[finger] - whole) * level
            tried[:, finger] = course[:, None] * ease[finger]
            if outer_only:
                tried[:, finger, 0] = flexion[0, finger, 0]
        verts = layer(_bent(layer, tried, sideways), betas.expand(_LEVELS, 10)).verts.numpy()
        depth = held.solid.distance_m((verts - pose[:3, 3]) @ pose[:3, :3])
        for finger, joints in enumerate(_PARTS):
            own = np.isin(strongest, joints[1:] if outer_only else joints)
            free = depth[:, own].min(1) > -_SINK_M
            furthest = max(int(np.argmin(free)) - 1, 0) if not free.all() else _LEVELS - 1
            reached[finger] = level[furthest] * reach[finger] if not outer_only else reached[finger]
            flexion[:, finger] = tried[furthest, finger]
    return _bent(layer, flexion[:1], sideways)[0], pose


def _place(held: Object, generator: np.random.Generator) -> Float64[ndarray, "4 4"]:
    """The object before the palm, its z axis along the hand's but for some turn; not yet moved against the palm."""
    about_y = np.radians(generator.uniform(-25, 25))
    about_x = np.radians(generator.uniform(-8, 8))
    quarter = np.pi / 2 * generator.integers(4) + np.radians(generator.uniform(-10, 10))
    flipped = np.pi * generator.integers(2)
    vectors = np.array([[0, about_y, 0], [about_x, 0, 0], [flipped, 0, 0], [0, 0, quarter]])
    turns = axis_angle_to_matrix(torch.from_numpy(vectors)).numpy()
    pose = np.eye(4)
    pose[:3, :3] = turns[0] @ turns[1] @ turns[2] @ turns[3]
    pose[:3, 3] = generator.uniform((0.012, 0, -0.008), (0.034, 0, 0.008))
    return pose


def _bent(
    layer: HandLayer, flexion: Float64[ndarray, "n 5 3"], sideways: Float64[ndarray, "1 5"]
) -> Float[Tensor, "n 16 3 3"]:
    return bend_fingers(layer.model, Bends(flexion=flexion, sideways=sideways.repeat(len(flexion), axis=0)))
