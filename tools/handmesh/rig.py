"""What makes the mesh a hand model: skinning weights, the joint regressor and the directions of shape, in
millimetres.
"""

from __future__ import annotations

import numpy as np

from handmesh.skeleton import FINGERS, MANO_FINGERS, RADII, WRIST, Array, joints
from handmesh.surface import HAND, Faces

BACK = np.array([0.0, 1.0, 0.0])


def _smoothstep(x: Array) -> Array:
    x = np.clip(x, 0.0, 1.0)
    return x * x * (3 - 2 * x)


def skin_weights(vertices: Array, faces: Faces) -> Array:
    """(778, 16), rows sum to 1: along each finger a smooth step at each joint, between fingers by distance."""
    distance = np.stack(
        [HAND.finger_value(vertices, name) for name in MANO_FINGERS] + [HAND.metacarpal_value(vertices)], 1
    )
    member = np.exp(-(distance - distance.min(1, keepdims=True)) / 2.0)
    member /= member.sum(1, keepdims=True)
    weights = np.zeros((len(vertices), 16))
    for i, name in enumerate(MANO_FINGERS):
        chain, radii = FINGERS[name], RADII[name]
        before = chain[0] - WRIST
        reach = []
        for k in range(3):
            bone_in, bone_out = (before if k == 0 else chain[k] - chain[k - 1]), chain[k + 1] - chain[k]
            axis = bone_in / np.linalg.norm(bone_in) + bone_out / np.linalg.norm(bone_out)
            axis /= np.linalg.norm(axis)
            width = radii[k] * (1.1 if k == 0 else 0.9)
            reach.append(_smoothstep(((vertices - chain[k]) @ axis / width + 1) / 2))
        own = member[:, i]
        weights[:, 1 + 3 * i] = own * reach[0] * (1 - reach[1])
        weights[:, 2 + 3 * i] = own * reach[0] * reach[1] * (1 - reach[2])
        weights[:, 3 + 3 * i] = own * reach[0] * reach[1] * reach[2]
    weights[:, 0] = 1 - weights[:, 1:].sum(1)
    weights = smoothed(weights, faces, rounds=2)
    weights[weights < 0.01] = 0
    normalised: Array = weights / weights.sum(1, keepdims=True)
    return normalised


def smoothed(values: Array, faces: Faces, rounds: int) -> Array:
    """Each row moved halfway to the mean of its neighbours' rows."""
    pairs = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    pairs = np.unique(np.sort(pairs, 1), axis=0)
    for _ in range(rounds):
        total, count = np.zeros_like(values), np.zeros(len(values))
        for a, b in (pairs.T, pairs.T[::-1]):
            np.add.at(total, a, values[b])
            np.add.at(count, a, 1)
        values = 0.5 * values + 0.5 * total / count[:, None]
    return values


def joint_regressor(vertices: Array) -> Array:
    """(16, 778), rows sum to 1, no negative weights: each row gives its joint exactly from the vertices nearby.

    Among such rows it is the one closest to a Gaussian of the distance (least relative entropy): weights
    g_i exp(l . (v_i - joint)), with l found by Newton's method.
    """
    rows = np.zeros((16, len(vertices)))
    radii = [22.0, *(RADII[name][k] for name in MANO_FINGERS for k in range(3))]
    for j, (place, radius) in enumerate(zip(joints(), radii, strict=True)):
        offset = vertices - place
        squared = (offset * offset).sum(1)
        near = np.argsort(squared)[: 60 if j == 0 else 28]
        x = offset[near]
        log_g = -squared[near] / (2 * (0.9 * radius) ** 2)
        slope = np.zeros(3)
        for _ in range(100):
            w = np.exp(log_g + x @ slope - (log_g + x @ slope).max())
            w /= w.sum()
            mean = w @ x
            if np.abs(mean).max() < 1e-12:
                break
            spread = (x * w[:, None]).T @ x - np.outer(mean, mean)
            step = np.linalg.solve(spread, mean)
            slope -= step * min(1.0, 0.5 / np.abs(x @ step).max())
        else:
            raise RuntimeError(f"no weights give joint {j}: the vertices around it do not enclose it")
        rows[j, near] = w
    return rows


def shape_directions(vertices: Array, weights: Array) -> Array:
    """(778, 3, 10): what a step of one standard deviation along each way in which hands differ adds, mm."""
    palm, thumb, others = [0], [13, 14, 15], list(range(1, 13))
    index, little, ring = [1, 2, 3], [7, 8, 9], [10, 11, 12]
    fingers, everything = thumb + others, list(range(16))
    tips, bases = [3, 6, 9, 12, 15], [1, 4, 7, 10, 13]
    # (bones, growth along the bone, towards the back of the hand, sideways), as fractions
    ways: list[list[tuple[list[int], float, float, float]]] = [
        [(everything, 0.05, 0.05, 0.05)],  # size
        [(fingers, 0.05, 0.0, 0.0), (palm, -0.02, 0.0, 0.0)],  # long fingers
        [(palm, 0.0, 0.0, 0.05)],  # broad palm
        [(fingers, 0.0, 0.07, 0.07)],  # thick fingers
        [(thumb, 0.07, 0.02, 0.02)],  # long thumb
        [(palm, 0.0, 0.07, 0.0)],  # thick palm
        [(tips, 0.06, 0.03, 0.05), (bases, -0.04, 0.0, 0.0)],  # long and broad finger ends
        [(index, -0.04, 0.0, 0.0), (ring, 0.04, 0.0, 0.0), (little, 0.04, 0.0, 0.0)],  # ring against index finger
        [(little, 0.09, 0.02, 0.02), (thumb, -0.02, 0.04, 0.04)],  # long little finger, thick thumb
        [(fingers, 0.0, -0.06, 0.06)],  # flat fingers
    ]
    return np.stack([_grown(vertices, weights, way) for way in ways], axis=-1)


def _grown(vertices: Array, weights: Array, way: list[tuple[list[int], float, float, float]]) -> Array:
    """The displacement of every vertex when bones grow about their joints and carry their children along."""
    places = joints()
    growth = np.zeros((16, 3, 3))
    directions = [np.array([-1.0, 0.0, 0.0])]
    for name in MANO_FINGERS:
        directions += [d / np.linalg.norm(d) for d in np.diff(FINGERS[name], axis=0)]
    for bones, along, back, side in way:
        for b in bones:
            d = directions[b]
            up = BACK - (BACK @ d) * d
            up /= np.linalg.norm(up)
            across = np.cross(d, up)
            growth[b] += along * np.outer(d, d) + back * np.outer(up, up) + side * np.outer(across, across)
    moved = np.zeros((16, 3))
    for i in range(15):
        joint, parent = 1 + i, 0 if i % 3 == 0 else i
        moved[joint] = moved[parent] + growth[parent] @ (places[joint] - places[parent])
    each = moved[None] + np.einsum("jxy,vjy->vjx", growth, vertices[:, None] - places[None])
    return np.asarray(np.einsum("vj,vjx->vx", weights, each))
