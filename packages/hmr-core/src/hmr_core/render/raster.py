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
from jaxtyping import Bool, Float, Float64, Int, Int64
from numpy import ndarray

_EDGE_PX = 1e-7
"""How far outside a triangle a pixel centre still counts: rounding must leave no gap between neighbours."""

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
    """The pixels of triangles row by row. Of each run of pixels its triangle; how far to the right of the triangle's
    uppermost corner, and how far below it, its first pixel's centre is; its length, at least one; and the place of its
    first pixel among all of the image, row by row.
    """

    tri: Int64[ndarray, "s"]
    right_px: Float64[ndarray, "s"]
    down_px: Float64[ndarray, "s"]
    length: Int64[ndarray, "s"]
    place: Int64[ndarray, "s"]


class _Sides(NamedTuple):
    """Sides of triangles: the column, not whole, where each is on its first row, and what each row adds to it."""

    column: Float64[ndarray, "n"]
    lean: Float64[ndarray, "n"]


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
        self._size = size
        self._faces, self._verts_px = faces, verts_px
        ahead = depth_m > 1e-6
        self._inverse = 1.0 / np.where(ahead, depth_m, 1.0)
        # Corners from the uppermost to the lowest, in the order of the vertices' ranks: whole numbers are quick.
        x, y = np.ascontiguousarray(verts_px.T)
        by_height = np.argsort(y)
        rank = np.empty_like(by_height)
        rank[by_height] = np.arange(len(by_height))
        a, b, c = rank[faces.T]
        top, bottom = np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c)
        self._corners = by_height.take([top, a + b + c - top - bottom, bottom])
        self._x, self._y = x, y = x.take(self._corners), y.take(self._corners)
        (x1, x2), (y1, y2) = x[1:] - x[0], y[1:] - y[0]
        area = x1 * y2 - y1 * x2  # twice the triangle's, positive where the middle corner is on the right
        self._middle_right = area > 0
        self._drawn = np.abs(area) > 1e-12
        if not ahead.all():
            self._drawn &= ahead[faces].all(1)
        # What makes slopes over the image of a value's differences to the uppermost corner's.
        safe = np.where(self._drawn, area, 1.0)
        self._to_slopes = y2 / safe, -y1 / safe, -x2 / safe, x1 / safe

    def spans(self) -> Spans:
        """The pixels of all triangles."""
        width, _ = self._size
        rows, row, *sides = self._parts()
        part = np.repeat(np.arange(len(rows)), rows)
        below = np.arange(len(part)) - (np.cumsum(rows) - rows).take(part)
        left, right = (side.lean.take(part) * below + side.column.take(part) for side in sides)
        column, last = np.ceil(left.clip(0)), np.floor(right.clip(None, width - 1))
        some = np.flatnonzero(last >= column)
        column, last, part = column.take(some), last.take(some), part.take(some)
        row = row.take(part) + below.take(some)
        tri = np.tile(np.arange(len(self._drawn)), 2).take(part)
        return Spans(
            tri,
            column - self._x[0].take(tri),
            row - self._y[0].take(tri),
            (last - column).astype(np.int64) + 1,
            (row * width + column).astype(np.int64),
        )

    def _parts(self) -> tuple[Int64[ndarray, "n"], Float64[ndarray, "n"], _Sides, _Sides]:
        """The parts of all triangles above their middle corners, and then all those below: how many rows each has, the
        first of them, and its left and its right side.
        """
        x, y = self._x, self._y
        ends = np.stack([np.ceil(y[0]), np.ceil(y[1]), np.floor(y[2]) + 1]).clip(0, self._size[1])
        row, rows = ends[:2], (np.diff(ends, axis=0) * self._drawn).astype(np.int64)
        # On one side is the triangle's long edge, on the other a short one: another in each part.
        down = np.stack([y[1] - y[0], y[2] - y[1], y[2] - y[0]])
        lean = np.stack([x[1] - x[0], x[2] - x[1], x[2] - x[0]]) / np.where(down > 0, down, 1.0)
        short, short_lean = x[:2] + (row - y[:2]) * lean[:2], lean[:2]
        long, long_lean = x[0] + (row - y[0]) * lean[2], np.broadcast_to(lean[2], rows.shape)
        left, right = (
            _Sides(np.where(is_long, long, short).ravel(), np.where(is_long, long_lean, short_lean).ravel())
            for is_long in (self._middle_right, ~self._middle_right)
        )
        left.column[:] -= _EDGE_PX
        right.column[:] += _EDGE_PX
        return rows.ravel(), row.ravel(), left, right

    def nearest(self, spans: Spans) -> Nearest:
        """Which of these spans is seen at each pixel."""
        width, height = self._size
        keys = np.zeros(width * height, dtype=np.int64)
        count = len(spans.tri)
        bits = max(count - 1, 1).bit_length()
        # Depths as whole numbers with the span's number behind them: one comparison finds both.
        most = float(self._inverse.max(initial=1e-30))
        scale = 2.0 ** (61 - bits) / most
        start, slope = self._along(self._inverse.take(self._corners), spans)
        start = start.clip(0, most)
        first = (np.maximum(start * scale, 1.0).astype(np.int64) << bits) | np.arange(count)
        step = (slope.clip(-most, most) * scale).astype(np.int64) << bits
        ends = np.cumsum(spans.length)
        cuts = np.searchsorted(ends, np.arange(_CANDIDATES_AT_ONCE, ends[-1] if count else 0, _CANDIDATES_AT_ONCE))
        for low, high in pairwise([0, *cuts, count]):
            n, per_column = spans.length[low:high], step[low:high]
            before = np.cumsum(n) - n
            # Summed up: from pixel to pixel of a span by its step, and from a span's last one to the next one's first.
            start_key, key = first[low:high], np.repeat(per_column, n)
            key[before] = start_key - np.concatenate([[0], (start_key + per_column * (n - 1))[:-1]])
            np.cumsum(key, out=key)
            pixel = np.repeat(spans.place[low:high] - before, n)
            pixel += np.arange(len(pixel))
            np.maximum.at(keys, pixel, key)
        return Nearest(keys.reshape(height, width), (1 << bits) - 1)

    def at(
        self, face: Int64[ndarray, "n"], x: Float64[ndarray, "n"], y: Float64[ndarray, "n"]
    ) -> tuple[Float64[ndarray, "n 3"], Float64[ndarray, "n"]]:
        """The weights of triangles' corners in 3D, and the depth, at places of the image (column, row)."""
        corners = self._faces[face].T
        (ax, bx, cx), (ay, by, cy) = self._verts_px.T[:, corners] - np.stack([x, y])[:, None]
        areas = np.stack([bx * cy - by * cx, cx * ay - cy * ax, ax * by - ay * bx])
        w = areas * self._inverse[corners]
        return (w / w.sum(0)).T, areas.sum(0) / w.sum(0)

    def values(self, spans: Spans, given: Float[ndarray, "v c"]) -> tuple[Float[ndarray, "c s"], Float[ndarray, "c s"]]:
        """Values of the vertices as linear functions over the image, in their own precision: at the beginning of each
        span, and how they change per column. Perspective is left out: fit for triangles much smaller than their
        distance, and for values that were divided by the depth.
        """
        return self._along(given.T[:, self._corners], spans)

    def touching(self, mask: Bool[ndarray, "height width"]) -> Bool[ndarray, "f"]:
        """Which triangles may cover a part of the pixels in a mask: whose boxes, rounded up, hold one of them."""
        width, height = self._size
        held = cv2.integral(mask.astype(np.uint8)).ravel()
        x = np.stack([np.floor(self._x.min(0)), np.ceil(self._x.max(0)) + 1]).clip(0, width).astype(np.int64)
        y = np.stack([np.floor(self._y[0]), np.ceil(self._y[2]) + 1]).clip(0, height).astype(np.int64)
        (left, right), (above, below) = x, y * (width + 1)
        count = held[below + right] - held[below + left] - held[above + right] + held[above + left]
        touching: np.ndarray = count > 0
        return touching

    def _along(
        self, at_corners: Float[ndarray, "*c 3 f"], spans: Spans
    ) -> tuple[Float[ndarray, "*c s"], Float[ndarray, "*c s"]]:
        """A linear function of each triangle: at the beginnings of spans, and how it changes per column."""
        middle, lowest = at_corners[..., 1, :] - at_corners[..., 0, :], at_corners[..., 2, :] - at_corners[..., 0, :]
        a, b, c, d = (part.astype(at_corners.dtype) for part in self._to_slopes)
        per_column = (middle * a + lowest * b).take(spans.tri, axis=-1)
        start = at_corners[..., 0, :].take(spans.tri, axis=-1)
        start += per_column * spans.right_px.astype(start.dtype)
        start += (middle * c + lowest * d).take(spans.tri, axis=-1) * spans.down_px.astype(start.dtype)
        return start, per_column


