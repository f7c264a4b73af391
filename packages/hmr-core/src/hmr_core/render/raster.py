"""A z-buffered triangle rasteriser in numpy.

Pixel centres are at integer coordinates, as in OpenCV: a point projected to (3, 2) lies in the middle of column 3, row
2, and a pixel belongs to a triangle when its centre does.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int, Int64
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


class Spans(NamedTuple):
    """The pixels of triangles row by row. Of each run of pixels its triangle, its row and first column relative to the
    triangle's box, its length, at least one, and the place of its first pixel among all of the image, row by row.
    """

    tri: Int64[ndarray, "s"]
    row: Int64[ndarray, "s"]
    column: Int64[ndarray, "s"]
    length: Int64[ndarray, "s"]
    place: Int64[ndarray, "s"]


class Nearest(NamedTuple):
    """What is seen at each pixel of an image: the larger a key, the nearer; 0 where nothing is. The number of the span
    is in the lowest bits, all of which are set in mask.
    """

    keys: Int64[ndarray, "height width"]
    mask: int


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
        x, y = verts_px.T[:, faces.T]  # corner by corner, so that numbers that are used together lie together
        low_x, high_x = np.ceil(_least(x)).clip(0), np.floor(-_least(-x)).clip(max=width - 1)
        low_y, high_y = np.ceil(_least(y)).clip(0), np.floor(-_least(-y)).clip(max=height - 1)
        area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])
        ahead = depth_m > 1e-6
        visible = ahead[faces].all(1) & (np.abs(area) > 1e-12) & (high_x >= low_x) & (high_y >= low_y)
        self._drawn = np.flatnonzero(visible)
        self._columns, self._rows = (high_x - low_x + 1).astype(np.int64), (high_y - low_y + 1).astype(np.int64)
        self._corner_x, self._corner_y = low_x.astype(np.int64), low_y.astype(np.int64)
        # In the image the corners' weights, and 1 / depth, are linear: constant + per_column x + per_row y, relative to
        # the box's corner.
        self._inverse = (1.0 / np.where(ahead, depth_m, 1.0))[faces.T]
        self._weights = _weights(x - low_x, y - low_y, np.where(visible, area, 1.0))
        self._closeness = np.einsum("pkf,kf->pf", self._weights, self._inverse)

    def spans(self) -> Spans:
        """The pixels of all triangles."""
        n = self._rows[self._drawn]
        tri = np.repeat(self._drawn, n)
        row = np.arange(len(tri)) - np.repeat(np.cumsum(n) - n, n)
        # A weight is not negative where constant + slope x + per_row y >= 0: beyond a crossing where the slope is
        # positive, before it where it is negative. A level edge bounds rows alone, which the box does, too.
        constant, slope, per_row = self._weights
        safe = np.where(slope == 0, 1.0, slope)
        crossing, lean = -(constant + _EDGE) / safe, -per_row / safe
        first = np.zeros(len(tri))
        last = (self._columns - 1.0).take(tri)
        for k in range(3):
            at = lean[k].take(tri)
            at *= row
            at += crossing[k].take(tri)
            np.maximum(first, np.where((slope[k] > 0).take(tri), at, 0), out=first)
            np.minimum(last, np.where((slope[k] < 0).take(tri), at, last), out=last)
        column = np.ceil(first)
        length = np.floor(last) - column + 1
        some = np.flatnonzero(length > 0)
        tri, row, column = tri[some], row[some], column[some].astype(np.int64)
        place = (row + self._corner_y[tri]) * self._size[0] + column + self._corner_x[tri]
        return Spans(tri, row, column, length[some].astype(np.int64), place)

    def nearest(self, spans: Spans) -> Nearest:
        """Which of these spans is seen at each pixel."""
        width, height = self._size
        keys = np.zeros(width * height, dtype=np.int64)
        count = len(spans.tri)
        bits = max(count - 1, 1).bit_length()
        # Depths as whole numbers with the span's number behind them: one comparison finds both.
        most = float(self._inverse.max(initial=1e-30))
        scale = 2.0 ** (61 - bits) / most
        start = self._along(self._closeness, spans).clip(0, most)
        first = (np.maximum(start * scale, 1.0).astype(np.int64) << bits) | np.arange(count)
        step = (self._closeness[1].clip(-most, most) * scale).astype(np.int64)[spans.tri] << bits
        ends = np.cumsum(spans.length)
        cuts = np.searchsorted(ends, np.arange(_CANDIDATES_AT_ONCE, ends[-1] if count else 0, _CANDIDATES_AT_ONCE))
        for low, high in pairwise([0, *cuts, count]):
            part, n = slice(low, high), spans.length[low:high]
            before = np.cumsum(n) - n
            pixel = np.arange(n.sum())
            key = np.repeat(step[part], n)
            key *= pixel
            key += np.repeat(first[part] - step[part] * before, n)
            pixel += np.repeat(spans.place[part] - before, n)
            np.maximum.at(keys, pixel, key)
        return Nearest(keys.reshape(height, width), (1 << bits) - 1)

    def at(
        self, face: Int64[ndarray, "n"], x: Float64[ndarray, "n"], y: Float64[ndarray, "n"]
    ) -> tuple[Float64[ndarray, "n 3"], Float64[ndarray, "n"]]:
        """The weights of triangles' corners in 3D, and the depth, at places of the image (column, row)."""
        constant, per_column, per_row = self._weights[:, :, face]
        dx, dy = x - self._corner_x[face], y - self._corner_y[face]
        w = (constant + per_column * dx + per_row * dy) * self._inverse[:, face]
        total = w.sum(0)
        return (w / total).T, 1.0 / total

    def values(
        self, spans: Spans, given: Float64[ndarray, "v c"]
    ) -> tuple[Float32[ndarray, "c s"], Float32[ndarray, "c s"]]:
        """Values of the vertices as linear functions over the image: at the beginning of each span, and how they change
        per column. As perspective is left out, for triangles much smaller than their distance.
        """
        corners = given.T[:, self._faces.T]
        functions = sum(self._weights[:, None, k] * corners[:, k] for k in range(3)).astype(np.float32)
        return self._along(functions, spans), functions[1].take(spans.tri, axis=1)

    def touching(self, mask: Bool[ndarray, "height width"]) -> Bool[ndarray, "f"]:
        """Which triangles may cover a part of the pixels in a mask: whose boxes, rounded up, hold one of them."""
        width, height = self._size
        held = cv2.integral(mask.astype(np.uint8)).ravel()
        left, top = (self._corner_x - 1).clip(0, width), (self._corner_y - 1).clip(0, height)
        right = (self._corner_x + self._columns + 1).clip(0, width)
        bottom = (self._corner_y + self._rows + 1).clip(0, height)
        above, below = top * (width + 1), bottom * (width + 1)
        count = held[below + right] - held[below + left] - held[above + right] + held[above + left]
        touching: np.ndarray = count > 0
        return touching

    def _along(self, functions: Float[ndarray, "3 *c f"], spans: Spans) -> Float[ndarray, "*c s"]:
        """Linear functions of triangles at the beginnings of spans."""
        constant, per_column, per_row = functions.take(spans.tri, axis=-1)
        at = spans.column.astype(functions.dtype), spans.row.astype(functions.dtype)
        found: np.ndarray = constant + per_column * at[0] + per_row * at[1]
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
    spans = triangles.spans()
    keys, mask = triangles.nearest(spans)
    rows, columns = np.nonzero(keys)
    face = spans.tri[keys[rows, columns] & mask]
    weights, depth = triangles.at(face, columns.astype(np.float64), rows.astype(np.float64))
    return Fragments(rows=rows, columns=columns, face=face, weights=weights, depth_m=depth)


def _least(corners: Float64[ndarray, "3 f"]) -> Float64[ndarray, "f"]:
    least: np.ndarray = np.minimum(np.minimum(corners[0], corners[1]), corners[2])
    return least


def _weights(
    x: Float64[ndarray, "3 f"], y: Float64[ndarray, "3 f"], area: Float64[ndarray, "f"]
) -> Float64[ndarray, "3 3 f"]:
    """The corners' barycentric weights as linear functions: constant, per column and per row, of each corner.

    They are not negative inside whichever way the triangle turns, because the area has a sign.
    """
    weights = np.empty((3, 3, x.shape[1]))
    for k, (a, b) in enumerate([(1, 2), (2, 0), (0, 1)]):
        weights[0, k] = (x[a] * y[b] - y[a] * x[b]) / area
        weights[1, k] = (y[a] - y[b]) / area
        weights[2, k] = (x[b] - x[a]) / area
    return weights
