"""The detector finds the hand of a picture, however it is turned, small, large, or without colour."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy import ndarray

from hmr_core.inference.boxes import overlap_of_boxes
from hmr_core.inference.predictor import box_around
from hmr_core.plugins.photo_hands import Detection, FoundHand, InBox
from hmr_core.testing import check_detector
from hmr_mediapipe.config import DetectorConfig
from hmr_mediapipe.detector import MediapipeDetector
from hmr_mediapipe.finder import Found, distinct, with_small_ones
from hmr_mediapipe.in_box import hand_in_box
from hmr_mediapipe.landmarks import SeenHand
from hmr_mediapipe.looks import is_grey, tiles, tinted, whole
from hmr_mediapipe.regions import Region

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def detector(networks_folder_path: Path) -> MediapipeDetector:
    return MediapipeDetector(DetectorConfig(), CPU)


@pytest.fixture
def with_options(detector: MediapipeDetector) -> Iterator[MediapipeDetector]:
    """The detector, whose options a test may change."""
    before = detector.finder.config
    yield detector
    detector.finder.config = before


def points_of(hand: Detection) -> ndarray:
    assert isinstance(hand.hint, SeenHand)
    return hand.hint.points_px


def pixels(points: ndarray, camera: ndarray) -> ndarray:
    projected: ndarray = points @ camera.T
    return projected[:, :2] / projected[:, 2:]


def test_it_keeps_the_contract(networks_folder_path: Path, hand_picture: ndarray) -> None:
    check_detector("mediapipe", image=hand_picture)


def test_a_hand_has_its_box_side_and_landmarks(
    detector: MediapipeDetector, hand_picture: ndarray, true_hand: FoundHand, camera: ndarray
) -> None:
    (found,) = detector.detect(hand_picture)
    assert true_hand.verts is not None
    assert found.side == "right"
    assert found.score > 0.9
    assert overlap_of_boxes(found.box, box_around(pixels(true_hand.verts, camera))) > 0.9
    off = np.linalg.norm(points_of(found) - pixels(true_hand.joints, camera), axis=1)
    assert off.mean() < 0.05 * max(found.box[2:])


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_turned_picture_has_the_turned_hand(
    detector: MediapipeDetector, hand_picture: ndarray, quarters: int
) -> None:
    height, width = hand_picture.shape[:2]
    (upright,) = detector.detect(hand_picture)
    (turned,) = detector.detect(np.ascontiguousarray(np.rot90(hand_picture, quarters)))
    x, y = points_of(upright).T
    for _ in range(quarters):  # anticlockwise
        x, y = y, width - 1 - x
        height, width = width, height
    assert turned.side == "right"
    assert np.linalg.norm(points_of(turned) - np.stack([x, y], axis=1), axis=1).mean() < 4


def test_a_mirrored_picture_has_the_other_hand(detector: MediapipeDetector, hand_picture: ndarray) -> None:
    (one,) = detector.detect(hand_picture)
    (other,) = detector.detect(np.ascontiguousarray(hand_picture[:, ::-1]))
    assert (one.side, other.side) == ("right", "left")
    mirrored = points_of(one) * [-1, 1] + [hand_picture.shape[1] - 1, 0]
    assert np.linalg.norm(points_of(other) - mirrored, axis=1).mean() < 4


def test_two_hands_are_two(detector: MediapipeDetector, hand_picture: ndarray) -> None:
    both = np.concatenate([hand_picture[:, 100:580], hand_picture[:, 580:100:-1]], axis=1)
    found = sorted(detector.detect(both), key=lambda hand: hand.box[0])
    assert [hand.side for hand in found] == ["right", "left"]


def test_a_picture_without_hands_has_none(detector: MediapipeDetector) -> None:
    assert detector.detect(np.full((300, 400, 3), 128, np.uint8)) == []


def test_a_hand_that_fills_the_picture_is_found_by_the_border(
    with_options: MediapipeDetector, hand_picture: ndarray, true_hand: FoundHand, camera: ndarray
) -> None:
    low, high = (edge(pixels(true_hand.joints, camera), axis=0).astype(int) for edge in (np.min, np.max))
    filled = np.ascontiguousarray(hand_picture[low[1] + 30 : high[1] - 60, low[0] + 20 : high[0] - 20])
    (found,) = with_options.detect(filled)
    off = points_of(found) + low + [20, 30] - pixels(true_hand.joints, camera)
    assert np.median(np.linalg.norm(off, axis=1)) < 20
    with_options.finder.config = DetectorConfig(border=0)
    assert with_options.detect(filled) == []


def test_a_small_hand_is_found_in_tiles(with_options: MediapipeDetector, hand_picture: ndarray) -> None:
    small = cv2.resize(hand_picture, (96, 72), interpolation=cv2.INTER_AREA)
    room = np.full((960, 1280, 3), hand_picture[0, 0], np.uint8)
    room[700:772, 900:996] = small
    assert with_options.detect(room) == []
    with_options.finder.config = DetectorConfig(tiles=True)
    (found,) = with_options.detect(room)
    assert found.side == "right"
    assert abs(found.box[0] - 940) < 8
    assert abs(found.box[1] - 713) < 8


def test_tiles_do_not_find_a_large_hand_again(with_options: MediapipeDetector, hand_picture: ndarray) -> None:
    (once,) = with_options.detect(hand_picture)
    with_options.finder.config = DetectorConfig(tiles=True)
    (found,) = with_options.detect(hand_picture)
    assert found.box == once.box


def test_tiles_cover_the_picture_and_overlap() -> None:
    for height, width in ((480, 640), (1000, 300), (400, 4000)):
        seen = np.zeros((height, width), int)
        for tile in tiles(np.broadcast_to(np.uint8(0), (height, width, 3))):
            assert tile.angle == 0
            left, top = round(tile.x - tile.side / 2), round(tile.y - tile.side / 2)
            seen[max(top, 0) : round(top + tile.side), max(left, 0) : round(left + tile.side)] += 1
        assert seen.min() >= 1
        assert seen.max() >= 4
    assert tiles(np.zeros((100, 90, 3), np.uint8)) == []


def test_a_border_is_a_share_of_the_longer_side() -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    assert whole(image) == (100, 50, 200, 0)
    assert whole(image, 0.25) == (100, 50, 300, 0)


def test_pictures_without_colour_are_told(hand_picture: ndarray) -> None:
    grey = np.repeat(cv2.cvtColor(hand_picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    assert is_grey(grey)
    assert is_grey(grey[:1, :1])
    assert not is_grey(hand_picture)
    noisy = grey.astype(int) + np.random.default_rng(0).integers(-2, 3, grey.shape)
    assert is_grey(noisy.clip(0, 255).astype(np.uint8))


def test_grey_becomes_shades_of_skin() -> None:
    shades = tinted(np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)).astype(int)
    assert shades[0].tolist() == [0, 0, 0]
    assert shades[255].tolist() == [255, 237, 217]
    assert (np.diff(shades, axis=0) >= 0).all()


def test_a_hand_without_colour_is_found(detector: MediapipeDetector, hand_picture: ndarray) -> None:
    grey = np.repeat(cv2.cvtColor(hand_picture, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2)
    (found,) = detector.detect(grey)
    assert found.side == "right"


def test_the_most_hands_and_the_least_scores_are_options(
    with_options: MediapipeDetector, hand_picture: ndarray
) -> None:
    both = np.concatenate([hand_picture[:, 100:580], hand_picture[:, 580:100:-1]], axis=1)
    assert len(with_options.detect(both)) == 2
    for options in (DetectorConfig(hands=1),):
        with_options.finder.config = options
        assert len(with_options.detect(both)) == 1
    for options in (DetectorConfig(palm=0.999), DetectorConfig(presence=1.0)):
        with_options.finder.config = options
        assert with_options.detect(both) == []


def test_the_small_networks_find_it_too(networks_folder_path: Path, hand_picture: ndarray) -> None:
    (found,) = MediapipeDetector(DetectorConfig(networks="lite"), CPU).detect(hand_picture)
    assert found.side == "right"


@pytest.mark.parametrize("box_of", ["hand", "joints"])
@pytest.mark.parametrize("quarters", [0, 1, 2])
def test_the_hand_in_a_box_is_found_however_it_is_turned(
    detector: MediapipeDetector, hand_picture: ndarray, quarters: int, box_of: str
) -> None:
    image = np.ascontiguousarray(np.rot90(hand_picture, quarters))
    (found,) = detector.detect(image)
    box = found.box if box_of == "hand" else box_around(points_of(found))
    seen = hand_in_box(detector.finder, image, InBox(box=box, box_of=box_of))
    assert seen is not None
    assert np.linalg.norm(seen.points_px - points_of(found), axis=1).mean() < 5


def test_the_hand_in_a_box_is_found_where_no_palm_is(
    detector: MediapipeDetector, hand_picture: ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = detector.detect(hand_picture)
    monkeypatch.setattr(detector.finder, "palms", lambda *_: [])
    seen = hand_in_box(detector.finder, hand_picture, InBox(box=box_around(points_of(found)), box_of="joints"))
    assert seen is not None
    assert np.linalg.norm(seen.points_px - points_of(found), axis=1).mean() < 8


def test_a_box_beside_the_hand_has_none(detector: MediapipeDetector, hand_picture: ndarray) -> None:
    assert hand_in_box(detector.finder, hand_picture, InBox(box=(10.0, 300.0, 120.0, 120.0))) is None


def seen_hand(x: float, y: float, size: float) -> Found:
    """A hand whose landmarks fill a square."""
    points = np.stack([np.linspace(x, x + size, 21), np.linspace(y, y + size, 21)[::-1]], axis=1)
    region = Region(x + size / 2, y + size / 2, 2 * size, 0)
    return Found(0.9, SeenHand(region=region, points_px=points, world=np.zeros((21, 3)), presence=1.0, right=1.0))


def test_the_same_hand_counts_once_and_the_first_stays() -> None:
    hands = [seen_hand(0, 0, 100), seen_hand(5, 5, 100), seen_hand(200, 0, 100), seen_hand(0, 0, 30)]
    assert distinct(hands) == [hands[0], hands[2], hands[3]]


def test_a_small_hand_of_a_tile_within_a_larger_one_is_none() -> None:
    large, finger, beside = seen_hand(0, 0, 100), seen_hand(60, 20, 30), seen_hand(120, 20, 30)
    assert with_small_ones([large], [finger, beside]) == [large, beside]
    assert with_small_ones([large, finger], [beside]) == [large, finger, beside]  # seen in the whole picture
    again = replace(large.hand, points_px=large.hand.points_px + 4)
    assert with_small_ones([large], [Found(0.99, again)]) == [large]
