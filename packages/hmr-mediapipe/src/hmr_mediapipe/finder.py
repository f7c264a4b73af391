"""Finds the hands of a picture: palms, then each hand's landmarks, then one of those that are the same hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from hmr_mediapipe.config import DetectorConfig
from hmr_mediapipe.crops import BLACK, crop_regions
from hmr_mediapipe.landmarks import SeenHand, look_at
from hmr_mediapipe.looks import is_grey, tiles, whole
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
        """The hands of an upright picture, RGB, those with the best palms first; those of tiles come last."""
        config = self.config
        found = self._hands(image, [whole(image)], config.palm, config.presence)
        if not found and config.border:
            found = self._hands(image, [whole(image, config.border)], config.palm, config.presence)
        found = distinct(found)
        if config.tiles and (parts := tiles(image)):
            found = with_small_ones(found, self._hands(image, parts, config.tile_palm, config.tile_presence))
        return found[: config.hands]

    def palms(self, image: UInt8[ndarray, "height width 3"], looked_at: Sequence[Region], least: float) -> list[Palm]:
        """The palms in regions of a picture, which are not turned, best first. least: the least score."""
        regions = list(looked_at)
        crops = crop_regions(image, regions, PALM_SIZE, BLACK)
        if self._tints(image):
            crops = torch.cat([crops, crop_regions(image, regions, PALM_SIZE, BLACK, tint=True)])
            regions = regions * 2
        return read_palms(self.networks.palm(crops.to(self.device)), regions, least)

    def look(self, image: UInt8[ndarray, "height width 3"], regions: Sequence[Region]) -> list[SeenHand]:
        """What the hand network sees in regions of a picture."""
        return look_at(self.networks.hand, image, regions, self.device, tint=self._tints(image)) if regions else []

    def _tints(self, image: UInt8[ndarray, "height width 3"]) -> bool:
        return self.config.grey and is_grey(image)

    def _hands(
        self, image: UInt8[ndarray, "height width 3"], looked_at: list[Region], palm: float, presence: float
    ) -> list[Found]:
        """The hands of the palms in regions. palm, presence: the least scores."""
        regions: list[tuple[float, Region]] = []
        for each in self.palms(image, looked_at, palm):
            region = each.region()
            if all(overlap(region, other) <= SAME_REGION for _, other in regions):
                regions.append((each.score, region))
        regions = regions[: self.config.hands]
        seen = self.look(image, [region for _, region in regions])
        found = [Found(score, hand) for (score, _), hand in zip(regions, seen, strict=True)]
        return [each for each in found if each.hand.presence >= presence]


def distinct(found: Sequence[Found]) -> list[Found]:
    """The first of those that are the same hand, in their order."""
    kept: list[Found] = []
    for each in found:
        if not any(same_hand(each.hand, other.hand) for other in kept):
            kept.append(each)
    return kept


def with_small_ones(found: Sequence[Found], more: Sequence[Found]) -> list[Found]:
    """The hands that were found in the whole picture, and those more that were found in parts of it.

    A part of a picture may show a finger as large as a hand: what lies in a larger hand is not one more.
    """
    kept = distinct([*found, *more])
    return [each for each in kept if each in found or not any(_part_of(each.hand, other.hand) for other in kept)]


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
