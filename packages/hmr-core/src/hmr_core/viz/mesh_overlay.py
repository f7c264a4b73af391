"""A hand's mesh, shaded, drawn over an image."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray

from hmr_core.render.shading import RenderMesh, draw_onto

SUPERSAMPLING = 3
"""Parts of each pixel at an edge, in each direction; their mean smooths it."""

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
) -> UInt8[ndarray, "height width 3"]:
    """A copy of an RGB image with a mesh over it; see draw_mesh_onto."""
    drawn = image.copy()
    draw_mesh_onto(drawn, verts_m, faces, intrinsics)
    return drawn


def draw_mesh_onto(
    image: UInt8[ndarray, "height width 3"],
    verts_m: Float[ndarray, "v 3"],
    faces: Int[ndarray, "f 3"],
    intrinsics: Float[ndarray, "3 3"],
) -> None:
    """Draw a mesh (metres, camera space) over an RGB image in place, edges smoothed; the rest stays as it is.

    intrinsics: of the image's camera, pixels, pixel centres at integers. What lies outside the image or behind the
    camera is left out, and so are faces that have shrunk to a line or a point.
    """
    mesh = RenderMesh(verts_m=verts_m.astype(np.float64), faces=faces, colour=np.array(COLOUR))
    draw_onto(
        image,
        [mesh],
        intrinsics.astype(np.float64),
        np.array(LIGHT),
        ambient=0.2,
        opacity=OPACITY,
        supersampling=SUPERSAMPLING,
    )
