"""From what the palm network gives to palms: anchors, scores, and one palm for the many boxes around it.

As MediaPipe's graph palm_detection_cpu has it: SSD anchors (Liu et al., ECCV 2016), a score of 0.5 or more, and
non-maximum suppression that does not drop the boxes that overlap the best one, but takes the mean of them by score.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from hmr_mediapipe.networks import PALM_SIZE, Palms
from hmr_mediapipe.regions import Region, region_of_palm

GRIDS = ((24, 2), (12, 6))
"""Of each of the network's grids of anchors: how many are side by side, and how many are in one place."""

SAME = 0.3
"""Boxes are of one palm where the intersection over the union is more than this."""

WRIST, KNUCKLE = 0, 2
"""Among a palm's seven points: the wrist, and the middle finger's knuckle."""


class Palm(NamedTuple):
    """A palm: its box (left, top, right, bottom) and seven points, in pixels of the picture, and its score, 0 to 1."""

    box: Float64[ndarray, "4"]
    points: Float64[ndarray, "7 2"]
    score: float

    def region(self) -> Region:
        """The region of its hand."""
        low, high = self.box[:2], self.box[2:]
        box = np.concatenate([(low + high) / 2, high - low])
        return region_of_palm(box, self.points[WRIST], self.points[KNUCKLE])


@cache
def anchors() -> Float64[ndarray, "2016 2"]:
    """The middles of the network's anchors, x and y from 0 to 1."""
    grids = []
    for side, many in GRIDS:
        middles = (np.arange(side) + 0.5) / side
        y, x = np.meshgrid(middles, middles, indexing="ij")
        grids.append(np.repeat(np.stack([x.ravel(), y.ravel()], axis=1), many, axis=0))
    return np.concatenate(grids)


def read_palms(palms: Palms, looked_at: list[Region], least: float) -> list[Palm]:
    """The palms of a picture, best first, one for each hand.

    palms: what the network gave for regions of the picture, which are not turned. least: the least score.
    """
    boxes, scores = [], []
    for values, logits, region in zip(palms.boxes.cpu().numpy(), palms.logits.cpu().numpy(), looked_at, strict=True):
        chosen = logits >= math.log(least / (1 - least))
        boxes.append(_in_picture(values[chosen].astype(np.float64), anchors()[chosen], region))
        scores.append(1 / (1 + np.exp(-logits[chosen].astype(np.float64))))
    return one_for_each(np.concatenate(boxes), np.concatenate(scores))


def one_for_each(boxes: Float64[ndarray, "n 18"], scores: Float64[ndarray, " n"]) -> list[Palm]:
    """One palm for all boxes that overlap the best one, and so on with the rest; best first.

    boxes: left, top, right, bottom, and seven points. A palm has the mean of its boxes by score, and the best's score.
    """
    order = np.argsort(-scores, kind="stable")
    boxes, scores = boxes[order], scores[order]
    palms = []
    while len(boxes):
        same = _overlaps(boxes[0, :4], boxes[:, :4]) > SAME
        same[0] = True  # a box without area, too
        mean = np.average(boxes[same], axis=0, weights=scores[same])
        palms.append(Palm(mean[:4], mean[4:].reshape(7, 2), float(scores[0])))
        boxes, scores = boxes[~same], scores[~same]
    return palms


def _in_picture(
    values: Float64[ndarray, "n 18"], middles: Float64[ndarray, "n 2"], region: Region
) -> Float64[ndarray, "n 18"]:
    """What the network gave for some anchors as corners and points of the picture."""
    places = values[:, [0, 1, *range(4, 18)]].reshape(-1, 8, 2) + PALM_SIZE * middles[:, None]
    half = values[:, None, 2:4] / 2
    points = np.concatenate([places[:, :1] - half, places[:, :1] + half, places[:, 1:]], axis=1)
    moved: ndarray = points * (region.side / PALM_SIZE) + (np.array([region.x, region.y]) - region.side / 2)
    return moved.reshape(-1, 18)


def _overlaps(one: Float64[ndarray, "4"], others: Float64[ndarray, "n 4"]) -> Float64[ndarray, " n"]:
    """The intersection over the union of a box with others."""
    sides = np.minimum(one[2:], others[:, 2:]) - np.maximum(one[:2], others[:, :2])
    both = sides.clip(0).prod(1)
    union = (one[2:] - one[:2]).clip(0).prod() + (others[:, 2:] - others[:, :2]).clip(0).prod(1) - both
    shares: ndarray = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    return shares
