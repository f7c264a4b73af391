"""Finds the hand in a box that was given: how it is turned is not known, so several regions are looked at.

First the palm network looks about the box. Where the hand that it leads to does not fill the box, the hand network
looks at the box turned each way. What fits best is looked at once more in the region that its own landmarks tell. Of
all that was seen, the hand counts that fits the box best.
"""

from __future__ import annotations

import math

from jaxtyping import UInt8
from numpy import ndarray

from hmr_core.inference.boxes import overlap_of_boxes
from hmr_core.inference.predictor import box_around
from hmr_core.plugins.photo_hands import JOINTS, Box, InBox
from hmr_mediapipe.finder import Finder
from hmr_mediapipe.hand_box import hand_box
from hmr_mediapipe.landmarks import SeenHand
from hmr_mediapipe.regions import Region, region_of_landmarks

AROUND = (1.5, 2.5)
"""How large a square the palm network looks at, by the box's longer side."""

PALM = 0.2
"""The least score of a palm there: that there is a hand is known."""

ANGLES = 8
"""How many ways the box is turned."""

REGION = {True: 1.55, False: 1.3}
"""The side of a hand's region by the longer side of its joints' box, and of its own (medians over 24 hands)."""

GOOD, FITS = 0.5, 0.2
"""How well a hand fits a box that is clearly the one meant, and one that may be meant at least: 0 to 1."""


def hand_in_box(finder: Finder, image: UInt8[ndarray, "height width 3"], place: InBox) -> SeenHand | None:
    """The hand in a box of an upright picture, RGB; None where the hand network sees none."""
    x, y, width, height = place.box
    middle, longer = (x + (width - 1) / 2, y + (height - 1) / 2), max(width, height)

    def fit(hand: SeenHand) -> float:
        return hand.presence * overlap_of_boxes(place.box, _box_of(hand, place.box_of))

    squares = [Region(*middle, share * longer, 0.0) for share in AROUND]
    regions = [palm.region() for palm in finder.palms(image, squares, PALM)]
    seen = finder.look(image, [region for region in regions if _is_in(region, place.box)])
    if max(map(fit, seen), default=0.0) < GOOD:
        side = REGION[place.box_of == JOINTS] * longer
        turned = [Region(*middle, side, 2 * math.pi * i / ANGLES) for i in range(ANGLES)]
        seen += finder.look(image, turned)
    seen += finder.look(image, [region_of_landmarks(max(seen, key=fit).points_px)])
    meant = [
        hand
        for hand in seen
        if hand.presence >= finder.config.presence and overlap_of_boxes(place.box, _box_of(hand, place.box_of)) >= FITS
    ]
    return max(meant, key=fit, default=None)


def _box_of(hand: SeenHand, box_of: str) -> Box:
    return box_around(hand.points_px) if box_of == JOINTS else hand_box(hand.points_px)


def _is_in(region: Region, box: Box) -> bool:
    """Whether a region's middle is in a box; pixel centres are at integers."""
    x, y, width, height = box
    return -0.5 <= region.x - x <= width - 0.5 and -0.5 <= region.y - y <= height - 0.5
