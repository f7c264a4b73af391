"""The One-Euro filter: smooth where a signal is slow, and quick where it is fast.

Casiez, Roussel and Vogel, "1 € Filter: A Simple Speed-based Low-pass Filter for Noisy Input in Interactive Systems"
(CHI 2012). A value is smoothed exponentially, with the weight a = 1 / (1 + tau / T) of the new one, where T is the time
between the two and tau = 1 / (2 pi cutoff) (equations 1, 4 and 5). The cutoff grows with the speed:
cutoff = least + beta * |speed| (equation 8). The speed is smoothed itself, at a cutoff of its own.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from numpy import ndarray

from hmr_core.geometry.rotations import axis_angle_to_quaternion, quaternion_to_axis_angle
from hmr_core.inference.video.smoothing import Cutoff, weight

SPEED_CUTOFF_HZ = 1.0
"""The cutoff of the speed: the paper's."""


class PointFilter:
    """Filters n points of d coordinates, each at its own speed."""

    def __init__(self, cutoff: Cutoff) -> None:
        self.cutoff = cutoff
        self.value: ndarray | None = None
        self.speed: ndarray | None = None

    def step(self, points: Float64[ndarray, "n d"], dt_s: float, unit: float = 1.0) -> Float64[ndarray, "n d"]:
        """The points, filtered. dt_s: since the last ones, above 0; of no importance for the first. unit: of length, in
        which speeds are taken.
        """
        if self.value is None or self.speed is None:
            self.value, self.speed = points, np.zeros_like(points)
            return points
        moved = points - self.value
        self.speed = self.speed + weight(SPEED_CUTOFF_HZ, dt_s) * (moved / dt_s - self.speed)
        weights = self.cutoff.weights(np.linalg.norm(self.speed, axis=-1) / unit, dt_s)
        self.value = self.value + weights[:, None] * moved
        return self.value

    def state(self) -> dict[str, Any]:
        """What it goes on from."""
        return {"value": self.value, "speed": self.speed}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.value, self.speed = state["value"], state["speed"]


class RotationFilter:
    """Filters n rotations, each at its own speed, on the manifold.

    The difference of a new rotation from the filtered one is the vector of the rotation between them, and a step of a
    share of it turns by that share of its angle (slerp). So nothing depends on the frame, or on how vectors wrap at pi.
    """

    def __init__(self, cutoff: Cutoff) -> None:
        self.cutoff = cutoff
        self.value: ndarray | None = None
        self.speed: ndarray | None = None

    def step(self, rotations: Float64[ndarray, "n 3"], dt_s: float) -> Float64[ndarray, "n 3"]:
        """The axis-angle vectors, filtered; speeds are in radians a second. dt_s: as PointFilter has it."""
        given = axis_angle_to_quaternion(torch.from_numpy(rotations)).numpy()
        if self.value is None or self.speed is None:
            self.value, self.speed = given, np.zeros_like(rotations)
            return rotations
        between = _product(self.value * [1, -1, -1, -1], given)
        turned = quaternion_to_axis_angle(torch.from_numpy(between)).numpy()
        self.speed = self.speed + weight(SPEED_CUTOFF_HZ, dt_s) * (turned / dt_s - self.speed)
        weights = self.cutoff.weights(np.linalg.norm(self.speed, axis=-1), dt_s)
        step = axis_angle_to_quaternion(torch.from_numpy(weights[:, None] * turned)).numpy()
        value = _product(self.value, step)
        self.value = value / np.linalg.norm(value, axis=-1, keepdims=True)
        filtered: ndarray = quaternion_to_axis_angle(torch.from_numpy(self.value)).numpy()
        return filtered

    def state(self) -> dict[str, Any]:
        """What it goes on from."""
        return {"value": self.value, "speed": self.speed}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.value, self.speed = state["value"], state["speed"]


def _product(first: Float64[ndarray, "n 4"], second: Float64[ndarray, "n 4"]) -> Float64[ndarray, "n 4"]:
    """The products of quaternions, w first: the second rotation, seen from the first one's frame."""
    w, v, other_w, other_v = first[:, :1], first[:, 1:], second[:, :1], second[:, 1:]
    real = w * other_w - (v * other_v).sum(-1, keepdims=True)
    return np.concatenate([real, w * other_v + other_w * v + np.cross(v, other_v)], axis=-1)
