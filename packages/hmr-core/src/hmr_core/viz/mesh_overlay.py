"""A hand's mesh, shaded, drawn over an image."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from hmr_core.geometry.camera import pixel_scaling
from hmr_core.render.shading import RenderMesh, draw

SUPERSAMPLING = 3
"""Pixels drawn for each pixel of the image and direction; their mean smooths the edges."""

OPACITY = 0.9
"""The mesh's; a little of the image below shows whether it lies where the hand does."""

COLOUR = (0.74, 0.86, 1.0)
LIGHT = (0.4, -0.6, -0.75)
"""From the upper right, before the hand: what bends away from it darkens, which tells the fingers apart."""


def draw_mesh(
    image: UInt8[ndarray, "height width 3"],
    verts_m: Float[ndarray, "v 3"],
    faces: Int[ndarray, "f 3"],
    intrinsics: Float[ndarray, "3 3"],
    *,
    supersampling: int = SUPERSAMPLING,
) -> UInt8[ndarray, "height width 3"]:
    """A copy of an RGB image with a mesh (metres, camera space) over it, edges smoothed; the rest stays as it is.

    intrinsics: of the image's camera, pixels, pixel centres at integers. What lies outside the image or behind the
    camera is left out, and so are faces that have shrunk to a line or a point. supersampling: pixels drawn for each
    pixel of the image and direction; 1 leaves the edges as they are.
    """
    k = supersampling
    large = image.repeat(k, axis=0).repeat(k, axis=1)
    scaled = pixel_scaling(float(k)) @ intrinsics.astype(np.float64)
    mesh = RenderMesh(
        verts_m=verts_m.astype(np.float64), faces=faces, colours=np.tile(np.array(COLOUR), (len(verts_m), 1))
    )
    drawn = draw(large, [mesh], scaled, np.array(LIGHT), ambient=0.2)
    blended = cv2.addWeighted(drawn, OPACITY, large, 1 - OPACITY, 0)
    small = cv2.resize(blended, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)
