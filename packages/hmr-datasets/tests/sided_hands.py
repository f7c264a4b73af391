"""Hands of either side for look-alike data sets: a left one is the mirror image of a right one."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from posed_hands import PosedHand, posed_hands

MIRROR_POINT, MIRROR_TURN = np.array([-1.0, 1.0, 1.0]), np.array([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class SidedHand(PosedHand):
    """A hand in camera space; rotations and betas are those of the side's own model, betas those of the right one."""

    side: str


def sided_hands(
    side: str,
    count: int,
    intrinsics: Float64[ndarray, "3 3"],
    depth_m: float,
    seed: int = 0,
    shape: Float64[ndarray, "10"] | None = None,
) -> list[SidedHand]:
    """Hands of a side, whose middle knuckle is near the camera's axis, at a depth; of one shape, or each of its own."""
    return [_sided(hand, side) for hand in posed_hands(count, intrinsics, depth_m, seed, shape)]


def _sided(hand: PosedHand, side: str) -> SidedHand:
    values = {field.name: getattr(hand, field.name) for field in fields(hand)}
    if side == "left":
        values |= {name: values[name] * MIRROR_POINT for name in ("trans", "joints", "verts")}
        values["rotations"] = values["rotations"] * MIRROR_TURN
    return SidedHand(**values, side=side)
