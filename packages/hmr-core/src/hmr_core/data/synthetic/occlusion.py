"""How much of the sky's and of the lamp's light reaches a surface beside a hand and an object.

The hand stands in as balls along its bones, the object as its signed distance; shades come out soft.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from hmr_core.hand.joints import BONES

_PALM_BALLS, _FINGER_BALLS = 5, 3
_PALM_RADIUS_M, _FINGER_RADII_M = 0.013, (0.0095, 0.0085, 0.0075)
OWN = 1.7
"""Balls nearer to skin than so many times their radius are the flesh below it."""

_STEPS_M = np.array([0.006, 0.012, 0.02, 0.03, 0.045, 0.065])
"""Where a ray is compared with an object's distance."""


class Balls(NamedTuple):
    """centres and radii, metres."""

    centres_m: Float64[ndarray, "n 3"]
    radii_m: Float64[ndarray, "n"]


class Light(NamedTuple):
    """The parts, 0..1, of the sky's and of the lamp's light that reach some points."""

    ambient: Float64[ndarray, "n"]
    direct: Float64[ndarray, "n"]


def hand_balls(joints_m: Float64[ndarray, "21 3"]) -> Balls:
    """Balls along the bones of a hand."""
    centres, radii = [], []
    for parent, child in BONES:
        palm = parent == 0
        count = _PALM_BALLS if palm else _FINGER_BALLS
        share = (np.arange(count) + 1) / count
        centres.append(joints_m[parent] + share[:, None] * (joints_m[child] - joints_m[parent]))
        radii += [_PALM_RADIUS_M if palm else _FINGER_RADII_M[(child - 2) % 4]] * count
    return Balls(np.concatenate(centres), np.array(radii))


def behind_balls(
    points: Float64[ndarray, "n 3"],
    normals: Float64[ndarray, "n 3"],
    balls: Balls,
    lamp: Float64[ndarray, "3"],
    own: float = 0.0,
) -> Light:
    """What balls leave of the light. lamp: the unit direction towards it. own: balls nearer than so many times their
    radius leave all.
    """
    # In place: there is a number for each point and ball, and to make room for them anew takes a third of the time.
    centres = balls.centres_m.T
    square = 2 * points @ centres
    np.subtract((points**2).sum(1)[:, None], square, out=square)
    square += (centres**2).sum(0)
    distance = np.sqrt(np.maximum(square, 1e-12))
    other = distance > own * balls.radii_m
    covered = normals @ centres
    covered -= (normals * points).sum(1)[:, None]
    np.maximum(covered, 0, out=covered)
    covered *= balls.radii_m**2
    covered /= distance * distance * distance
    covered *= other
    ambient = np.exp(-1.1 * covered.sum(1))

    ahead = lamp @ centres - (points @ lamp)[:, None]
    beside = square
    beside -= ahead**2
    np.sqrt(np.maximum(beside, 0, out=beside), out=beside)
    other &= ahead > 0
    # The farther the ball, the softer its shade's edge; at contact it is as wide as an object's vertices lie apart.
    edge = np.maximum(ahead, 0, out=ahead)
    edge *= 0.12
    edge += 0.6 * balls.radii_m
    passes = beside
    passes -= balls.radii_m
    passes /= edge
    passes *= 0.5
    passes += 0.5
    np.clip(passes, 0, 1, out=passes)
    direct = passes.min(1, initial=1, where=other)
    return Light(ambient, direct)


def behind_object(
    distance_m: Callable[[Float64[ndarray, "*n 3"]], Float64[ndarray, "*n"]],
    points: Float64[ndarray, "n 3"],
    normals: Float64[ndarray, "n 3"],
    lamp: Float64[ndarray, "3"],
) -> Light:
    """What an object, given as its signed distance, leaves of the light."""
    steps = _STEPS_M[:, None, None]
    outwards = distance_m(points + steps[1:4] * normals) / _STEPS_M[1:4, None]
    ambient = np.clip(0.25 + 0.75 * outwards, 0.25, 1).mean(0)
    towards = distance_m(points + 0.002 * normals + steps * lamp) / _STEPS_M[:, None]
    direct = np.clip(0.5 + 2.5 * towards, 0, 1).min(0)
    return Light(ambient, direct)
