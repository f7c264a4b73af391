"""The synthetic hand's bones at rest, in millimetres.

The frame is MANO's right hand's: the hand is flat in the x-z plane, the fingers point towards -x, the thumb is on the
+z side and the palm faces -y. The middle finger's knuckle is near the origin, the wrist 92 mm behind it. Lengths are
those of an adult hand of 189 mm.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

WRIST = np.array([92.0, 0.0, 0.0])
CUT_X = 114.0
"""The surface ends in the plane x = CUT_X, 22 mm behind the wrist."""


def _chain(start: tuple[float, float, float], steps: list[tuple[tuple[float, float, float], float]]) -> Array:
    points = [np.array(start)]
    for direction, length in steps:
        d = np.array(direction)
        points.append(points[-1] + length * d / np.linalg.norm(d))
    return np.stack(points)


def _straight(start: tuple[float, float, float], spread_deg: float, lengths: tuple[float, float, float]) -> Array:
    a = np.radians(spread_deg)
    direction = (-np.cos(a), -0.02, np.sin(a))
    return _chain(start, [(direction, length) for length in lengths])


FINGERS: dict[str, Array] = {
    "thumb": _chain(
        (76.0, -6.0, 19.0),
        [((-0.66, -0.26, 0.70), 43.0), ((-0.78, -0.16, 0.60), 32.0), ((-0.86, -0.08, 0.50), 28.0)],
    ),
    "index": _straight((3.0, 0.0, 24.0), 9.0, (41.0, 25.0, 24.0)),
    "middle": _straight((0.0, 0.5, 2.0), 1.0, (45.0, 28.0, 25.0)),
    "ring": _straight((6.0, 0.0, -18.5), -7.0, (41.0, 26.0, 25.0)),
    "little": _straight((15.0, -1.5, -36.5), -16.0, (32.0, 19.0, 22.0)),
}
"""Each finger's three joints and its tip, palm to tip; the tip is on the surface."""

RADII: dict[str, tuple[float, float, float, float]] = {
    "thumb": (12.8, 11.2, 10.2, 8.6),
    "index": (10.0, 9.1, 8.2, 7.1),
    "middle": (10.2, 9.3, 8.4, 7.3),
    "ring": (9.8, 8.9, 8.0, 6.9),
    "little": (8.9, 7.9, 7.1, 6.1),
}
"""The finger's radius at its three joints and at the end of the last bone."""

BACK_OF_THUMB = np.array([0.0, 0.6, 0.8])
"""Where the thumb's back faces; it is turned by some 60 degrees against the others'."""

MANO_FINGERS = ("index", "middle", "little", "ring", "thumb")
"""The order of the fingers among MANO's joints 1..15."""


def joints() -> Array:
    """The 16 joints in MANO's order, (16, 3) mm."""
    return np.concatenate([WRIST[None], *(FINGERS[name][:3] for name in MANO_FINGERS)])
