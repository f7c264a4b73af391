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


def rasterise(
    verts_px: Float64[ndarray, "v 2"],
    depth_m: Float64[ndarray, "v"],
    faces: Int[ndarray, "f 3"],
    size: tuple[int, int],
) -> Fragments:
    """Find the nearest triangle of every pixel of a (width, height) image.

    verts_px: projected corners; depth_m: their camera-space z. Triangles with a corner at or behind the camera plane
    are left out; both sides of a triangle are drawn. Where two triangles share an edge, a pixel centre exactly on it is
    drawn by at least one.
    """
    width, height = size
    corners = verts_px[faces]
    low = np.ceil(corners.min(1)).clip(0)
    high = np.floor(corners.max(1)).clip(max=(width - 1, height - 1))
    columns, rows = (high - low + 1).clip(0).T.astype(np.int64)
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    area = _cross(b - a, c - a)
    visible = (depth_m[faces] > 1e-6).all(1) & (np.abs(area) > 1e-12) & (columns > 0) & (rows > 0)
    drawn = np.flatnonzero(visible)
    corner_x, corner_y = low.T.astype(np.int64)

    # In the image the weights of corners 1 and 2, and 1 / depth, are linear: value = plane . (1, x, y), relative to
    # the box's corner.
    inverse = 1.0 / np.where(depth_m > 1e-6, depth_m, 1.0)
    planes = _planes(corners - low[:, None], np.where(visible, area, 1.0), inverse[faces])
    nearest = np.zeros(width * height)  # 1 / z of what is seen; 0 for nothing
    owner = np.full(width * height, -1, dtype=np.int64)
    counts = (columns * rows)[drawn]
    for part in np.split(drawn, np.flatnonzero(np.diff(np.cumsum(counts) // _CANDIDATES_AT_ONCE)) + 1):
        n = columns[part] * rows[part]
        place = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        y, x = np.divmod(place, np.repeat(columns[part], n))
        w1, w2 = (_at(planes[part, k], x, y, n) for k in (0, 1))
        inside = np.flatnonzero((w1 >= -_EDGE) & (w2 >= -_EDGE) & (w1 + w2 <= 1 + _EDGE))
        tri = np.repeat(part, n)[inside]
        x, y = x[inside], y[inside]
        closeness = planes[tri, 2, 0] + planes[tri, 2, 1] * x + planes[tri, 2, 2] * y
        pixel = (y + corner_y[tri]) * width + x + corner_x[tri]
        np.maximum.at(nearest, pixel, closeness)
        wins = closeness == nearest[pixel]
        owner[pixel[wins]] = tri[wins]

    pixel = np.flatnonzero(owner >= 0)
    face = owner[pixel]
    y, x = np.divmod(pixel, width)
    dx, dy = x - corner_x[face], y - corner_y[face]
    w1, w2 = (planes[face, k, 0] + planes[face, k, 1] * dx + planes[face, k, 2] * dy for k in (0, 1))
    w = np.stack([1 - w1 - w2, w1, w2], axis=1) * inverse[faces[face]]
    total = w.sum(1)
    return Fragments(rows=y, columns=x, face=face, weights=w / total[:, None], depth_m=1.0 / total)


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


def _at(
    plane: Float64[ndarray, "f 3"], x: Int64[ndarray, "n"], y: Int64[ndarray, "n"], counts: Int64[ndarray, "f"]
) -> Float64[ndarray, "n"]:
    """Each triangle's linear function at its own `counts` pixels."""
    constant, per_column, per_row = (np.repeat(plane[:, k], counts) for k in range(3))
    values: np.ndarray = constant + per_column * x + per_row * y
    return values
