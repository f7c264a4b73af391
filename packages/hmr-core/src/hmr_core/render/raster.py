"""A z-buffered triangle rasteriser in numpy.

Pixel centres are at integer coordinates, as in OpenCV: a point projected to (3, 2) lies in the middle of column 3, row
2, and a pixel belongs to a triangle when its centre does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int, Int64
from numpy import ndarray

_EDGE = 1e-9
"""How far outside a triangle, in weight, a pixel centre still counts: rounding must leave no gap between neighbours."""

_CANDIDATES_AT_ONCE = 4_000_000
"""So many (triangle, pixel) pairs are looked at together, to bound the memory."""


@dataclass(frozen=True)
class Fragments:
    """The covered pixels of an image, in no particular order.

    rows, columns: the pixel. face: the nearest triangle there. weights: of its three corners at the pixel, in 3D
    (perspective already undone), sums to 1. depth_m: of the surface there.
    """

    rows: Int64[ndarray, "n"]
    columns: Int64[ndarray, "n"]
    face: Int64[ndarray, "n"]
    weights: Float64[ndarray, "n 3"]
    depth_m: Float64[ndarray, "n"]


class Triangles:
    """Projected triangles, ready to be looked at from the camera.

    verts_px: projected corners; depth_m: their camera-space z; size: the image's (width, height). Triangles with a
    corner at or behind the camera plane are left out; both sides of a triangle are drawn.
    """

    def __init__(
        self,
        verts_px: Float64[ndarray, "v 2"],
        depth_m: Float64[ndarray, "v"],
        faces: Int[ndarray, "f 3"],
        size: tuple[int, int],
    ) -> None:
        self._size = width, height = size
        corners = verts_px[faces]
        low = np.ceil(corners.min(1)).clip(0)
        high = np.floor(corners.max(1)).clip(max=(width - 1, height - 1))
        self._columns, self._rows = (high - low + 1).clip(0).T.astype(np.int64)
        area = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        visible = (depth_m[faces] > 1e-6).all(1) & (np.abs(area) > 1e-12) & (self._columns > 0) & (self._rows > 0)
        self._drawn = np.flatnonzero(visible)
        self._corner_x, self._corner_y = low.T.astype(np.int64)
        # In the image the weights of corners 1 and 2, and 1 / depth, are linear: value = plane . (1, x, y), relative to
        # the box's corner.
        self._inverse = (1.0 / np.where(depth_m > 1e-6, depth_m, 1.0))[faces]
        self._planes = _planes(corners - low[:, None], np.where(visible, area, 1.0), self._inverse)

    def nearest(self) -> tuple[Int64[ndarray, "height width"], Float64[ndarray, "height width"]]:
        """The nearest triangle of each pixel, -1 for none, and 1 / depth there, 0 for none."""
        width, height = self._size
        nearest = np.zeros(width * height)
        owner = np.full(width * height, -1, dtype=np.int64)
        counts = (self._columns * self._rows)[self._drawn]
        cuts = np.flatnonzero(np.diff(np.cumsum(counts) // _CANDIDATES_AT_ONCE)) + 1
        for part in np.split(self._drawn, cuts):
            tri, y, first, n = _spans(self._planes, part, self._columns, self._rows)
            slope = self._planes[tri, 2, 1]
            start = self._planes[tri, 2, 0] + self._planes[tri, 2, 2] * y + slope * first
            pixel_start = (y + self._corner_y[tri]) * width + first + self._corner_x[tri]
            before = np.cumsum(n) - n
            run = np.repeat(np.arange(len(n)), n)
            step = np.arange(len(run))
            closeness = (start - slope * before)[run] + slope[run] * step
            pixel = (pixel_start - before)[run] + step
            np.maximum.at(nearest, pixel, closeness)
            wins = np.flatnonzero(closeness == nearest[pixel])
            owner[pixel[wins]] = tri[run[wins]]
        return owner.reshape(height, width), nearest.reshape(height, width)

    def at(
        self, face: Int64[ndarray, "n"], x: Float64[ndarray, "n"], y: Float64[ndarray, "n"]
    ) -> tuple[Float64[ndarray, "n 3"], Float64[ndarray, "n"]]:
        """The weights of triangles' corners in 3D, and the depth, at places of the image (column, row)."""
        dx, dy = x - self._corner_x[face], y - self._corner_y[face]
        planes = self._planes[face, :2]
        w1, w2 = (planes[:, k, 0] + planes[:, k, 1] * dx + planes[:, k, 2] * dy for k in (0, 1))
        w = np.stack([1 - w1 - w2, w1, w2], axis=1) * self._inverse[face]
        total = w.sum(1)
        return w / total[:, None], 1.0 / total


