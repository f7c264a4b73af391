"""Anchors, and one palm for all boxes around it, held to small oracles in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy import ndarray

from hmr_mediapipe.networks import Palms
from hmr_mediapipe.palm import SAME, anchors, one_for_each, read_palms
from hmr_mediapipe.regions import Region


def test_the_anchors_lie_on_two_grids() -> None:
    expected = [((i + 0.5) / 24, (j + 0.5) / 24) for j in range(24) for i in range(24) for _ in range(2)]
    expected += [((i + 0.5) / 12, (j + 0.5) / 12) for j in range(12) for i in range(12) for _ in range(6)]
    np.testing.assert_allclose(anchors(), expected)


def by_hand(boxes: ndarray, scores: ndarray) -> list[tuple[ndarray, float]]:
    """Weighted suppression, one pair at a time."""
    left = sorted(range(len(boxes)), key=lambda i: -scores[i])
    palms = []
    while left:
        best = left[0]
        same, other = [], []
        for i in left:
            a, b = boxes[best], boxes[i]
            width = min(a[2], b[2]) - max(a[0], b[0])
            height = min(a[3], b[3]) - max(a[1], b[1])
            both = max(width, 0) * max(height, 0)
            union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
            (same if both / union > SAME else other).append(i)
        total = sum(scores[i] for i in same)
        palms.append((sum(scores[i] * boxes[i] for i in same) / total, scores[best]))
        left = other
    return palms


@pytest.mark.parametrize("seed", range(5))
def test_boxes_around_a_palm_become_one(seed: int) -> None:
    generator = np.random.default_rng(seed)
    low = generator.uniform(0, 100, (40, 2))
    boxes = np.concatenate([low, low + generator.uniform(10, 60, (40, 2)), generator.uniform(0, 100, (40, 14))], axis=1)
    scores = generator.uniform(0.5, 1, 40)
    palms, expected = one_for_each(boxes, scores), by_hand(boxes, scores)
    assert len(palms) == len(expected) > 1
    for palm, (values, score) in zip(palms, expected, strict=True):
        np.testing.assert_allclose(np.concatenate([palm.box, palm.points.ravel()]), values)
        assert palm.score == score


def test_boxes_without_area_and_no_boxes_end() -> None:
    assert one_for_each(np.zeros((0, 18)), np.zeros(0)) == []
    assert len(one_for_each(np.zeros((3, 18)), np.full(3, 0.9))) == 3


def test_what_the_network_gives_lies_in_the_regions_that_it_saw() -> None:
    """One anchor of each of two images; the points by hand."""
    boxes, logits = torch.zeros(2, 2016, 18), torch.full((2, 2016), -20.0)
    anchor = 2 * (24 * 5 + 7)  # of the column 7 and the row 5
    boxes[:, anchor] = torch.tensor([4.0, -2, 30, 40, *range(14)])
    logits[0, anchor], logits[1, anchor] = 1.0, 2.0
    palms = read_palms(Palms(boxes, logits), [Region(96, 96, 192, 0), Region(500, 300, 384, 0)], 0.5)
    assert [palm.score for palm in palms] == pytest.approx([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(-1))])
    x, y = 7.5 * 8, 5.5 * 8
    np.testing.assert_allclose(palms[1].box, [x + 4 - 15, y - 2 - 20, x + 4 + 15, y - 2 + 20])
    np.testing.assert_allclose(palms[1].points, np.array([x, y]) + np.arange(14).reshape(7, 2))
    np.testing.assert_allclose(palms[0].points, 2 * palms[1].points + np.array([308, 108]))


def test_the_least_score_is_one_that_counts() -> None:
    logits = torch.full((1, 2016), -20.0)
    logits[0, 0], logits[0, -1] = 0.0, -0.01
    boxes = torch.ones(1, 2016, 18)
    assert len(read_palms(Palms(boxes, logits), [Region(96, 96, 192, 0)], 0.5)) == 1
    assert len(read_palms(Palms(boxes, logits), [Region(96, 96, 192, 0)], 0.49)) == 2