def finer(verts_px: Float64[ndarray, "v 2"], k: int) -> Float64[ndarray, "v 2"]:
    """Where points lie when each pixel is cut into k x k: pixel x becomes those from k x to k x + k - 1."""
    return k * verts_px + (k - 1) / 2


def narrowed(spans: Spans, mask: Bool[ndarray, "height width"], k: int) -> Spans:
    """Spans, k times as fine as a mask, each cut to what is between the first and the last pixel of the mask that it
    touches; those that touch none are left out.
    """
    width = mask.shape[1]
    pixels = np.flatnonzero(mask)
    before = np.concatenate([[0], np.cumsum(mask)])  # so many pixels of the mask come before each place
    row, column = np.divmod(spans.place, k * width)
    last = column + spans.length - 1
    start = row // k * width
    low, high = before.take(start + column // k), before.take(start + last // k + 1)
    some = np.flatnonzero(high > low)
    tri, right, down, _, place = (part.take(some) for part in spans)
    start, column, last = start.take(some), column.take(some), last.take(some)
    begin = np.maximum(k * (pixels.take(low.take(some)) - start), column)
    end = np.minimum(k * (pixels.take(high.take(some) - 1) - start) + k - 1, last)
    return Spans(tri, right + (begin - column), down, end - begin + 1, place + (begin - column))


def parts_of(pixels: Int64[ndarray, "n"], width: int, k: int) -> Int64[ndarray, "parts"]:
    """The k x k parts of pixels of an image of this width, as places in the finer image: of all pixels the first, then
    of all the second, row by row.
    """
    first = k * pixels + pixels // width * ((k - 1) * k * width)
    return np.concatenate([first + (y * k * width + x) for y in range(k) for x in range(k)])


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
    rows, columns = np.nonzero(keys != 0)
    face = spans.tri[keys[rows, columns] & mask]
    weights, depth = triangles.at(face, columns.astype(np.float64), rows.astype(np.float64))
    return Fragments(rows=rows, columns=columns, face=face, weights=weights, depth_m=depth)
