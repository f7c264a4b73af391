"""The hand as an implicit surface (a smooth union of tapered capsules), and marching tetrahedra over it."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from handmesh.skeleton import CUT_X, FINGERS, RADII, Array

Faces = NDArray[np.int64]


def _capsule(p: Array, a: Array, b: Array, ra: float, rb: float, flat: float = 1.0) -> Array:
    """Distance-like value of a capsule whose radius goes from ra to rb; `flat` > 1 makes it thinner along y."""
    ab = b - a
    t = np.clip(((p - a) @ ab) / (ab @ ab), 0.0, 1.0)
    offset = p - (a + t[:, None] * ab)
    offset[:, 1] *= flat
    value: Array = np.linalg.norm(offset, axis=1) - (ra + t * (rb - ra))
    return value


def _smooth_union(values: list[Array], k: float) -> Array:
    stacked = np.stack(values)
    low = stacked.min(0)
    union: Array = low - k * np.log(np.exp((low - stacked) / k).sum(0))
    return union


def finger_value(p: Array, name: str) -> Array:
    """Distance to a finger's surface, thumb with its metacarpal."""
    chain, radii = FINGERS[name], RADII[name]
    last = chain[3] - chain[2]
    end = chain[3] - last / np.linalg.norm(last) * radii[3]  # so that the surface ends at the tip
    points = [chain[0], chain[1], chain[2], end]
    parts = [_capsule(p, points[i], points[i + 1], radii[i], radii[i + 1]) for i in range(3)]
    return np.asarray(np.minimum.reduce(parts))


CARPUS = {
    "index": (84.0, 0.0, 11.0),
    "middle": (86.0, 1.0, 2.0),
    "ring": (86.0, 0.0, -7.0),
    "little": (84.0, -1.0, -14.0),
}
"""Where the metacarpals start."""


def _metacarpals(p: Array) -> list[Array]:
    ends = {name: np.array(start) for name, start in CARPUS.items()}
    return [_capsule(p, start, FINGERS[name][0], 13.0, RADII[name][0] + 0.6) for name, start in ends.items()]


def metacarpal_value(p: Array) -> Array:
    """Distance to the bones of the palm with their flesh, without the thumb's."""
    return np.asarray(np.minimum.reduce(_metacarpals(p)))


def _palm(p: Array) -> Array:
    thumb = FINGERS["thumb"]
    parts = _metacarpals(p)
    parts += [
        _capsule(p, thumb[0] + [-2, -1, -2], thumb[1], 14.0, 10.5),  # ball of the thumb
        _capsule(
            p, np.array([74.0, -6.0, -16.0]), np.array([30.0, -5.0, -31.0]), 13.0, 10.0
        ),  # ball of the little finger
        _capsule(p, np.array([30.0, -4.0, 26.0]), thumb[1] + [8, 3, -8], 9.0, 7.0, 1.4),  # web of the thumb
        _capsule(p, np.array([88.0, 0.0, 11.0]), np.array([140.0, 0.0, 10.0]), 17.0, 18.0),  # forearm
        _capsule(p, np.array([88.0, 0.0, -11.0]), np.array([140.0, 0.0, -10.0]), 17.0, 18.0),
    ]
    return _smooth_union(parts, 3.0)


def hand_value(p: Array) -> Array:
    """The implicit function at points (n, 3) in mm: negative inside; near the surface about the distance in mm."""
    return _smooth_union([_palm(p), *(finger_value(p, name) for name in FINGERS)], 1.7)


def gradient(p: Array, step: float = 1e-3) -> Array:
    """Central differences of the implicit function, (n, 3)."""
    columns = []
    for axis in np.eye(3):
        columns.append((hand_value(p + step * axis) - hand_value(p - step * axis)) / (2 * step))
    return np.stack(columns, axis=1)


def project_to_surface(p: Array, fixed_x: NDArray[np.bool_] | None = None, rounds: int = 6) -> Array:
    """Newton steps along the gradient; points in `fixed_x` keep their x (the border stays in its plane)."""
    p = p.copy()
    for _ in range(rounds):
        g = gradient(p)
        if fixed_x is not None:
            g[fixed_x, 0] = 0.0
        p -= np.clip(hand_value(p) / np.maximum((g * g).sum(1), 0.05), -4.0, 4.0)[:, None] * g
    return p


def march(spacing: float = 2.5) -> tuple[Array, Faces]:
    """Marching tetrahedra over a grid that ends at the cut: vertices (n, 3) mm and faces, open only in the plane of the
    cut.

    Each cube is cut into the six tetrahedra around its main diagonal (Kuhn's), which match across neighbours.
    """
    low, high = np.array([-112.0, -52.0, -75.0]), np.array([CUT_X, 34.0, 112.0])
    shape = np.ceil((high - low) / spacing).astype(int) + 1
    low[0] = high[0] - (shape[0] - 1) * spacing
    axes = [low[i] + spacing * np.arange(shape[i]) for i in range(3)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    values = hand_value(points)
    values[values == 0] = 1e-9

    stride = np.array([shape[1] * shape[2], shape[2], 1])
    corner = (np.stack(np.meshgrid(*[np.arange(n - 1) for n in shape], indexing="ij"), -1).reshape(-1, 3) * stride).sum(
        1
    )
    tets = []
    for order in itertools.permutations(range(3)):
        path = np.cumsum([0, *(stride[i] for i in order)])
        odd = np.linalg.det(np.eye(3)[list(order)]) < 0
        tets.append(corner[:, None] + (path[[0, 1, 3, 2]] if odd else path))
    tet = np.concatenate(tets)
    inside = values[tet] < 0
    count = inside.sum(1)

    triangles: list[NDArray[np.int64]] = []  # each corner is an edge of the grid (inside, outside)
    for chosen in (1, 2, 3):
        t, flags = tet[count == chosen], inside[count == chosen]
        # put the inside corners first, by an even permutation, so that the orientation survives
        for pattern in itertools.combinations(range(4), chosen):
            rows = t[(flags == np.isin(np.arange(4), pattern)).all(1)]
            corners = [*pattern, *(i for i in range(4) if i not in pattern)]
            if np.linalg.det(np.eye(4)[corners]) < 0:
                i, j = (0, 1) if chosen == 3 else (2, 3)
                corners[i], corners[j] = corners[j], corners[i]
            a, b, c, d = (rows[:, i] for i in corners)
            if chosen == 1:
                triangles.append(np.stack([a, b, a, c, a, d], 1))
            elif chosen == 3:
                triangles.append(np.stack([a, d, b, d, c, d], 1))
            else:
                triangles.append(np.stack([a, c, a, d, b, d], 1))
                triangles.append(np.stack([a, c, b, d, b, c], 1))
    edges = np.concatenate(triangles).reshape(-1, 2)
    unique, faces = np.unique(edges, axis=0, return_inverse=True)
    va, vb = values[unique[:, 0]], values[unique[:, 1]]
    t = np.clip(va / (va - vb), 0.05, 0.95)[:, None]
    vertices = points[unique[:, 0]] * (1 - t) + points[unique[:, 1]] * t
    faces = faces.reshape(-1, 3)
    first = vertices[faces]
    centre = first.mean(1)
    normal = np.cross(first[:, 1] - first[:, 0], first[:, 2] - first[:, 0])
    if np.median((normal * gradient(centre)).sum(1)) < 0:
        faces = faces[:, ::-1]
    return vertices, faces.astype(np.int64)
