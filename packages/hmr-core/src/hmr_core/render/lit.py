"""Surfaces under a lamp and a sky, drawn over an image with smooth edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int, UInt8
from numpy import ndarray

from hmr_core.render.raster import Triangles
from hmr_core.render.shading import faces_away

SUPERSAMPLING = 2
"""Pixels drawn for each pixel of the image and direction; their mean smooths the edges."""

_EVEN = 1.008
"""Where depths within a pixel differ by less than this factor, it shows one surface, without an edge."""

_GAMMA = 2.2
_ENCODE = np.round(255 * (np.arange(4096) / 4095) ** (1 / _GAMMA)).astype(np.uint8)
"""From linear light, in 4096 steps, to the values of a picture."""

_SOFT_RGB = (1.0, 0.55, 0.4)
"""How far each colour goes on under the skin, relative to red."""


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A closed surface: corners (metres) and unit normals in camera space, faces counter-clockwise from outside.

    colours: RGB in linear light, 0..1, per vertex. ambient, direct: the parts of the sky's and of the lamp's light that
    reach each vertex, 0..1. gloss: the strength of the sheen. softness: how far light goes on beyond the edge of the
    shade, as it does in skin; 0 for hard matter.
    """

    verts_m: Float64[ndarray, "v 3"]
    normals: Float64[ndarray, "v 3"]
    faces: Int[ndarray, "f 3"]
    colours: Float64[ndarray, "v 3"]
    ambient: Float64[ndarray, "v"]
    direct: Float64[ndarray, "v"]
    gloss: float = 0.0
    softness: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Lighting:
    """A lamp, and a sky above a ground. Directions are unit vectors in camera space, colours linear RGB.

    lamp: towards the lamp. up: towards the middle of the sky; what looks away from it gets the ground's light.
    """

    lamp: Float64[ndarray, "3"]
    lamp_rgb: Float64[ndarray, "3"]
    up: Float64[ndarray, "3"]
    sky_rgb: Float64[ndarray, "3"]
    ground_rgb: Float64[ndarray, "3"]


def to_linear(rgb: Float64[ndarray, "*n 3"]) -> Float64[ndarray, "*n 3"]:
    """Values of a picture, 0..1, to linear light."""
    linear: np.ndarray = np.clip(rgb, 0, 1) ** _GAMMA
    return linear


