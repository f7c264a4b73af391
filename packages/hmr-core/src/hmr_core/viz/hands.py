"""The hands of a picture, drawn over it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from hmr_core.hand.hand import Hand
from hmr_core.viz.hand_labels import write_label
from hmr_core.viz.mesh_overlay import draw_mesh_onto
from hmr_core.viz.skeleton import draw_skeleton


def draw_hands(
    image: UInt8[ndarray, "height width 3"], hands: Sequence[Hand], labels: Sequence[str] | None = None
) -> UInt8[ndarray, "height width 3"]:
    """A copy of an upright RGB picture with its hands over it, the nearest on top; the rest stays as it is.

    A hand is drawn as its mesh, or as its joints where it has none. labels: of each hand, in ASCII; by default a single
    hand has none, and several have their number and side, as in "2 left".
    """
    if labels is None:
        labels = [f"{i + 1} {hand.side}" for i, hand in enumerate(hands)] if len(hands) > 1 else [""] * len(hands)
    picture = image.copy()
    for hand in sorted(hands, key=lambda hand: -float(hand.joints[:, 2].mean())):
        if hand.verts is not None and hand.faces is not None:
            draw_mesh_onto(picture, hand.verts, hand.faces, hand.intrinsics)
        else:
            span = float(np.ptp(np.nan_to_num(hand.joints_px), axis=0).max())
            draw_skeleton(picture, hand.joints_px, thickness=max(2, round(span / 100)))
    for hand, label in zip(hands, labels, strict=True):
        write_label(picture, label, hand.box)
    return picture