def rasterise(
    verts_px: Float64[ndarray, "v 2"],
    depth_m: Float64[ndarray, "v"],
    faces: Int[ndarray, "f 3"],
    size: tuple[int, int],
) -> Fragments:
    """Find the nearest triangle of every pixel of a (width, height) image; see Triangles.

    Where two triangles share an edge, a pixel centre exactly on it is drawn by at least one.
    """
    triangles = Triangles(verts_px, depth_m, faces, size)
    owner, _ = triangles.nearest()
    rows, columns = np.nonzero(owner >= 0)
    face = owner[rows, columns]
    weights, depth = triangles.at(face, columns.astype(np.float64), rows.astype(np.float64))
    return Fragments(rows=rows, columns=columns, face=face, weights=weights, depth_m=depth)


def _cross(u: Float64[ndarray, "n 2"], v: Float64[ndarray, "n 2"]) -> Float64[ndarray, "n"]:
    cross: np.ndarray = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    return cross


def _planes(
    corners: Float64[ndarray, "f 3 2"], area: Float64[ndarray, "f"], values: Float64[ndarray, "f 3"]
) -> Float64[ndarray, "f 3 3"]:
    """The linear functions (constant, per column, per row) of corner 1's and 2's barycentric weights and of `values`.

    The weights are non-negative inside whichever way the triangle turns, because the area has a sign.
    """
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    ab, ac = (b - a) / area[:, None], (c - a) / area[:, None]
    first = np.stack([a[:, 1] * ac[:, 0] - a[:, 0] * ac[:, 1], ac[:, 1], -ac[:, 0]], axis=1)
    second = np.stack([a[:, 0] * ab[:, 1] - a[:, 1] * ab[:, 0], -ab[:, 1], ab[:, 0]], axis=1)
    third = values[:, 1:2] * first + values[:, 2:3] * second - values[:, :1] * (first + second)
    third[:, 0] += values[:, 0]
    return np.stack([first, second, third], axis=1)


def _spans(
    planes: Float64[ndarray, "f 3 3"],
    part: Int64[ndarray, "p"],
    columns: Int64[ndarray, "f"],
    rows: Int64[ndarray, "f"],
) -> tuple[Int64[ndarray, "s"], Int64[ndarray, "s"], Int64[ndarray, "s"], Int64[ndarray, "s"]]:
    """The pixels of some triangles row by row: for each run its triangle, its row and first column, relative to the
    triangle's box, and its length, at least one.
    """
    n = rows[part]
    tri = np.repeat(part, n)
    y = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
    left, right = np.zeros(len(tri)), (columns[tri] - 1).astype(np.float64)
    weights = planes[:, :2]
    weights = np.concatenate([weights, np.array([1.0, 0, 0]) - weights.sum(1, keepdims=True)], axis=1)
    for k in range(3):
        constant, slope, per_row = (weights[:, k, i] for i in range(3))
        flat = slope == 0
        safe = -1 / np.where(flat, 1.0, slope)
        # The weight is not negative where constant + per_row y + slope x >= 0.
        here = (constant + _EDGE)[tri] + per_row[tri] * y
        crossing = here * safe[tri]
        np.maximum(left, crossing, out=left, where=(slope > 0)[tri])
        np.minimum(right, crossing, out=right, where=(slope < 0)[tri])
        if flat[part].any():
            right[flat[tri] & (here < 0)] = -1
    first = np.ceil(left)
    length = np.floor(right) - first + 1
    some = np.flatnonzero(length > 0)
    return tri[some], y[some], first[some].astype(np.int64), length[some].astype(np.int64)
