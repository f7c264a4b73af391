"""Surfaces under a lamp and a sky, drawn over an image with smooth edges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float64, Int, Int64, UInt8, UInt32
from numpy import ndarray

from hmr_core.render.raster import Spans, Triangles

SUPERSAMPLING = 2
"""Pixels drawn for each pixel of the image and direction; their mean smooths the edges."""

_STEP = 0.01
"""Where the depths of neighbours differ by a greater share, one is taken to lie behind the other."""

_GAMMA = 2.2
_BYTES = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 255]], dtype=np.uint8).view(np.uint32)
_ENCODE = _BYTES[:3] * np.round(255 * (np.arange(4096) / 4095) ** (1 / _GAMMA)).astype(np.uint32)
"""Of each colour, from linear light, in 4096 steps, to its byte of a pixel of a picture."""

_OPAQUE = _BYTES[3, 0]

_SOFT_RGB = np.array([1.0, 0.55, 0.4])
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
    image: UInt8[ndarray, "height width 4"],
    surfaces: Sequence[Surface],
    intrinsics: Float64[ndarray, "3 3"],
    lighting: Lighting,
    *,
    blur_px: float = 0.0,
) -> None:
    """Draw surfaces over an RGBA image, hidden parts removed, edges smoothed. What is inside of a surface is not drawn.

    The light is computed at the vertices. intrinsics: pixels, pixel centres at integers. What is drawn is opaque:
    (R, G, B, 255); four bytes to a pixel are moved together. blur_px: the standard deviation of the lens's blur, less
    than a pixel; the image is taken to be blurred already.
    """
    counts = [len(s.verts_m) for s in surfaces]
    verts = np.concatenate([s.verts_m for s in surfaces])
    faces = np.concatenate([s.faces + n for s, n in zip(surfaces, np.cumsum(counts) - counts, strict=True)])
    owner = np.repeat(np.arange(len(surfaces)), [len(s.faces) for s in surfaces])
    x_px, y_px, scale = intrinsics @ verts.T
    depth_m = verts[:, 2]
    ahead = depth_m > 1e-6
    scale = np.where(ahead, scale, 1.0)
    x_px, y_px = x_px / scale, y_px / scale
    corners = faces.T
    x, y = x_px.take(corners), y_px.take(corners)
    # Faces turn the other way in the image, whose y points down, where their outside is seen.
    outside = (x[1] - x[0]) * (y[2] - y[0]) < (y[1] - y[0]) * (x[2] - x[0])
    if not ahead.all():
        outside &= ahead[faces].all(1)
    seen = np.flatnonzero(outside)
    if not len(seen):
        return
    faces, owner, x, y = faces.take(seen, axis=0), owner.take(seen), x.take(seen, axis=1), y.take(seen, axis=1)
    # With a pixel around it, which edges and blur reach.
    left, right = (int(at) for at in np.clip([np.floor(x.min()) - 1, np.ceil(x.max()) + 2], 0, image.shape[1]))
    top, bottom = (int(at) for at in np.clip([np.floor(y.min()) - 1, np.ceil(y.max()) + 2], 0, image.shape[0]))
    if left >= right or top >= bottom:
        return
    width, height = right - left, bottom - top
    here_px = np.stack([x_px - left, y_px - top]).T
    light = _light(surfaces, lighting)
    behind = image[top:bottom, left:right].copy().view(np.uint32).ravel()
    pixels = behind.copy()
    triangles = Triangles(here_px, depth_m, faces, (width, height))
    spans = triangles.spans()
    keys, mask = triangles.nearest(spans)
    covered = np.flatnonzero(keys != 0)  # numpy looks through truth values eight times as fast as through integers
    span = keys.ravel().take(covered) & mask
    pixels[covered] = _look(triangles, spans, light, covered, span)

    # Where a pixel and one beside it show different surfaces, or parts of one that lie one behind the other.
    surface = np.zeros(len(pixels), np.uint8)
    surface[covered] = (1 + owner.astype(np.uint8))[spans.tri].take(span)
    rough = _unlike(surface.reshape(height, width), 0.0) | _unlike(keys.astype(np.float32), _STEP)
    near = faces[triangles.touching(rough)]
    edge, looks = _edges(behind, rough, here_px, depth_m, near, light)
    pixels[edge] = looks
    drawn = pixels.view(np.uint8).reshape(height, width, 4)
    region = image[top:bottom, left:right]
    if blur_px:
        shown = cv2.dilate(surface.reshape(height, width), np.ones((3, 3), np.uint8))
        cv2.copyTo(cv2.GaussianBlur(drawn, (3, 3), blur_px), shown, region)
    else:
        region[:] = drawn


def _edges(
    behind: UInt32[ndarray, "n"],
    rough: Bool[ndarray, "height width"],
    verts_px: Float64[ndarray, "v 2"],
    depth_m: Float64[ndarray, "v"],
    faces: Int[ndarray, "f 3"],
    light: Float64[ndarray, "v 3"],
) -> tuple[Int64[ndarray, "r"], UInt32[ndarray, "r"]]:
    """The places of the rough pixels, and these drawn finer over what is behind them: the means of their parts."""
    # Pixel (x, y) becomes those from k x to k x + k - 1, whose middle is k x + (k - 1) / 2.
    k, (height, width) = SUPERSAMPLING, rough.shape
    fine = Triangles(k * verts_px + (k - 1) / 2, depth_m, faces, (k * width, k * height))
    spans = _within(fine.spans(), rough, k)
    keys, mask = fine.nearest(spans)
    edge = np.flatnonzero(rough)
    first = k * edge + edge // width * ((k - 1) * k * width)
    parts = np.concatenate([first + (y * k * width + x) for y in range(k) for x in range(k)])
    key = keys.ravel().take(parts)
    there = np.flatnonzero(key != 0)
    looks = np.tile(behind.take(edge), k * k)
    looks[there] = _look(fine, spans, light, parts.take(there), key.take(there) & mask)
    total = looks.view(np.uint8).reshape(k * k, -1).sum(0, dtype=np.uint16)
    mean = ((total + k * k // 2) // (k * k)).astype(np.uint8).view(np.uint32)
    return edge, mean


def _within(spans: Spans, rough: Bool[ndarray, "height width"], k: int) -> Spans:
    """The spans, k times as fine as a mask, that have pixels in it."""
    held = cv2.integral(rough.astype(np.uint8))  # a row and a column more than the mask has
    row, column = np.divmod(spans.place, k * rough.shape[1])
    start = row // k * held.shape[1]
    stop = start + (column + spans.length - 1) // k + 1
    start += column // k
    below, above = held[1:].ravel(), held.ravel()
    some = np.flatnonzero(below.take(stop) - below.take(start) > above.take(stop) - above.take(start))
    return Spans(*(part[some] for part in spans))


def _unlike(values: ndarray, share: float) -> Bool[ndarray, "height width"]:
    """Where a value and its four neighbours differ by more than a share of it."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    most, least = cv2.dilate(values, cross), cv2.erode(values, cross)
    unlike: np.ndarray = most > least if share == 0 else most > (1 + share) * least
    return unlike


