"""The box around a hand, as people and detectors give it, and the crop that a model was trained with.

A box is tight around the whole hand as it would be seen: around the hand model's mesh, from the finger tips to 2 cm
behind the wrist joint. Models are trained with squares around the box of the joints, which is smaller, and not in the
middle of the hand's. So a hand is looked at LOOKS times. First the crop is the square around the box's middle on
JOINTS_SHARE times its longer side. Then it is where the joints' box lies in the hand's box of the hand that was seen.
Each square is made larger by the recipe's data.bbox_expand, as in training. A box that is tight around the joints,
as annotated ones may be, needs none of that.

Models that saw crops about the middle of the joints' box alone depend on it. With the demo's Integral-Pose, a crop
about the middle of the mesh's box costs 9 mm of MPJPE after aligning the wrist (29 in place of 20 mm, on the sp0 test
subset of `hmr synth demo`); the second look leaves 1.2 mm of that, the third 0.9 mm, and a fourth no less.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

from hmr_core.errors import UsageError
from hmr_core.hand.joints import SIDES
from hmr_core.inference.numbers import Numbers, as_numbers
from hmr_core.plugins.photo_hands import Box

JOINTS_SHARE = 0.79
"""The longer side of the joints' box for that of the hand's.

On the sp0 test subset of `hmr synth demo`: median 0.787, from 0.728 (10 %) to 0.850 (90 %).
"""

LOOKS = 3
"""How often a hand is looked at."""


class Square(NamedTuple):
    """A square of a picture: its middle, pixels with pixel centres at integers, and its side."""

    x_px: float
    y_px: float
    side_px: float


WHOLE = "whole"
"""In place of a box's numbers: the picture's own box, where one hand fills it."""

GivenBox = Numbers | str
"""A box as users give it: four numbers, or WHOLE."""

GivenBoxes = Sequence[GivenBox] | ndarray
"""Several of them."""

LARGEST = 10
"""How many times as long as the picture a box may be. A hand of which less is seen cannot be predicted."""


def check_boxes(boxes: GivenBoxes) -> None:
    """UsageError for what is not a list of boxes, such as a single box."""
    several = hasattr(boxes, "__len__") and getattr(boxes, "ndim", 2) == 2 and not isinstance(boxes, str)
    if not several or any(isinstance(box, int | float) for box in boxes):
        raise UsageError(
            f"boxes of {boxes!r}; valid: a list with a box for each hand, such as [(220, 140, 180, 200)] or "
            f'["{WHOLE}"].'
        )


def check_box(given: GivenBox, width: int, height: int) -> Box:
    """A box that was given for a picture of a size; UsageError, naming that size, for one that cannot be a hand's."""
    picture = f"the picture is {width}x{height} pixels"
    if isinstance(given, str) and given == WHOLE:
        return 0.0, 0.0, float(width), float(height)
    values = as_numbers(given)
    if values is None or values.shape != (4,) or not np.isfinite(values).all():
        raise UsageError(f'a box of {given!r}; valid: x, y, width and height in pixels, or "{WHOLE}" ({picture}).')
    x, y, box_width, box_height = values.tolist()
    text = ",".join(f"{value:g}" for value in values)
    if box_width <= 0 or box_height <= 0:
        raise UsageError(
            f"the box {text} has no area: its width is {box_width:g} and its height {box_height:g}. A box is x, y, "
            f"width and height in pixels, not two corners ({picture})."
        )
    if x >= width or y >= height or x + box_width <= 0 or y + box_height <= 0:
        raise UsageError(f"the box {text} (x, y, width, height) lies outside: {picture}.")
    if not 1 <= max(box_width, box_height) <= LARGEST * max(width, height):
        raise UsageError(
            f"the box {text} (x, y, width, height) is no hand's: its longer side is to be 1 pixel or more, and "
            f"not over {LARGEST} times the picture's ({picture})."
        )
    return x, y, box_width, box_height


def first_square(box: Box) -> Square:
    """Where the joints' box is in a hand's box, as far as the box alone tells it."""
    middle, size = _middle_and_size(box)
    return Square(float(middle[0]), float(middle[1]), JOINTS_SHARE * float(size.max()))


def square_of_joints(box: Box) -> Square:
    """The square of a box that is tight around the joints: what models are trained with."""
    middle, size = _middle_and_size(box)
    return Square(float(middle[0]), float(middle[1]), float(size.max()))


def square_by_hand(box: Box, joints_px: Float[ndarray, "21 2"], verts_px: Float[ndarray, "v 2"]) -> Square:
    """Where the joints' box is in a hand's box, by a hand that was seen in it: its joints and its mesh, pixels.

    Of that hand the margins alone count, by which its mesh reaches beyond its joints on each side.
    """
    middle, size = _middle_and_size(box)
    (joints_low, joints_high), (low, high) = ((points.min(0), points.max(0)) for points in (joints_px, verts_px))
    scale = size.max() / (high - low).max()
    before, behind = scale * (joints_low - low), scale * (high - joints_high)
    middle = middle + (before - behind) / 2
    return Square(float(middle[0]), float(middle[1]), float((size - before - behind).max()))


def overlap_of_boxes(one: Box, other: Box) -> float:
    """The intersection of two boxes over their union, 0 to 1. Boxes have an area."""
    low = np.maximum(one[:2], other[:2])
    high = np.minimum(np.add(one[:2], one[2:]), np.add(other[:2], other[2:]))
    both = float(np.prod(np.maximum(high - low, 0)))
    return both / (one[2] * one[3] + other[2] * other[3] - both)


def _middle_and_size(box: Box) -> tuple[Float64[ndarray, "2"], Float64[ndarray, "2"]]:
    """The middle, pixels with pixel centres at integers, and width and height."""
    place, size = np.array(box[:2]), np.array(box[2:])
    return place + (size - 1) / 2, size


def check_sides(sides: str | Sequence[str], hands: int) -> list[str]:
    """The side of each hand, of one side for all or one for each; UsageError for another number or another name."""
    if isinstance(sides, str):
        given = [sides] * hands
    elif isinstance(sides, Iterable):
        given = [str(side) for side in sides]
    else:
        raise UsageError(f"sides of {sides!r}. Valid: {', '.join(SIDES)}, or a list of these, one for each box.")
    if unknown := [side for side in given if side not in SIDES]:
        raise UsageError(f'unknown side "{unknown[0]}". Valid: {", ".join(SIDES)}.')
    if len(given) != hands:
        raise UsageError(f"{len(given)} sides for {hands} boxes. Give one side for all boxes, or one for each.")
    return given
