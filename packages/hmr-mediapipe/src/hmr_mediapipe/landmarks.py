"""Looks at regions of a picture with the hand network, and tells in the picture's terms what it saw there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from numpy import ndarray

from hmr_core.hand.joints import SIDES
from hmr_mediapipe.crops import EDGE, crop_regions
from hmr_mediapipe.networks import HAND_SIZE, HandNetwork
from hmr_mediapipe.regions import Region

AT_ONCE = 16
"""So many crops are looked at in one go, which bounds the memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SeenHand:
    """What the hand network saw in a region.

    points_px: the 21 landmarks, which are in OpenPose's order, in pixels of the picture. world: metres, x right, y down
    and z along the ray through the region's middle, of any origin; the skeleton is no hand's to the millimetre.
    presence: 0 to 1, that there is a hand. right: 0 to 1, that it is a right one.
    """

    region: Region
    points_px: Float64[ndarray, "21 2"]
    world: Float64[ndarray, "21 3"]
    presence: float
    right: float

    @property
    def side(self) -> str:
        """Which hand it seems to be."""
        return SIDES[0] if self.right > 0.5 else SIDES[1]


def look_at(
    network: HandNetwork,
    image: UInt8[ndarray, "height width 3"],
    regions: Sequence[Region],
    device: torch.device,
    *,
    tint: bool = False,
) -> list[SeenHand]:
    """What the hand network sees in regions of an upright picture, RGB; tint: as crop_regions has it."""
    seen = []
    for first in range(0, len(regions), AT_ONCE):
        chosen = regions[first : first + AT_ONCE]
        given = network(crop_regions(image, chosen, HAND_SIZE, EDGE, tint=tint).to(device))
        landmarks, world = (array.cpu().double().numpy().reshape(-1, 21, 3) for array in (given.landmarks, given.world))
        presence, right = given.presence.tolist(), given.handedness.tolist()
        seen += [
            _seen(region, *of_one) for region, *of_one in zip(chosen, landmarks, world, presence, right, strict=True)
        ]
    return seen


def _seen(
    region: Region, landmarks: Float64[ndarray, "21 3"], world: Float64[ndarray, "21 3"], presence: float, right: float
) -> SeenHand:
    to_picture = region.to_picture(HAND_SIZE)
    turn = to_picture[:, :2] / (region.side / HAND_SIZE)
    return SeenHand(
        region=region,
        points_px=landmarks[:, :2] @ to_picture[:, :2].T + to_picture[:, 2],
        world=np.concatenate([world[:, :2] @ turn.T, world[:, 2:]], axis=1),
        presence=presence,
        right=right,
    )
