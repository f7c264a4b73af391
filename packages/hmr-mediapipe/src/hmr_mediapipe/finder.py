"""Finds the hands of a picture: palms, then each hand's landmarks, then one of those that are the same hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from hmr_mediapipe.config import DetectorConfig
from hmr_mediapipe.crops import BLACK, crop_regions
from hmr_mediapipe.landmarks import SeenHand, look_at
from hmr_mediapipe.looks import is_grey, tiles, tinted, whole
from hmr_mediapipe.networks import PALM_SIZE, Networks
from hmr_mediapipe.palm import Palm, read_palms
from hmr_mediapipe.regions import Region, overlap

SAME_REGION = 0.5
"""Of two regions that overlap more than this the one of the better palm is looked at, as in MediaPipe."""

SAME_HAND = 0.25
"""Hands are one whose landmarks are on the average nearer to each other than this, by the larger hand's size."""

WITHIN = 0.7
"""A hand of which more than this lies in the box of one that is LARGER times as large is a part of that."""

LARGER = 1.5


class Found(NamedTuple):
    """A hand that was found. score: its palm's."""

    score: float
    hand: SeenHand


class Finder:
    """Finds the hands of pictures."""

    def __init__(self, networks: Networks, config: DetectorConfig, device: torch.device) -> None:
        self.networks, self.config, self.device = networks, config, device

    def find(self, image: UInt8[ndarray, "height width 3"]) -> list[Found]:
        """The hands of an upright picture, RGB, those with the best palms first."""
        config = self.config
        if config.tiles:
            return self._hands(image, [whole(image), whole(image, config.border), *tiles(image)], config.tile_palm)
        found = self._hands(image, [whole(image)], config.palm)
        if not found and config.border:
            found = self._hands(image, [whole(image, config.border)], config.palm)
        return found

    def palms(self, image: UInt8[ndarray, "height width 3"], looked_at: Sequence[Region], least: float) -> list[Palm]:
        """The palms in regions of a picture, which are not turned, best first. least: the least score."""
        crops = crop_regions(image, looked_at, PALM_SIZE, BLACK)
        regions = list(looked_at)
        if self.config.grey and is_grey(image):
            crops, regions = torch.cat([crops, _tinted(crops)]), regions * 2
        return read_palms(self.networks.palm(crops.to(self.device)), regions, least)

    def look(self, image: UInt8[ndarray, "height width 3"], regions: Sequence[Region]) -> list[SeenHand]:
        """What the hand network sees in regions of a picture."""
        return look_at(self.networks.hand, image, regions, self.device)

    def _hands(self, image: UInt8[ndarray, "height width 3"], looked_at: list[Region], least: float) -> list[Found]:
        regions: list[tuple[float, Region]] = []
        for palm in self.palms(image, looked_at, least):
            region = palm.region()
            if all(overlap(region, other) <= SAME_REGION for _, other in regions):
                regions.append((palm.score, region))
        regions = regions[: self.config.hands]
        seen = self.look(image, [region for _, region in regions])
        found = [Found(score, hand) for (score, _), hand in zip(regions, seen, strict=True)]
        return one_of_each(
            [each for each in found if each.hand.presence >= self.config.presence], parts=len(looked_at) > 1
        )


def one_of_each(found: Sequence[Found], *, parts: bool) -> list[Found]:
    """One of those that are the same hand, the better palm's; best first.

    parts: whether a hand that lies in a larger one is a part of that, as it is where a small part of the picture was
    looked at.
    """
    kept: list[Found] = []
    for each in found:
        if not any(same_hand(each.hand, other.hand) for other in kept):
            kept.append(each)
    if not parts:
        return kept
    return [each for each in kept if not any(_part_of(each.hand, other.hand) for other in kept)]


def same_hand(one: SeenHand, other: SeenHand) -> bool:
    """Whether two hands are one and the same."""
    apart = np.linalg.norm(one.points_px - other.points_px, axis=1).mean()
    return bool(apart < SAME_HAND * max(_size(one), _size(other)))


def _part_of(one: SeenHand, other: SeenHand) -> bool:
    """Whether a hand is a part of a larger one that was taken for a hand."""
    if _size(other) < LARGER * _size(one):
        return False
    low, high = other.points_px.min(0), other.points_px.max(0)
    inside = (low <= one.points_px) & (one.points_px <= high)
    return bool(inside.all(1).mean() > WITHIN)


def _size(hand: SeenHand) -> float:
    return float(np.ptp(hand.points_px, axis=0).max())


def _tinted(crops: Float[Tensor, "n size size 3"]) -> Float[Tensor, "n size size 3"]:
    shades = tinted((crops.numpy() * 255).round().astype(np.uint8))
    return torch.from_numpy(shades).float() / 255
