"""A z-buffered triangle rasteriser in numpy.

Pixel centres are at integer coordinates, as in OpenCV: a point projected to (3, 2) lies in the middle of column 3, row
2, and a pixel belongs to a triangle when its centre does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Int32, Int64
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
        self._faces = faces
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

    def nearest(self) -> tuple[Int32[ndarray, "height width"], Float32[ndarray, "height width"]]:
        """The nearest triangle of each pixel, -1 for none, and 1 / depth there, 0 for none."""
        width, height = self._size
        nearest = np.zeros(width * height, dtype=np.float32)
        owner = np.full(width * height, -1, dtype=np.int32)
        counts = (self._columns * self._rows)[self._drawn]
        cuts = np.flatnonzero(np.diff(np.cumsum(counts) // _CANDIDATES_AT_ONCE)) + 1
        for part in np.split(self._drawn, cuts):
            tri, y, first, n = _spans(self._planes, part, self._columns, self._rows)
            constant, per_column, per_row = self._planes[:, 2].T.take(tri, axis=1)
            start = constant + per_row * y + per_column * first
            pixel_start = (y + self._corner_y[tri]) * width + first + self._corner_x[tri]
            before = np.cumsum(n) - n
            step = np.arange(n.sum())
            closeness = np.repeat(start - per_column * before, n)
            closeness += np.repeat(per_column, n) * step
            closeness = closeness.astype(np.float32)
            step += np.repeat(pixel_start - before, n)
            np.maximum.at(nearest, step, closeness)
            wins = np.flatnonzero(closeness == nearest.take(step))
            owner[step.take(wins)] = np.repeat(tri.astype(np.int32), n).take(wins)
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

    def field(self, values: Float32[ndarray, "v c"]) -> Field:
        """Values of the vertices, to be looked up between them."""
        planes = self._planes[:, :2]
        first = np.array([1.0, 0, 0]) - planes.sum(1)
        weights = np.stack([first, planes[:, 0], planes[:, 1]], axis=1)
        weights *= self._inverse[..., None]
        given = np.concatenate([values, np.ones((len(values), 1), np.float32)], axis=1)[self._faces]
        table = np.einsum("fkp,fkc->pcf", weights, given, optimize=True)
        return Field(np.ascontiguousarray(table, dtype=np.float32), self._corner_x, self._corner_y)


@dataclass(frozen=True)
class Field:
    """What varies over triangles, in single precision. table: of each triangle the linear functions (constant, per
    column, per row) of its values divided by depth, and of 1 / depth; columns, rows: where its box begins.
    """

    table: Float32[ndarray, "3 c_1 f"]
    columns: Int64[ndarray, "f"]
    rows: Int64[ndarray, "f"]

    def at(
        self, face: Int[ndarray, "n"], x: Float64[ndarray, "n"], y: Float64[ndarray, "n"]
    ) -> Float32[ndarray, "c n"]:
        """The values at places of the image (column, row), perspective undone."""
        dx = (x - self.columns.take(face)).astype(np.float32)
        dy = (y - self.rows.take(face)).astype(np.float32)
        values = self.table[1].take(face, axis=1)
        values *= dx
        per_row = self.table[2].take(face, axis=1)
        per_row *= dy
        values += per_row
        values += self.table[0].take(face, axis=1)
        found: np.ndarray = values[:-1]
        found /= values[-1]
        return found


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
    face = owner[rows, columns].astype(np.int64)
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
    weights = planes[:, :2]
    weights = np.concatenate([weights, np.array([1.0, 0, 0]) - weights.sum(1, keepdims=True)], axis=1)
    # A weight is not negative where constant + slope x + per_row y >= 0: beyond a crossing where the slope is positive,
    # before it where it is negative. Each triangle has both kinds; where it has one of a kind, that is taken twice. A
    # level edge bounds rows alone, which the box does, too.
    slope = weights[..., 1]
    safe = np.where(slope == 0, 1.0, slope)
    crossing, per_row = -(weights[..., 0] + _EDGE) / safe, -weights[..., 2] / safe
    each = np.arange(len(planes))

    def bounds(kind: Bool[ndarray, "f 3"]) -> list[Float64[ndarray, "s"]]:
        edges = (kind.argmax(1), 2 - kind[:, ::-1].argmax(1))
        return [crossing[each, edge][tri] + per_row[each, edge][tri] * y for edge in edges]

    first = np.ceil(np.maximum(np.maximum(*bounds(slope > 0)), 0))
    length = np.floor(np.minimum(np.minimum(*bounds(slope < 0)), columns[tri] - 1)) - first + 1
    some = np.flatnonzero(length > 0)
    return tri[some], y[some], first[some].astype(np.int64), length[some].astype(np.int64)
