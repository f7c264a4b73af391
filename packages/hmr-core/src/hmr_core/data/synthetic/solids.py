"""Closed shapes with their meshes and signed distances: bodies of revolution and boxes, edges rounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

_AROUND = 24
"""Vertices of a ring."""

_LONGEST_M = 0.011
"""Longer steps along a profile or a box's side are cut, so that shades have vertices to vary between."""

_CELL_M, _MARGIN_M = 0.001, 0.02
"""The steps of a table of distances, and how far it goes beyond the shape."""


@runtime_checkable
class Solid(Protocol):
    """A shape about its own origin, metres."""

    @property
    def height_m(self) -> tuple[float, float]:
        """The lowest and the highest z."""
        ...

    def mesh(self, rings_m: Sequence[float] = ()) -> tuple[Float64[ndarray, "v 3"], Int64[ndarray, "f 3"]]:
        """A closed mesh, faces counter-clockwise seen from outside, with edges all around it at the z of rings_m."""
        ...

    def distance_m(self, points_m: Float64[ndarray, "*n 3"]) -> Float64[ndarray, "*n"]:
        """How far points are from the surface; negative inside."""
        ...


@dataclass(frozen=True)
class Turned:
    """A body of revolution about z. profile_m: (radius, z) with the matter to the left, that is upwards along the
    outside; from the axis to the axis, or a loop that does not touch it.
    """

    profile_m: Float64[ndarray, "p 2"]

    @property
    def height_m(self) -> tuple[float, float]:
        """The lowest and the highest z."""
        return float(self.profile_m[:, 1].min()), float(self.profile_m[:, 1].max())

    def mesh(self, rings_m: Sequence[float] = ()) -> tuple[Float64[ndarray, "v 3"], Int64[ndarray, "f 3"]]:
        """Rings of vertices, one for each point of the profile that is not on the axis, and those asked for."""
        profile = _divided(self.profile_m, rings_m)
        angle = 2 * np.pi * np.arange(_AROUND) / _AROUND
        verts: list[ndarray] = []
        rings: list[ndarray] = []
        count = 0
        for radius, z in profile:
            n = _AROUND if radius > 0 else 1
            turn = angle[:n]
            verts.append(np.stack([radius * np.cos(turn), radius * np.sin(turn), np.full(n, z)], axis=1))
            rings.append(count + np.arange(_AROUND) % n)
            count += n
        pairs = list(pairwise(rings))
        if profile[0, 0] > 0:
            pairs.append((rings[-1], rings[0]))
        faces = []
        for low, high in pairs:
            a, b, c, d = low, np.roll(low, -1), np.roll(high, -1), high
            faces += [np.stack([a, b, c], 1)] if len(set(low)) > 1 else []
            faces += [np.stack([a, c, d], 1)] if len(set(high)) > 1 else []
        return np.concatenate(verts), np.concatenate(faces)

    def distance_m(self, points_m: Float64[ndarray, "*n 3"]) -> Float64[ndarray, "*n"]:
        """From a table of the half plane, interpolated: within a fraction of a millimetre near the surface."""
        low, table = self._table
        rows, columns = table.shape
        radius = np.hypot(points_m[..., 0], points_m[..., 1])
        x, y = radius / _CELL_M, (points_m[..., 2] - low) / _CELL_M
        near_x, near_y = np.clip(x, 0, columns - 1.001), np.clip(y, 0, rows - 1.001)
        column, row = near_x.astype(np.int64), near_y.astype(np.int64)
        right, up = near_x - column, near_y - row
        flat, place = table.ravel(), row * columns + column
        below = flat[place] * (1 - right) + flat[place + 1] * right
        above = flat[place + columns] * (1 - right) + flat[place + columns + 1] * right
        beyond = _CELL_M * np.hypot(x - near_x, y - near_y)
        distance: ndarray = below * (1 - up) + above * up + beyond
        return distance

    @cached_property
    def _table(self) -> tuple[float, Float64[ndarray, "rows columns"]]:
        """The lowest z, and the exact distances of the half plane around the profile, a row for each z."""
        radius = np.arange(0, self.profile_m[:, 0].max() + _MARGIN_M, _CELL_M)
        z = np.arange(self.profile_m[:, 1].min() - _MARGIN_M, self.profile_m[:, 1].max() + _MARGIN_M, _CELL_M)
        return float(z[0]), self._exact(np.stack(np.meshgrid(radius, z), axis=-1))

    def _exact(self, at: Float64[ndarray, "rows columns 2"]) -> Float64[ndarray, "rows columns"]:
        """The distance to the profile in the half plane; crossings of a ray outwards tell inside from outside."""
        at = at[..., None, :]
        start = self.profile_m if self.profile_m[0, 0] > 0 else self.profile_m[:-1]
        end = np.roll(self.profile_m, -1, axis=0)[: len(start)]
        along = end - start
        share = np.clip(((at - start) * along).sum(-1) / (along**2).sum(-1), 0, 1)
        distance: ndarray = np.sqrt(((at - start - share[..., None] * along) ** 2).sum(-1).min(-1))
        crosses = (start[:, 1] > at[..., 1]) != (end[:, 1] > at[..., 1])
        rise = np.where(along[:, 1] == 0, 1.0, along[:, 1])
        where = start[:, 0] + (at[..., 1] - start[:, 1]) * along[:, 0] / rise
        inside = (crosses & (where > at[..., 0])).sum(-1) % 2 == 1
        return np.where(inside, -distance, distance)


