"""Boxes around hands, and the squares that are made of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import UsageError
from hmr_core.geometry.camera import project
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.inference.boxes import JOINTS_SHARE, check_box, check_sides, joints_square, whole


def test_the_square_is_around_the_box_s_middle_on_a_share_of_its_longer_side() -> None:
    x, y, side = joints_square((100.0, 50.0, 81.0, 121.0))
    assert (x, y) == (140, 110)  # the pixels 100 to 180, and 50 to 170
    assert side == pytest.approx(JOINTS_SHARE * 121)
    assert joints_square(whole(641, 481))[:2] == (320, 240)


def test_the_share_is_that_of_synthetic_hands(synthetic_pack_path: Path) -> None:
    pack, model = Pack(synthetic_pack_path), load_synthetic_hand()
    rows = pack.indices("sp0", "train")
    joints, verts, camera = (torch.from_numpy(pack.array(n, rows)).double() for n in ("joints", "verts", "intrinsics"))
    wrist = (model.joint_regressor @ model.template)[0]
    hand = verts[:, model.template[:, 0] <= wrist[0]]  # the fingers point to -x
    spans = [(p.amax(1) - p.amin(1)).amax(1) for p in (project(joints, camera), project(hand, camera))]
    assert float((spans[0] / spans[1]).median()) == pytest.approx(JOINTS_SHARE, abs=0.05)


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
        ((10, 10, 50), r"a box of \[10, 10, 50\]; valid: x, y, width and height in pixels"),
        ((10, 10, 50, float("nan")), "a box of"),
    ],
)
def test_a_box_that_is_no_hand_s_is_told_with_the_picture_s_size(box: tuple[float, ...], text: str) -> None:
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
