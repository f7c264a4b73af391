"""The box around a hand as it is seen, from its landmarks: what a detector gives."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from hmr_core.hand.joints import MIDDLE_MCP, WRIST
from hmr_core.inference.predictor import box_around
from hmr_core.plugins.photo_hands import Box

SKIN = 0.05
"""How far the skin is from a landmark, by the hand's size in the picture..."""

BEHIND = 0.2
"""... and how far the hand reaches behind the wrist, by the distance from there to the middle finger's knuckle."""


def hand_box(points_px: Float64[ndarray, "21 2"]) -> Box:
    """The box that is tight around a hand, from the finger tips to 2 cm behind the wrist, as the picture shows it.

    points_px: its landmarks, pixels.
    """
    wrist = points_px[WRIST]
    behind = wrist + BEHIND * (wrist - points_px[MIDDLE_MCP])
    points = np.concatenate([points_px, behind[None]])
    skin = SKIN * np.sqrt(np.ptp(points_px, axis=0).prod())
    return box_around(np.concatenate([points - skin, points + skin]))
