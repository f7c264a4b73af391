"""What lies below the hands: a desk top with its pattern, its edge and things on it, seen from above."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8
from numpy import ndarray

SIDE_PX = 1024
PIXEL_M = 0.00175
"""So large is a pixel of the desk's picture; in pictures of the desk they are finer, so it is a little out of focus."""

_Field = Float32[ndarray, "side side"]


class Desk(NamedTuple):
    """A desk top from above, RGB, and its edge: the desk ends where the product of a pixel's place and out is reach."""

    picture: UInt8[ndarray, "side side 3"]
    out: Float64[ndarray, "2"]
    reach: float

    def room_m(self, place_px: Float64[ndarray, "2"]) -> float:
        """How far a place is from the edge; negative beyond it."""
        return PIXEL_M * float(self.reach - place_px @ self.out)


def paint_desk(generator: np.random.Generator) -> Desk:
    """A desk top with things on it."""
    patterns: tuple[Callable[[np.random.Generator], ndarray], ...] = (_wood, _cloth, _plain, _checks, _wood)
    canvas = patterns[int(generator.integers(len(patterns)))](generator)
    canvas = np.clip(canvas, 0, 255).astype(np.uint8)
    _lay_mat(canvas, generator)
    for _ in range(int(generator.integers(14, 30))):
        _lay_thing(canvas, generator)
    out, reach = _cut_edge(canvas, generator)
    return Desk(np.asarray(cv2.GaussianBlur(canvas, (3, 3), 0.9), dtype=np.uint8), out, reach)


def _base(generator: np.random.Generator) -> ndarray:
    """A colour as desks and cloths have: any hue, seldom a strong one."""
    value = generator.uniform(50, 205)
    hue = generator.normal(0, 1, 3)
    colour: ndarray = np.clip(value + generator.uniform(5, 45) * (hue - hue.mean()), 15, 240)
    return colour


def _field(generator: np.random.Generator, cells_x: int, cells_y: int) -> _Field:
    """Smooth noise of standard deviation about 1, with so many cells over the desk."""
    coarse = generator.standard_normal((cells_y, cells_x)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC), dtype=np.float32)


def _coloured(field: _Field, base: ndarray, tint: ndarray) -> ndarray:
    """A colour that goes with a field: a channel after the other, as NumPy is slow over three numbers at a time."""
    base, tint = base.astype(np.float32), tint.astype(np.float32)
    return np.asarray(cv2.merge([base[c] + field * tint[c] for c in range(3)]))


def _wood(generator: np.random.Generator) -> ndarray:
    base = np.array([150.0, 108, 70]) * generator.uniform(0.45, 1.35) + generator.normal(0, 8, 3)
    warp = _field(generator, 4, 6)
    y = np.linspace(0, 1, SIDE_PX, dtype=np.float32)[:, None]
    rings = np.sin((y * generator.uniform(25, 70) + warp * generator.uniform(0.6, 1.6)) * 2 * np.float32(np.pi))
    field = 0.5 * rings + 0.5 * _field(generator, 12, 256) + 0.5 * warp
    plank = ((y * generator.uniform(4, 9)) % 1 < 0.012).astype(np.float32)
    return _coloured(field - 4 * plank, base, base * generator.uniform(0.07, 0.14))


def _plain(generator: np.random.Generator) -> ndarray:
    base = _base(generator)
    field = 0.6 * _field(generator, 5, 5) + 0.5 * _field(generator, 300, 300)
    return _coloured(field, base, base * generator.uniform(0.04, 0.10))


def _cloth(generator: np.random.Generator) -> ndarray:
    base, other = _base(generator), _base(generator)
    at = np.arange(SIDE_PX, dtype=np.float32)
    period = generator.uniform(12, 60)
    wave = _field(generator, 5, 5) * 4
    stripes = ((at[None, :] + wave) % period < period * generator.uniform(0.2, 0.6)).astype(np.float32)
    stripes = np.asarray(cv2.GaussianBlur(stripes, (5, 5), 0), dtype=np.float32)
    folds = _field(generator, 7, 4)
    return _coloured(stripes, base, other - base) * cv2.merge([1 + np.float32(0.10) * folds] * 3)


def _checks(generator: np.random.Generator) -> ndarray:
    base, other = _base(generator), _base(generator)
    at = np.arange(SIDE_PX, dtype=np.float32)
    period = generator.uniform(20, 87)
    wave_x, wave_y = (4 * _field(generator, 5, 5) for _ in range(2))
    band = ((at[None, :] + wave_x) % period < period / 2).astype(np.float32)
    band += (at[:, None] + wave_y) % period < period / 2
    band = np.asarray(cv2.GaussianBlur(band, (3, 3), 0), dtype=np.float32) / 2
    weave = 3 * _field(generator, 512, 512)
    return _coloured(band, base, other - base) + cv2.merge([weave] * 3)


def _lay_mat(canvas: ndarray, generator: np.random.Generator) -> None:
    """A large sheet that covers a part of the desk."""
    if generator.uniform() < 0.5:
        _fill(canvas, _box(generator, 0.25, 0.5), _base(generator), generator)


