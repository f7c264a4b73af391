"""Boxes around hands, and the squares that are made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import UsageError
from hmr_core.geometry.camera import project
from hmr_core.inference.boxes import (
    JOINTS_SHARE,
    check_box,
    check_sides,
    first_square,
    overlap_of_boxes,
    square_by_hand,
)


@pytest.fixture(scope="module")
def hands(synthetic_pack_path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Joints and vertices of synthetic views, pixels."""
    pack = Pack(synthetic_pack_path)
    rows = pack.indices("sp0", "train")
    camera = torch.from_numpy(pack.array("intrinsics", rows)).double()
    joints, verts = (torch.from_numpy(pack.array(name, rows)).double() for name in ("joints", "verts"))
    return project(joints, camera).numpy(), project(verts, camera).numpy()


def box_of(points: np.ndarray) -> tuple[float, float, float, float]:
    low, high = points.min(0), points.max(0)
    x, y, width, height = [*low.tolist(), *(high - low + 1).tolist()]
    return x, y, width, height


def test_the_first_square_is_around_the_box_s_middle_on_a_share_of_its_longer_side() -> None:
    x, y, side = first_square((100.0, 50.0, 81.0, 121.0))
    assert (x, y) == (140, 110)  # the pixels 100 to 180, and 50 to 170
    assert side == pytest.approx(JOINTS_SHARE * 121)
    assert first_square(check_box("whole", 641, 481))[:2] == (320, 240)


def test_the_share_is_that_of_synthetic_hands(hands: tuple[np.ndarray, np.ndarray]) -> None:
    joints, verts = (np.ptp(points, axis=1).max(1) for points in hands)
    assert float(np.median(joints / verts)) == pytest.approx(JOINTS_SHARE, abs=0.04)


def test_a_hand_that_was_seen_shows_where_the_joints_box_is(hands: tuple[np.ndarray, np.ndarray]) -> None:
    for joints, verts in zip(*hands, strict=True):
        wanted = [*(joints.min(0) + joints.max(0)) / 2, np.ptp(joints, axis=0).max()]
        np.testing.assert_allclose(square_by_hand(box_of(verts), joints, verts), wanted, rtol=0.01)
        # It may have been seen in another place, and in another size.
        np.testing.assert_allclose(square_by_hand(box_of(verts), 2 * joints + 30, 2 * verts + 30), wanted, rtol=0.01)


@pytest.mark.parametrize(
    ("box", "text"),
    [
        (
            (700, 10, 50, 50),
            r"box 700,10,50,50 \(x, y, width, height\) lies outside: the picture is 640x480 pixels",
        ),
        ((-60, 10, 50, 50), "lies outside"),
        ((10, 480, 50, 50), "lies outside"),
        ((10, 10, 0, 50), "has no area: its width is 0 and its height 50"),
        ((300, 200, -10, 50), r"not two corners \(the picture is 640x480 pixels\)"),
        ((10, 10, 50), r"a box of \(10, 10, 50\); valid: x, y, width and height in pixels"),
        ("all", "a box of 'all'; valid"),
        ((10, 10, 50, float("nan")), "a box of"),
    ],
)
def test_a_box_that_is_no_hand_s_is_told_with_the_picture_s_size(box: tuple[float, ...] | str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        check_box(box, 640, 480)


def test_a_box_may_reach_out_of_the_picture() -> None:
    assert check_box((-20, 400.5, 100, 200), 640, 480) == (-20, 400.5, 100, 200)


def test_sides() -> None:
    assert check_sides("left", 2) == ["left", "left"]
    assert check_sides(["left", "right"], 2) == ["left", "right"]
    with pytest.raises(UsageError, match="3 sides for 2 boxes"):
        check_sides(["left"] * 3, 2)
    with pytest.raises(UsageError, match='unknown side "links"'):
        check_sides("links", 2)


@pytest.mark.parametrize("box", [(-5e4, -5e4, 1e5, 1e5), (0, 0, 1e30, 1), (10, 10, 1e-3, 1e-3)])
def test_a_box_has_a_size_that_a_hand_can_have(box: tuple[float, ...]) -> None:
    with pytest.raises(UsageError, match=r"is no hand's: .* 10 times the picture's \(the picture is 640x480 pixels\)"):
        check_box(box, 640, 480)


@pytest.mark.parametrize("box", [np.array([1, 2, 30, 40]), np.array([1, 2, 30, 40], np.float32)])
def test_boxes_may_be_arrays(box: Any) -> None:
    assert check_box(box, 640, 480) == (1, 2, 30, 40)


def test_boxes_overlap_by_the_share_of_what_both_cover() -> None:
    one = (10.0, 20.0, 30.0, 40.0)
    assert overlap_of_boxes(one, one) == 1
    assert overlap_of_boxes(one, (25.0, 20.0, 30.0, 40.0)) == pytest.approx(1 / 3)
    assert overlap_of_boxes((15.0, 25.0, 10.0, 10.0), one) == pytest.approx(100 / 1200)  # one in the other
    for beside in ((40.0, 20.0, 30.0, 40.0), (-90.0, -90.0, 5.0, 5.0)):  # an edge that both have has no area
        assert overlap_of_boxes(one, beside) == overlap_of_boxes(beside, one) == 0
