"""The box around a hand, as people and detectors give it, and the crop that a model was trained with.

A box is tight around the hand as it is seen, skin included, from the wrist (where a bracelet sits) to the finger tips.
Models are trained with squares around the box of the joints, which is smaller than that of the skin: the square is on
its longer side, times the recipe's data.bbox_expand. So the crop of a given box is the square around its middle on
JOINTS_SHARE times its longer side, times the same factor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from hmr_core.errors import UsageError
from hmr_core.hand.joints import SIDES

JOINTS_SHARE = 0.9
"""The longer side of the joints' box for that of the hand's.

Measured on the 364 views of `hmr synth demo`'s sp0 test subset, with the vertices of the mesh that lie beyond the wrist
joint, towards the fingers: median 0.898, from 0.832 (10 %) to 0.958 (90 %); the boxes' middles are 3 % of the longer
side apart. The whole mesh, which goes on for 2 cm behind the wrist joint, would make it 0.787.
"""

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels of the upright picture; x and y are the first column and row, as OpenCV has them."""


class Square(NamedTuple):
    """A square of a picture: its middle, pixels with pixel centres at integers, and its side."""

    x_px: float
    y_px: float
    side_px: float


def whole(width: int, height: int) -> Box:
    """The box of a picture that one hand fills."""
    return 0.0, 0.0, float(width), float(height)


def check_box(values: Sequence[float | int], width: int, height: int) -> Box:
    """A box that was given for a picture of a size; UsageError, naming that size, for one that cannot be a hand's."""
    picture = f"the picture is {width}x{height} pixels"
    if len(values) != 4 or not all(math.isfinite(value) for value in values):
        raise UsageError(f"a box of {list(values)}; valid: x, y, width and height in pixels ({picture}).")
    x, y, box_width, box_height = (float(value) for value in values)
    text = ",".join(f"{value:g}" for value in values)
    if box_width <= 0 or box_height <= 0:
        raise UsageError(
            f"the box {text} has no area: its width is {box_width:g} and its height {box_height:g}. A box is x, y, "
            f"width and height in pixels, not two corners ({picture})."
        )
    if x >= width or y >= height or x + box_width <= 0 or y + box_height <= 0:
        raise UsageError(f"the box {text} (x, y, width, height) lies outside: {picture}.")
    return x, y, box_width, box_height


def joints_square(box: Box) -> Square:
    """The square on the longer side of the joints' box, as far as the hand's box tells it."""
    x, y, width, height = box
    return Square(x + (width - 1) / 2, y + (height - 1) / 2, JOINTS_SHARE * max(width, height))


def check_sides(sides: str | Sequence[str], hands: int) -> list[str]:
    """The side of each hand, of one side for all or one for each; UsageError for another number or another name."""
    given = [sides] * hands if isinstance(sides, str) else list(sides)
    if unknown := [side for side in given if side not in SIDES]:
        raise UsageError(f'unknown side "{unknown[0]}". Valid: {", ".join(SIDES)}.')
    if len(given) != hands:
        raise UsageError(f"{len(given)} sides for {hands} boxes. Give one side for all boxes, or one for each.")
    return given
