"""Meshes over pictures: projection, normals, one light, and one colour for each mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float64, Int, UInt8
from numpy import ndarray

from hmr_core.render.layer import COSINES, Layer, Scene, draw_layer

_BAND_PIXELS = 600_000
"""So many pixels are drawn at once, to bound the memory: smooth edges take several for each."""


@dataclass(frozen=True)
class RenderMesh:
    """What is drawn: corners in camera space (metres), faces counter-clockwise seen from outside, and its RGB, 0..1.

    two_sided: whether faces are seen from inside, too. Saves time where the inside never shows.
    """

    verts_m: Float64[ndarray, "v 3"]
    faces: Int[ndarray, "f 3"]
    colour: Float64[ndarray, "3"]
    two_sided: bool = True


def vertex_normals(verts: Float64[ndarray, "v 3"], faces: Int[ndarray, "f 3"]) -> Float64[ndarray, "v 3"]:
    """Unit normals: the mean of the adjacent faces', weighted by their area; zero for a vertex without faces."""
    corners = np.ascontiguousarray(faces.T)  # number by number, which is quicker than point by point
    points = np.ascontiguousarray(verts.T)[:, corners]
    (x1, y1, z1), (x2, y2, z2) = (points[:, k] - points[:, 0] for k in (1, 2))
    face_normals = (y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2)
    normals = np.stack(
        [sum(np.bincount(corner, part, minlength=len(verts)) for corner in corners) for part in face_normals], axis=1
    )
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    unit: np.ndarray = normals / np.maximum(length, 1e-30)
    return unit


def draw(
    image: UInt8[ndarray, "height width 3"],
    meshes: Sequence[RenderMesh],
    intrinsics: Float64[ndarray, "3 3"],
    light: Float64[ndarray, "3"],
    ambient: float = 0.45,
    *,
    opacity: float = 1.0,
    supersampling: int = 1,
) -> UInt8[ndarray, "height width 3"]:
    """A copy of an RGB image with meshes drawn over it; see draw_onto."""
    out = image.copy()
    draw_onto(out, meshes, intrinsics, light, ambient, opacity=opacity, supersampling=supersampling)
    return out


def draw_onto(
    image: UInt8[ndarray, "height width 3"],
    meshes: Sequence[RenderMesh],
    intrinsics: Float64[ndarray, "3 3"],
    light: Float64[ndarray, "3"],
    ambient: float = 0.45,
    *,
    opacity: float = 1.0,
    supersampling: int = 1,
) -> None:
    """Draw meshes over an RGB image in place, hidden surfaces removed. The cost is that of the meshes' box in it.

    light: the direction towards the light in camera space, any length. Surfaces seen from behind are lit as if their
    normal were turned round. Faces with a corner behind the camera are left out. opacity: the meshes', 0..1.
    supersampling: pixels drawn for each pixel of the image and direction, where edges and creases are; 1 leaves these
    as they are.
    """
    scene = _scene(meshes, intrinsics, light, ambient)
    if not len(scene.faces):
        return
    corners = scene.verts_px[scene.faces.ravel()]
    size = image.shape[1::-1]
    # With a pixel around it, which edges reach.
    left, top = (int(at) for at in np.clip(np.floor(corners.min(0)) - 1, 0, size))
    right, bottom = (int(at) for at in np.clip(np.ceil(corners.max(0)) + 2, 0, size))
    if left >= right:
        return
    rows = max(1, _BAND_PIXELS // (right - left))
    for row in range(top, bottom, rows):
        end = min(row + rows, bottom)
        # What is an edge is told by the rows beside it, too.
        first, last = max(row - 1, top), min(end + 1, bottom)
        layer = draw_layer(scene.moved(-left, -first), (right - left, last - first), supersampling)
        _blend(image[row:end, left:right], layer, slice(row - first, end - first), opacity)


def _scene(
    meshes: Sequence[RenderMesh],
    intrinsics: Float64[ndarray, "3 3"],
    light: Float64[ndarray, "3"],
    ambient: float,
) -> Scene:
    """What a camera sees of meshes under a light."""
    offsets = np.cumsum([0, *(len(m.verts_m) for m in meshes)])
    verts = np.concatenate([m.verts_m for m in meshes])
    verts = np.where(np.isfinite(verts).all(1)[:, None], verts, 0.0)  # which is not before the camera
    faces = np.concatenate([m.faces + offset for m, offset in zip(meshes, offsets[:-1], strict=True)])
    owner = np.repeat(np.arange(len(meshes)), [len(m.faces) for m in meshes])
    normals, away = vertex_normals(verts, faces), faces_away(verts, faces)
    homogeneous = verts @ intrinsics.T
    depth_m = verts[:, 2]
    ahead = (homogeneous[:, 2] > 1e-6) & (depth_m > 1e-6)
    two_sided = np.array([m.two_sided for m in meshes], dtype=bool)
    drawn = ahead[faces].all(1) & (two_sided.take(owner) | ~away)
    cosines = normals @ (light / np.linalg.norm(light))
    brightness = ambient + (1 - ambient) * COSINES.clip(0, 1)
    colours = [255 * np.outer(brightness, m.colour) for m in meshes]
    looks = [np.column_stack([rgb, 64 + 191 / 255 * rgb.mean(1)]) + 0.5 for rgb in colours]
    return Scene(
        verts_px=homogeneous[:, :2] / np.where(ahead, homogeneous[:, 2], 1.0)[:, None],
        depth_m=depth_m,
        faces=faces[drawn],
        shading=np.column_stack([normals, cosines])
        * (depth_m[ahead].min(initial=1.0) / np.where(ahead, depth_m, 1.0))[:, None],
        sign=np.where(away[drawn], -1.0, 1.0),
        look=len(COSINES) * owner[drawn],
        colours=np.concatenate(looks).clip(0, 255).astype(np.uint8).view(np.uint32).ravel(),
    )


def _blend(image: UInt8[ndarray, "height width 3"], layer: Layer, rows: slice, opacity: float) -> None:
    """Put rows of a layer over a part of an image, in place. Four bytes to a pixel are moved together."""
    colours, rough = layer.colours[rows], layer.rough[rows]
    behind = cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)
    blended = cv2.copyTo(cv2.addWeighted(colours, opacity, behind, 1 - opacity, 0), colours[..., 3], behind.copy())
    edge = np.flatnonzero(rough)
    first = int(np.count_nonzero(layer.rough[: rows.start]))
    parts = layer.edges[first : first + len(edge)].astype(np.float32)
    before = behind.view(np.uint32).ravel().take(edge).view(np.uint8).reshape(-1, 4)
    mixed = opacity * parts + (1 - opacity / 255 * parts[:, 3:]) * before + np.float32(0.5)
    blended.view(np.uint32).reshape(-1)[edge] = mixed.astype(np.uint8).view(np.uint32).ravel()
    image[:] = cv2.cvtColor(blended, cv2.COLOR_RGBA2RGB)


def faces_away(verts: Float64[ndarray, "v 3"], faces: Int[ndarray, "f 3"]) -> Bool[ndarray, "f"]:
    """Whether the camera, at the origin, sees the inner side of each face."""
    corners = verts[faces]
    away: np.ndarray = (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) * corners[:, 0]).sum(
        1
    ) > 0
    return away
