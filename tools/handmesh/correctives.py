"""Pose correctives: what linear blend skinning loses at bent joints, given back.

The aim is the implicit surface with its primitives carried by the bones: each joint is bent through its range, one at a
time, the skinned vertices are moved onto that surface, and the ways back at rest are fitted by least squares, linear in
(rotation - identity) as in Loper et al. (2015), equation 9.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

from handmesh.rig import smoothed
from handmesh.skeleton import FINGERS, MANO_FINGERS, Array, joints
from handmesh.surface import HAND, THUMB, Faces, project_to_surface
from hmr_core.geometry.rotations import axis_angle_to_matrix
from hmr_core.hand.joints import MANO_PARENTS
from hmr_core.hand.poses import ABDUCTION_DEG, FLEXION_DEG

FARTHEST_MM = 6.0
"""Corrections are bent down to less than this."""

GAP_MM = 1.0
"""How far from the middle of a fold the skin on either side of it stays."""

STIFFNESS = {True: 0.02, False: 0.0005}
"""The ridge of the fit, for a finger's base and for the joints within it: keeps entries small that the samples say
little about, such as a base's, which is also turned sideways, but not far.
"""


def pose_directions(vertices: Array, faces: Faces, weights: Array, flexion: Array, abduction: Array) -> Array:
    """(778, 3, 135), mm: for each joint's nine entries, what they add to the vertices that the joint carries in part.

    flexion: the axes of joints 1 to 15; abduction: of the five fingers' bases (see bend_axes).
    """
    directions = np.zeros((len(vertices), 3, 15, 9))
    for joint in range(1, 16):
        is_base = joint % 3 == 1
        touched = np.flatnonzero(weights[:, joint] > 0)
        features, targets = [], []
        for turn in _turns(joint, flexion, abduction):
            features.append((turn - np.eye(3)).ravel())
            target = np.zeros_like(vertices)
            target[touched] = _correction(vertices[touched], weights[touched], joint, turn)
            # Only the joints within a finger fold so sharply that smoothing would let the skin cross itself.
            targets.append((smoothed(target, faces, rounds=1) if is_base else target)[touched].ravel())
        x, y = np.stack(features), np.stack(targets)
        fitted = np.linalg.solve(x.T @ x + STIFFNESS[is_base] * len(x) * np.eye(9), x.T @ y)
        # Fades out where the joint's share does, so that there is no step at the edge of its reach.
        share = np.clip(weights[touched, joint] / 0.1, 0.0, 1.0)
        directions[touched, :, joint - 1] = fitted.T.reshape(len(touched), 3, 9) * share[:, None, None]
    return directions.reshape(len(vertices), 3, 135)


def _turns(joint: int, flexion: Array, abduction: Array) -> Array:
    """Rotations of a joint over its range, (n, 3, 3): flexions, with sideways angles where it is a finger's base."""
    finger, place = divmod(joint - 1, 3)
    name = MANO_FINGERS[finger]
    bends = np.radians(np.linspace(*FLEXION_DEG[name][place], 9))
    sideways = np.radians(np.linspace(*ABDUCTION_DEG[name], 3)) if place == 0 else np.zeros(1)
    angles = np.array(list(itertools.product(bends, sideways)))
    bend = axis_angle_to_matrix(torch.from_numpy(angles[:, :1] * flexion[joint - 1]))
    aside = axis_angle_to_matrix(torch.from_numpy(angles[:, 1:] * abduction[finger]))
    return np.asarray((aside @ bend).numpy())


def _correction(vertices: Array, weights: Array, joint: int, turn: Array) -> Array:
    """What to add to vertices at rest so that skinning puts them on the surface, one joint being turned."""
    rest = joints()
    turns = np.tile(np.eye(3), (16, 1, 1))
    places = rest.copy()
    for j in range(joint, joint + 3 - (joint - 1) % 3):
        turns[j] = turn
        parent = MANO_PARENTS[j]
        places[j] = places[parent] + turns[parent] @ (rest[j] - rest[parent])
    blended = np.einsum("vj,jxy->vxy", weights, turns)
    skinned = (blended @ vertices[..., None])[..., 0] + weights @ (places - (turns @ rest[..., None])[..., 0])
    posed = HAND.posed(turns, places)
    moved = project_to_surface(skinned, surface=posed, rounds=8)
    if joint != THUMB:  # its base is no hinge: the skin does not fold across the bone
        for _ in range(3):
            moved = _kept_on_their_side(moved, vertices, joint, turns, places)
            moved = project_to_surface(moved, surface=posed, rounds=3)
        moved = _kept_on_their_side(moved, vertices, joint, turns, places)
    wanted = moved - skinned
    back = np.linalg.solve(blended, wanted[..., None])[..., 0]
    length = np.linalg.norm(back, axis=1, keepdims=True)
    return np.asarray(back / np.sqrt(1 + (length / FARTHEST_MM) ** 2))


def _kept_on_their_side(moved: Array, vertices: Array, joint: int, turns: Array, places: Array) -> Array:
    """Points back on the side of the joint's plane, between its two bones, where they are at rest: so that the skin of
    a bent finger folds there and does not cross itself.
    """
    rest, (finger, place) = joints(), divmod(joint - 1, 3)
    chain = FINGERS[MANO_FINGERS[finger]]
    bone_in = rest[joint] - rest[MANO_PARENTS[joint]]
    bone_out = chain[place + 1] - chain[place]
    bone_in, bone_out = bone_in / np.linalg.norm(bone_in), bone_out / np.linalg.norm(bone_out)
    at_rest = (vertices - rest[joint]) @ _unit(bone_in + bone_out)
    across = _unit(bone_in + turns[joint] @ bone_out)
    now = (moved - places[joint]) @ across
    least = np.clip(np.abs(at_rest) * 0.3, 0.0, GAP_MM)
    signed = np.where(at_rest >= 0, np.maximum(now, least), np.minimum(now, -least))
    return np.asarray(moved + (signed - now)[:, None] * across)


def _unit(v: Array) -> Array:
    return np.asarray(v / np.linalg.norm(v))