def _look(
    triangles: Triangles,
    spans: Spans,
    light: Float64[ndarray, "v 3"],
    place: Int64[ndarray, "n"],
    span: Int64[ndarray, "n"],
) -> UInt32[ndarray, "n"]:
    """Pixels (R, G, B, 255) at places in spans, given the light that comes from vertices."""
    start, per_column = triangles.values(spans, light.astype(np.float32))
    along = (place - spans.place.take(span)).astype(np.float32)
    packed = np.full(len(span), _OPAQUE, dtype=np.uint32)
    for c in range(3):
        value = per_column[c].take(span)
        value *= along
        value += start[c].take(span)
        packed |= _ENCODE[c].take(value.astype(np.int64), mode="clip")
    return packed


def _light(surfaces: Sequence[Surface], lighting: Lighting) -> Float64[ndarray, "v 3"]:
    """The light that comes from the vertices of all surfaces, in linear RGB, 0..4095."""
    normals = np.concatenate([s.normals for s in surfaces])
    colours = np.concatenate([s.colours for s in surfaces])
    ambient = np.concatenate([s.ambient for s in surfaces])
    direct = np.concatenate([s.direct for s in surfaces])
    counts = [len(s.verts_m) for s in surfaces]
    gloss = np.repeat([s.gloss for s in surfaces], counts)
    softness = np.repeat([s.softness for s in surfaces], counts)
    half = lighting.lamp + np.array([0.0, 0.0, -1.0])  # between the lamp and the camera
    to_lamp, up, to_half = np.stack([lighting.lamp, lighting.up, half / np.linalg.norm(half)]) @ normals.T
    above = 0.5 * ambient * (1 + up)
    below = ambient - above
    sheen = gloss * direct * np.maximum(to_half, 0) ** 16
    light = np.empty((3, len(normals)))
    for c in range(3):
        soft = _SOFT_RGB[c] * softness
        lit = ((to_lamp + soft) / (1 + soft)).clip(0, 1) * direct
        total = lit * lighting.lamp_rgb[c] + above * lighting.sky_rgb[c] + below * lighting.ground_rgb[c]
        light[c] = 4095 * (total * colours[:, c] + sheen * lighting.lamp_rgb[c])
    return light.T
