"""Hands over a picture: the nearest on top, and labels where they help."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hmr_core.hand.hand import Hand
from hmr_core.viz import hands as viz_hands
from hmr_core.viz.hands import draw_hands

CAMERA = np.array([[300.0, 0, 100], [0, 300, 80], [0, 0, 1]])
IMAGE = np.full((160, 200, 3), 90, np.uint8)


def hand(
    side: str = "right", x: float = 0.0, depth: float = 0.5, box: tuple[float, ...] = (80.0, 60.0, 40.0, 40.0)
) -> Hand:
    """A square before the camera in a hand's place."""
    verts = np.array([[-0.03, -0.03, 0], [0.03, -0.03, 0], [0.03, 0.03, 0], [-0.03, 0.03, 0]]) + np.array([x, 0, depth])
    joints = np.tile([x, 0, depth], (21, 1)).astype(np.float32)
    return Hand(
        side=side,
        score=1.0,
        box=(float(box[0]), float(box[1]), float(box[2]), float(box[3])),
        joints=joints,
        joints_px=np.tile([[100 + 300 * x / depth, 80]], (21, 1)).astype(np.float32),
        verts=verts.repeat(195, axis=0)[:778].astype(np.float32),
        faces=np.array([[0, 400, 200], [0, 600, 400]]),
        intrinsics=CAMERA,
        intrinsics_from="given",
        depth_from="given",
    )


def written(monkeypatch: pytest.MonkeyPatch, hands: list[Hand], labels: list[str] | None = None) -> list[str]:
    texts: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(viz_hands, "write_label", lambda image, text, box: texts.append(text))
        draw_hands(IMAGE, hands, labels)
    return texts


def test_a_single_hand_has_no_label_and_several_have_their_number_and_side(monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(monkeypatch, [hand()]) == [""]
    assert written(monkeypatch, [hand("left", depth=0.4), hand("right")]) == ["1 left", "2 right"]
    assert written(monkeypatch, [hand("left"), hand()], ["7 left", ""]) == ["7 left", ""]
    assert written(monkeypatch, []) == []
    with pytest.raises(ValueError, match="shorter"):
        draw_hands(IMAGE, [hand(), hand()], ["one"])


def test_labels_are_written_above_the_box_and_readable_on_dark_and_light(monkeypatch: pytest.MonkeyPatch) -> None:
    for grey in (0, 90, 255):
        image = np.full((160, 200, 3), grey, np.uint8)
        bare, labelled = draw_hands(image, [hand()]), draw_hands(image, [hand()], ["1 left"])
        rows, columns = np.nonzero((bare != labelled).any(-1))
        assert 40 < rows.min() < rows.max() <= 62
        assert columns.min() >= 76
        text = labelled[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert int(text.max()) - int(text.min()) > 200


@pytest.mark.parametrize("box", [(-300, -300, 40, 40), (900, 900, 40, 40), (np.nan, np.nan, 1, 1), (1e12, -1e12, 1, 1)])
def test_a_label_stays_within_the_picture(box: tuple[float, ...]) -> None:
    bare, labelled = draw_hands(IMAGE, [hand()]), draw_hands(IMAGE, [hand(box=box)], ["1 left"])
    changed = (bare != labelled).any(-1)
    assert changed.sum() > 200
    tiny = draw_hands(IMAGE[:5, :5], [hand(box=box)], ["1 left"])
    assert tiny.shape == (5, 5, 3)


def test_the_nearest_hand_is_on_top_in_whatever_order() -> None:
    near, far = hand(x=0.01, depth=0.4), hand(depth=0.5)
    labels = ["", ""]
    np.testing.assert_array_equal(draw_hands(IMAGE, [near, far], labels), draw_hands(IMAGE, [far, near], labels))


def test_the_picture_that_was_given_stays_and_joints_are_drawn_without_a_mesh() -> None:
    image = IMAGE.copy()
    with_mesh = draw_hands(image, [hand()])
    bare = draw_hands(image, [replace(hand(), verts=None)])
    np.testing.assert_array_equal(image, IMAGE)
    assert 0 < (bare != IMAGE).any(-1).sum() < (with_mesh != IMAGE).any(-1).sum()
