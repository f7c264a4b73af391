"""Which hand a hand model is of, by its shape."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy import ndarray

# MANO's joints at rest: where four fingers begin, and the thumb's last joint.
_KNUCKLES, _THUMB = [1, 4, 7, 10], 15

# Some 40 degrees are usual between fingers and thumb; a hand that is tilted by more than 60 does not lie flat.
_LEAST_SPREAD, _LEAST_UPRIGHT = np.sin(np.radians(10)), np.cos(np.radians(60))


def side_of(joints: Float[ndarray, "16 3"]) -> str | None:
    """Tell the hand whose 16 joints (MANO's order) lie as MANO's do, flat, the palm facing -y; None for neither.

    Seen from the back of a right hand, the thumb is counter-clockwise of the fingers' direction: the cross product of
    the two, taken from the wrist, points to the back, which is +y; a left hand's to -y.
    """
    fingers, thumb = joints[_KNUCKLES].mean(0) - joints[0], joints[_THUMB] - joints[0]
    back = np.cross(fingers, thumb)
    size, scale = np.linalg.norm(back), np.linalg.norm(fingers) * np.linalg.norm(thumb)
    if not size > _LEAST_SPREAD * scale or abs(back[1]) < _LEAST_UPRIGHT * size:  # the first is so for nan too
        return None
    return "right" if back[1] > 0 else "left"
