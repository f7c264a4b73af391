"""Meshes to pictures: projection, normals, one light, and colours per vertex."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int, UInt8
from numpy import ndarray

from hmr_core.render.raster import rasterise


@dataclass(frozen=True)
class RenderMesh:
    """What is drawn: corners in camera space (metres), faces counter-clockwise seen from outside, RGB 0..1 per vertex.

    two_sided: whether faces are seen from inside, too. Saves time where the inside never shows.
    """

    verts_m: Float64[ndarray, "v 3"]
    faces: Int[ndarray, "f 3"]
    colours: Float64[ndarray, "v 3"]
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
) -> UInt8[ndarray, "height width 3"]:
    """A copy of an RGB image with meshes drawn over it, hidden surfaces removed.

    light: the direction towards the light in camera space, any length. Surfaces seen from behind are lit as if their
    normal were turned round.
    """
    offsets = np.cumsum([0, *(len(m.verts_m) for m in meshes)])
    verts = np.concatenate([m.verts_m for m in meshes])
    faces = np.concatenate([m.faces + offset for m, offset in zip(meshes, offsets[:-1], strict=True)])
    colours = np.concatenate([m.colours for m in meshes])
    normals = vertex_normals(verts, faces)
    away = faces_away(verts, faces)
    two_sided = np.repeat([m.two_sided for m in meshes], [len(m.faces) for m in meshes])
    faces, away = faces[two_sided | ~away], away[two_sided | ~away]
    homogeneous = verts @ intrinsics.T
    in_front = homogeneous[:, 2:] > 1e-6
    verts_px = homogeneous[:, :2] / np.where(in_front, homogeneous[:, 2:], 1.0)
    found = rasterise(verts_px, verts[:, 2], faces, (image.shape[1], image.shape[0]))

    looks = np.concatenate([normals, colours], axis=1)
    corner = faces[found.face]
    normal, colour = np.split(sum(found.weights[:, k, None] * looks[corner[:, k]] for k in range(3)), 2, axis=1)
    normal *= np.where(away[found.face], -1.0, 1.0)[:, None]
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-30)
    towards = light / np.linalg.norm(light)
    brightness = ambient + (1 - ambient) * np.clip(normal @ towards, 0, 1)
    out = image.copy()
    out[found.rows, found.columns] = np.clip(255 * colour * brightness[:, None] + 0.5, 0, 255).astype(np.uint8)
    return out


def faces_away(verts: Float64[ndarray, "v 3"], faces: Int[ndarray, "f 3"]) -> Bool[ndarray, "f"]:
    """Whether the camera, at the origin, sees the inner side of each face."""
    corners = verts[faces]
    away: np.ndarray = (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) * corners[:, 0]).sum(
        1
    ) > 0
    return away