@dataclass(frozen=True)
class RoundedBox:
    """A box with rounded edges: half its sides along x, y and z, and the radius of its edges."""

    half_m: tuple[float, float, float]
    radius_m: float

    @property
    def height_m(self) -> tuple[float, float]:
        """The lowest and the highest z."""
        return -self.half_m[2], self.half_m[2]

    def mesh(self, rings_m: Sequence[float] = ()) -> tuple[Float64[ndarray, "v 3"], Int64[ndarray, "f 3"]]:
        """A cube's grid, moved onto the surface."""
        core = np.array(self.half_m) - self.radius_m
        ticks = [_ticks(half, flat) for half, flat in zip(self.half_m, core.tolist(), strict=True)]
        ticks[2] = np.unique([*ticks[2], *rings_m])
        place: dict[tuple[int, int, int], int] = {}
        faces: list[tuple[int, int, int]] = []

        def vertex(axis: int, side: int, i: int, j: int) -> int:
            key = [0, 0, 0]
            key[axis], key[(axis + 1) % 3], key[(axis + 2) % 3] = side, i, j
            return place.setdefault((key[0], key[1], key[2]), len(place))

        for axis in range(3):
            n, wide, high = (len(ticks[(axis + k) % 3]) for k in range(3))
            for side in (0, n - 1):
                for i in range(wide - 1):
                    for j in range(high - 1):
                        quad = [vertex(axis, side, *at) for at in ((i, j), (i + 1, j), (i + 1, j + 1), (i, j + 1))]
                        a, b, c, d = quad if side else quad[::-1]
                        faces += [(a, b, c), (a, c, d)]
        cube = np.stack([of[at] for of, at in zip(ticks, np.array(list(place)).T, strict=True)], axis=1)
        middle = np.clip(cube, -core, core)
        out = cube - middle
        verts = middle + self.radius_m * out / np.linalg.norm(out, axis=1, keepdims=True)
        return verts, np.array(faces)

    def distance_m(self, points_m: Float64[ndarray, "*n 3"]) -> Float64[ndarray, "*n"]:
        """Exact."""
        beyond = np.abs(points_m) - (np.array(self.half_m) - self.radius_m)
        outside = np.linalg.norm(np.maximum(beyond, 0), axis=-1)
        distance: ndarray = outside + np.minimum(beyond.max(-1), 0) - self.radius_m
        return distance


def _ticks(half: float, flat: float) -> Float64[ndarray, "t"]:
    """Where a box's grid divides an axis: at its ends, where the flat part ends, and in steps between."""
    return np.array([-half, *np.linspace(-flat, flat, _pieces(2 * flat) + 1), half])


def _pieces(length_m: float) -> int:
    """Into how many steps a length is cut."""
    return int(np.ceil(length_m / _LONGEST_M))


def _divided(profile: Float64[ndarray, "p 2"], heights: Sequence[float]) -> Float64[ndarray, "q 2"]:
    """A profile with points added where it crosses heights."""
    loop = profile[0, 0] > 0
    points: list[ndarray] = []
    for start, end in pairwise([*profile, profile[0]] if loop else profile):
        points.append(start)
        rise = end[1] - start[1]
        crossed = [(z - start[1]) / rise for z in heights if min(start[1], end[1]) < z < max(start[1], end[1])]
        points += [start + share * (end - start) for share in sorted(crossed)]
    return np.array(points if loop else [*points, profile[-1]])


def rounded(corners_m: list[tuple[float, float]], radius_m: float, *, loop: bool = False) -> Float64[ndarray, "p 2"]:
    """A profile: a line through corners, these rounded and long steps cut. A loop goes back to its first corner."""
    corners = np.array(corners_m)
    last = len(corners) - 1
    line: list[ndarray] = []
    for i, corner in enumerate(corners):
        if not loop and i in (0, last):
            line.append(corner)
            continue
        before, after = corners[i - 1], corners[(i + 1) % (last + 1)]
        ends = []
        for other in (before, after):
            length = np.linalg.norm(other - corner)
            ends.append(corner + (other - corner) * min(radius_m / length, 0.45))
        line += [ends[0], (ends[0] + 2 * corner + ends[1]) / 4, ends[1]]
    steps = list(zip(line, [*line[1:], line[0]] if loop else line[1:], strict=False))
    points: list[ndarray] = []
    for start, end in steps:
        pieces = _pieces(float(np.linalg.norm(end - start)))
        points += [start + (end - start) * k / pieces for k in range(pieces)]
    if not loop:
        points.append(line[-1])
    return np.array(points)


def sphere_profile(radius_m: float, *, stretch: float = 1.0, steps: int = 12) -> Float64[ndarray, "p 2"]:
    """A ball's, or an egg's whose length is `stretch` times its width."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, steps + 1)
    radius = radius_m * np.cos(angle)
    radius[[0, -1]] = 0
    return np.stack([radius, stretch * radius_m * np.sin(angle)], axis=1)