def draw_lit(
    image: UInt8[ndarray, "height width 3"],
    surfaces: Sequence[Surface],
    intrinsics: Float64[ndarray, "3 3"],
    lighting: Lighting,
) -> UInt8[ndarray, "height width 3"]:
    """A copy of an RGB image with surfaces over it, hidden parts removed, edges smoothed. What is inside is not drawn.

    intrinsics: pixels, pixel centres at integers.
    """
    offsets = np.cumsum([0, *(len(s.verts_m) for s in surfaces)])
    verts = np.concatenate([s.verts_m for s in surfaces])
    faces = np.concatenate([s.faces + offset for s, offset in zip(surfaces, offsets[:-1], strict=True)])
    owner = np.repeat(np.arange(len(surfaces)), [len(s.faces) for s in surfaces])
    seen = ~faces_away(verts, faces)
    faces, owner = faces[seen], owner[seen]
    projected = verts @ intrinsics.T
    in_front = projected[:, 2:] > 1e-6
    verts_px = projected[:, :2] / np.where(in_front, projected[:, 2:], 1.0)
    out = image.copy()
    used = verts_px[faces[in_front[faces, 0].all(1)]].reshape(-1, 2)
    if not len(used):
        return out
    left, top = (int(x) for x in np.clip(np.floor(used.min(0)), 0, (image.shape[1], image.shape[0])))
    right, bottom = (int(x) for x in np.clip(np.ceil(used.max(0)) + 1, 0, (image.shape[1], image.shape[0])))
    if left >= right or top >= bottom:
        return out

    # Pixel (x, y) becomes those from k x to k x + k - 1, whose middle is k x + (k - 1) / 2.
    k = SUPERSAMPLING
    region = out[top:bottom, left:right]
    height, width = region.shape[:2]
    fine_px = (verts_px - (left, top)) * k + (k - 1) / 2
    triangles = Triangles(fine_px, verts[:, 2], faces, (k * width, k * height))
    nearest, closeness = triangles.nearest()
    given = [np.column_stack([s.normals, s.colours, s.ambient, s.direct]) for s in surfaces]
    looks = triangles.field(np.concatenate(given).astype(np.float32))
    materials = np.array([[s.gloss, s.softness] for s in surfaces], dtype=np.float32).T[:, owner]

    def colours(face: ndarray, x: ndarray, y: ndarray) -> UInt8[ndarray, "n 3"]:
        return _shade(looks.at(face, x, y), materials.take(face, axis=1), lighting)

    # A pixel amid one smooth surface is looked at once, in its middle; others once for each fine pixel.
    parts = [(part_x, part_y) for part_y in range(k) for part_x in range(k)]
    fine = [nearest[part_y::k, part_x::k] for part_x, part_y in parts]
    covered = np.flatnonzero(np.maximum.reduce(fine).ravel() >= 0)
    y, x = np.divmod(covered, width)
    first = covered * k + y * ((k - 1) * k * width)  # among the fine pixels
    place = np.stack([first + (part_y * k * width + part_x) for part_x, part_y in parts])
    face, close = nearest.ravel().take(place), closeness.ravel().take(place)
    surface = np.where(face >= 0, owner.take(face, mode="clip"), -1)
    even = np.logical_and.reduce([surface[0] == other for other in surface[1:]])
    even &= np.maximum.reduce(list(close)) < _EVEN * np.minimum.reduce(list(close))
    pixels = region[y, x]
    middle = (k - 1) / 2
    whole = np.flatnonzero(even)
    pixels[whole] = colours(face[0].take(whole), k * x.take(whole) + middle, k * y.take(whole) + middle)
    rough = np.flatnonzero(~even)
    total = np.zeros((len(rough), 3), dtype=np.uint16)
    for (part_x, part_y), part in zip(parts, face[:, rough], strict=True):
        each = pixels[rough]
        there = np.flatnonzero(part >= 0)
        at = rough[there]
        each[there] = colours(part[there], k * x[at] + float(part_x), k * y[at] + float(part_y))
        total += each
    pixels[rough] = (total + k * k // 2) // (k * k)
    region[y, x] = pixels
    return out


def _shade(
    look: Float32[ndarray, "8 n"], materials: Float32[ndarray, "2 n"], lighting: Lighting
) -> UInt8[ndarray, "n 3"]:
    """The colours of places: their normals, colours, ambient and direct light; their gloss and softness."""
    normal, colour, ambient, direct = look[:3], look[3:6], look[6], look[7]
    half = lighting.lamp + np.array([0.0, 0.0, -1.0])  # between the lamp and the camera
    axes = np.stack([lighting.lamp, lighting.up, half / np.linalg.norm(half)]).astype(np.float32)
    cosines = axes @ normal
    cosines /= np.sqrt(np.einsum("xn,xn->n", normal, normal) + np.float32(1e-12))
    gloss, softness = materials
    above = 0.5 * ambient * (1 + cosines[1])
    below = ambient - above
    sheen = np.maximum(cosines[2], 0)
    for _ in range(4):
        sheen *= sheen
    sheen *= gloss * direct

    out = np.empty((look.shape[1], 3), dtype=np.uint8)
    for c in range(3):
        soft = softness * _SOFT_RGB[c]
        lit = (cosines[0] + soft) / (1 + soft)
        np.clip(lit, 0, 1, out=lit)
        lit *= direct
        lamp, sky, ground = (
            np.float32(4095 * x[c]) for x in (lighting.lamp_rgb, lighting.sky_rgb, lighting.ground_rgb)
        )
        light = (lit * lamp + above * sky + below * ground) * colour[c] + sheen * lamp
        out[:, c] = _ENCODE.take(light.astype(np.int32), mode="clip")
    return out
