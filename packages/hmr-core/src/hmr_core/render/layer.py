"""Shaded triangles as a layer over a picture: their colours, and how much of each pixel they cover."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Int, Int64, UInt8, UInt32
from numpy import ndarray

from hmr_core.render.raster import Spans, Triangles, finer, narrowed, parts_of

STEPS = 2048
"""Cosines are told apart in so many steps from -1 to 1: a colour is off by a quarter of a grey level at most."""

COSINES = np.linspace(-1, 1, STEPS + 1)
"""Of the angle between a normal and the light, for which tables have entries."""

_BEND = 4
"""By so many tones a pixel differs from the mean of its four neighbours, times four, where an edge or a crease is."""


_LARGE = 4
"""Pixels to a face from which on no face is seen between the middles of pixels alone, far from those that are seen."""

_WHOLE = np.array([0, 0, 0, 255], dtype=np.uint8).view(np.uint32)[0]


class Scene(NamedTuple):
    """Triangles in a camera's picture, all of them before the camera: corners in pixels and metres.

    shading: of each vertex its unit normal and that normal's cosine to the light, all divided by the depth (times any
    constant). So these are linear over the picture, and their ratios are those in space. sign: -1 for a face that is
    seen from behind. look: of each face, where its entries begin in the table of colours, which has one for each of
    COSINES. colours: bytes (R, G, B, tone); the tone, never 0, tells surfaces apart that do not look alike.
    """

    verts_px: Float64[ndarray, "v 2"]
    depth_m: Float64[ndarray, "v"]
    faces: Int[ndarray, "f 3"]
    shading: Float64[ndarray, "v 4"]
    sign: Float64[ndarray, "f"]
    look: Int64[ndarray, "f"]
    colours: UInt32[ndarray, "c"]

    def moved(self, x_px: int, y_px: int) -> Scene:
        """The scene in a part of the picture."""
        return self._replace(verts_px=self.verts_px + np.array([x_px, y_px]))

    def part(self, some: Bool[ndarray, "f"]) -> Scene:
        """Some of the faces."""
        return self._replace(faces=self.faces[some], sign=self.sign[some], look=self.look[some])


class Layer(NamedTuple):
    """A picture of a scene alone: colours (R, G, B, tone), and those of all pixels at edges and creases, in the order
    of np.flatnonzero(rough): RGB times what is covered of the pixel, and that share of 255.
    """

    colours: UInt8[ndarray, "height width 4"]
    rough: Bool[ndarray, "height width"]
    edges: UInt8[ndarray, "r 4"]


def draw_layer(scene: Scene, size: tuple[int, int], supersampling: int) -> Layer:
    """Draw a scene alone, (width, height) pixels; what is rough as the mean of supersampling x supersampling parts."""
    width, height = size
    triangles = Triangles(scene.verts_px, scene.depth_m, scene.faces, size)
    spans = triangles.spans()
    keys, mask = triangles.nearest(spans)
    covered = np.flatnonzero(keys != 0)  # numpy looks through truth values eight times as fast as through integers
    span = keys.ravel().take(covered) & mask
    layer = np.zeros(width * height, dtype=np.uint32)
    layer[covered] = _colours(scene, triangles, spans, covered, span)
    colours = layer.view(np.uint8).reshape(height, width, 4)
    if supersampling == 1:
        return Layer(colours, np.zeros((height, width), dtype=bool), np.zeros((0, 4), dtype=np.uint8))
    bend = cv2.Laplacian(cv2.extractChannel(colours, 3), cv2.CV_16S, borderType=cv2.BORDER_REPLICATE)
    rough = cv2.dilate((cv2.convertScaleAbs(bend) > _BEND).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    near = triangles.touching(rough)
    if len(covered) > _LARGE * len(scene.faces):
        near &= _may_show(scene, spans.tri, span)
    return Layer(colours, rough, _means(scene.part(near), rough, supersampling))


def _may_show(scene: Scene, tri: Int64[ndarray, "s"], span: Int64[ndarray, "n"]) -> Bool[ndarray, "f"]:
    """Which faces may be seen in parts of pixels, given the spans that are: of those that are seen from behind, most of
    which the front hides, the ones that are seen and their neighbours.
    """
    shown = np.zeros(len(tri), dtype=bool)
    shown[span] = True
    face = np.zeros(len(scene.faces), dtype=bool)
    face[tri[shown]] = True
    corner = np.zeros(len(scene.verts_px), dtype=bool)
    corner[scene.faces[face & (scene.sign < 0)]] = True
    may: np.ndarray = (scene.sign > 0) | corner[scene.faces].any(1)
    return may


def _means(scene: Scene, rough: Bool[ndarray, "height width"], k: int) -> UInt8[ndarray, "r 4"]:
    """The rough pixels, each the mean of its k x k parts, and what of 255 is covered."""
    height, width = rough.shape
    fine = Triangles(finer(scene.verts_px, k), scene.depth_m, scene.faces, (k * width, k * height))
    spans, edge = narrowed(fine.spans(), rough, k), np.flatnonzero(rough)
    keys, mask = fine.nearest(spans)
    parts = parts_of(edge, width, k)
    key = keys.ravel().take(parts)
    there = np.flatnonzero(key != 0)
    looks = np.zeros(len(parts), dtype=np.uint32)
    looks[there] = _colours(scene, fine, spans, parts.take(there), key.take(there) & mask) | _WHOLE
    total = np.full(4 * len(edge), k * k // 2, dtype=np.uint16)
    for part in looks.view(np.uint8).reshape(k * k, -1):
        total += part  # several times as fast as a sum over the first axis
    return (total // (k * k)).astype(np.uint8).reshape(-1, 4)


def _colours(
    scene: Scene, triangles: Triangles, spans: Spans, place: Int64[ndarray, "n"], span: Int64[ndarray, "n"]
) -> UInt32[ndarray, "n"]:
    """The colours of pixels at places in spans."""
    start, slope = triangles.values(spans, scene.shading)
    normal, turn = start[:3], slope[:3]
    sign = scene.sign.take(spans.tri)
    along = (place - spans.place.take(span)).astype(np.float32)
    towards = _polynomial(along, span, sign * start[3], sign * slope[3])
    square = _polynomial(along, span, (normal**2).sum(0), 2 * (normal * turn).sum(0), (turn**2).sum(0))
    towards /= np.sqrt(square.clip(1e-30))
    towards *= STEPS / 2
    towards += STEPS / 2 + 0.5
    entry = towards.clip(0, STEPS).astype(np.int64)
    if len(scene.colours) > len(COSINES):
        entry += scene.look.take(spans.tri).take(span)
    return scene.colours.take(entry)


def _polynomial(
    along: Float32[ndarray, "n"], span: Int64[ndarray, "n"], *coefficients: Float64[ndarray, "s"]
) -> Float32[ndarray, "n"]:
    """Polynomials of the column, with coefficients of spans, the constant first."""
    *lower, highest = (part.astype(np.float32) for part in coefficients)
    value: np.ndarray = highest.take(span)
    for part in reversed(lower):
        value *= along
        value += part.take(span)
    return value