def _lay_thing(canvas: ndarray, generator: np.random.Generator) -> None:
    """A sheet of paper with lines, a book, a round thing, a pen or a cable."""
    kind = int(generator.integers(5))
    colour = _base(generator)
    if kind == 0:
        corners = _box(generator, 0.05, 0.12)
        paper = np.clip(generator.uniform(190, 245) + generator.normal(0, 6, 3), 0, 250)
        _fill(canvas, corners, paper, generator)
        for share in np.linspace(0.12, 0.9, int(generator.integers(5, 14))):
            a, b = (corners[i] + (corners[j] - corners[i]) * share for i, j in ((0, 3), (1, 2)))
            end = a + (b - a) * generator.uniform(0.5, 0.92)
            cv2.line(canvas, _point(a + (b - a) * 0.08), _point(end), _rgb(paper * 0.55), 1, cv2.LINE_AA)
    elif kind == 1:
        corners = _box(generator, 0.03, 0.09)
        _fill(canvas, corners, colour, generator)
        inner = corners.mean(0) + 0.75 * (corners - corners.mean(0))
        cv2.polylines(canvas, [inner.astype(np.int32)], True, _rgb(_base(generator)), 2, cv2.LINE_AA)
    elif kind == 2:
        centre, radius = generator.uniform(0, SIDE_PX, 2), generator.uniform(0.012, 0.05) * SIDE_PX
        turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        _fill(canvas, centre + radius * ring, colour, generator)
        _fill(canvas, centre + 0.7 * radius * ring, _base(generator), generator, shadow=False)
    elif kind == 3:
        start, angle = generator.uniform(0, SIDE_PX, 2), generator.uniform(0, 2 * np.pi)
        end = start + generator.uniform(0.05, 0.11) * SIDE_PX * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(canvas, _point(start + 3), _point(end + 3), _rgb(colour * 0.4), 6, cv2.LINE_AA)
        cv2.line(canvas, _point(start), _point(end), _rgb(colour), 5, cv2.LINE_AA)
    else:
        steps = np.cumsum(generator.normal(0, 0.02 * SIDE_PX, (60, 2)).cumsum(0) * 0.2, axis=0)
        line = (generator.uniform(0, SIDE_PX, 2) + steps).astype(np.int32)
        cv2.polylines(canvas, [line + 2], False, _rgb(colour * 0.3), 4, cv2.LINE_AA)
        cv2.polylines(canvas, [line], False, _rgb(colour * 0.6), 3, cv2.LINE_AA)


def _cut_edge(canvas: ndarray, generator: np.random.Generator) -> tuple[Float64[ndarray, "2"], float]:
    """The desk's edge and the floor beyond it, on one side; as Desk has it."""
    turn = generator.uniform(0, 2 * np.pi)
    out = np.array([np.cos(turn), np.sin(turn)])
    along = np.array([-out[1], out[0]])
    middle = SIDE_PX / 2 + out * generator.uniform(0.14, 0.4) * SIDE_PX
    floor = [middle - 2 * SIDE_PX * along, middle + 2 * SIDE_PX * along]
    floor += [floor[1] + 2 * SIDE_PX * out, floor[0] + 2 * SIDE_PX * out]
    colour = _base(generator) * generator.uniform(0.25, 0.8)
    rim = np.array(floor) - 12 * out
    cv2.fillConvexPoly(canvas, rim.astype(np.int32), _rgb(_base(generator)), cv2.LINE_AA)
    below = np.clip(_plain_like(colour, generator), 0, 255).astype(np.uint8)
    mask = np.zeros(canvas.shape[:2], np.uint8)
    cv2.fillConvexPoly(mask, np.array(floor).astype(np.int32), 255, cv2.LINE_AA)
    cv2.copyTo(cv2.GaussianBlur(below, (0, 0), 2.0), mask, canvas)
    return out, float(middle @ out)


def _plain_like(colour: ndarray, generator: np.random.Generator) -> ndarray:
    field = 0.8 * _field(generator, 9, 9) + 0.6 * _field(generator, 60, 60)
    return _coloured(field, colour, colour * 0.25)


def _box(generator: np.random.Generator, least: float, most: float) -> ndarray:
    """The corners of a turned rectangle; its half sides are shares of the desk's."""
    half = generator.uniform(least, most, 2) * SIDE_PX
    turn = generator.uniform(0, 2 * np.pi)
    axes = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    signs = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    corners: ndarray = generator.uniform(0, SIDE_PX, 2) + (signs * half) @ axes
    return corners


def _fill(
    canvas: ndarray, corners: ndarray, colour: ndarray, generator: np.random.Generator, *, shadow: bool = True
) -> None:
    if shadow:
        low = np.floor(corners.min(0) - 12).clip(0).astype(int)
        high = np.ceil(corners.max(0) + 20).clip(max=SIDE_PX).astype(int)
        if (high > low).all():
            part = canvas[low[1] : high[1], low[0] : high[0]]
            shade = np.full(part.shape, 255, np.uint8)
            cv2.fillConvexPoly(shade, (corners - low + 4).astype(np.int32), (110, 110, 110), cv2.LINE_AA)
            cv2.multiply(part, cv2.GaussianBlur(shade, (15, 15), 0), part, 1 / 255)
    cv2.fillConvexPoly(canvas, corners.astype(np.int32), _rgb(colour), cv2.LINE_AA)


def _rgb(colour: ndarray) -> tuple[int, int, int]:
    red, green, blue = (int(c) for c in np.clip(colour, 0, 255))
    return red, green, blue


def _point(at: ndarray) -> tuple[int, int]:
    return int(at[0]), int(at[1])
