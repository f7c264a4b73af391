"""The hands of a picture, drawn over it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray

from hmr_core.geometry.camera import project
from hmr_core.hand.hand import Hand
from hmr_core.viz.mesh_overlay import SUPERSAMPLING, draw_mesh
from hmr_core.viz.skeleton import draw_skeleton

_BAND_PX = 512
"""So many rows are drawn at once: photos may be large, and smooth edges take several pixels for each."""

_SMOOTHED_PX = 900
"""The pixels that a hand is drawn with along its longer side, where it has fewer and its edges are smoothed."""


def draw_hands(image: UInt8[ndarray, "height width 3"], hands: Sequence[Hand]) -> UInt8[ndarray, "height width 3"]:
    """A copy of an upright RGB picture with its hands over it, the nearest on top; the rest stays as it is.

    A hand is drawn as its mesh, or as its joints where it has none.
    """
    picture = image.copy()
    for hand in sorted(hands, key=lambda hand: -float(hand.joints[:, 2].mean())):
        if hand.verts is not None and hand.faces is not None:
            _draw_mesh(picture, hand.verts, hand.faces, hand.intrinsics)
        else:
            span = float(np.ptp(np.nan_to_num(hand.joints_px), axis=0).max())
            draw_skeleton(picture, hand.joints_px, thickness=max(2, round(span / 100)))
    return picture


def _draw_mesh(
    picture: UInt8[ndarray, "height width 3"],
    verts: Float[ndarray, "v 3"],
    faces: ndarray,
    intrinsics: Float[ndarray, "3 3"],
) -> None:
    """Draw a mesh in place: where it is in the picture, and band by band."""
    ahead = verts[verts[:, 2] > 1e-6]
    if not len(ahead):
        return
    pixels = project(torch.from_numpy(ahead).double(), torch.from_numpy(intrinsics).double()).numpy()
    size = np.array(picture.shape[1::-1])
    left, top = np.clip(np.floor(pixels.min(0)) - 2, 0, size).astype(int)
    right, bottom = np.clip(np.ceil(pixels.max(0)) + 3, 0, size).astype(int)
    if right <= left:
        return
    # Edges need smoothing where a hand is small; where it is large they would take seconds.
    finest = max(1, min(SUPERSAMPLING, round(_SMOOTHED_PX / max(right - left, bottom - top))))
    for row in range(top, bottom, _BAND_PX):
        band = picture[row : min(row + _BAND_PX, bottom), left:right]
        camera = np.array([[1.0, 0, -left], [0, 1, -row], [0, 0, 1]]) @ intrinsics
        band[:] = draw_mesh(band, verts, faces, camera, supersampling=finest)
