"""The predictor gives the hand of a picture in camera space, wherever it is sought."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy import ndarray

import hmr_core as hmr
from hmr_core.errors import HmrError, UsageError
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.plugins.photo_hands import Detection, FoundHand, InBox, SeenBefore
from hmr_core.testing import check_predictor
from hmr_mediapipe.config import PredictorConfig
from hmr_mediapipe.predictor import MediapipePredictor

BOX = (268.0, 85.0, 174.0, 236.0)


@pytest.fixture(scope="module")
def predictor(networks_folder_path: Path) -> MediapipePredictor:
    return MediapipePredictor(PredictorConfig(), HandLayer(load_synthetic_hand()), torch.device("cpu"))


@pytest.mark.parametrize("box", [None, BOX])
def test_it_keeps_the_contract(
    networks_folder_path: Path, hand_picture: ndarray, box: tuple[float, float, float, float] | None
) -> None:
    check_predictor("mediapipe", image=hand_picture, box=box)


def test_the_hand_lies_on_the_picture(
    predictor: MediapipePredictor, hand_picture: ndarray, true_hand: FoundHand, camera: ndarray
) -> None:
    found = predictor.predict(hand_picture, camera, predictor.detect(hand_picture))[0]
    assert found is not None
    assert found.confidence is None
    off = np.linalg.norm(pixels(found.joints, camera) - pixels(true_hand.joints, camera), axis=1)
    assert off.mean() < 0.05 * 236
    assert abs(found.joints[0, 2] / true_hand.joints[0, 2] - 1) < 0.15


def test_a_detection_of_another_plugin_is_a_box(
    predictor: MediapipePredictor, hand_picture: ndarray, camera: ndarray
) -> None:
    own, other = predictor.predict(
        hand_picture, camera, [predictor.detect(hand_picture)[0], Detection(box=BOX, side="right", score=0.7, hint="?")]
    )
    assert own is not None
    assert other is not None
    assert np.linalg.norm(pixels(own.joints, camera) - pixels(other.joints, camera), axis=1).mean() < 8


def test_a_side_that_is_given_wins(predictor: MediapipePredictor, hand_picture: ndarray, camera: ndarray) -> None:
    sought = [InBox(box=BOX), InBox(box=BOX, side="left"), replace(predictor.detect(hand_picture)[0], side="left")]
    found = predictor.predict(hand_picture, camera, sought)
    assert [hand and hand.side for hand in found] == ["right", "left", "left"]


def test_a_followed_hand_is_seen_where_it_is_and_not_where_it_has_gone(
    predictor: MediapipePredictor, hand_picture: ndarray, true_hand: FoundHand, camera: ndarray
) -> None:
    moved = np.roll(hand_picture, (8, 12), axis=(0, 1))
    wall = np.full_like(hand_picture, 90)
    (found,) = predictor.predict(moved, camera, [SeenBefore(hand=true_hand)])
    assert found is not None
    off = pixels(found.joints, camera) - pixels(true_hand.joints, camera) - np.array([12, 8])
    assert np.linalg.norm(off, axis=1).mean() < 10
    assert predictor.predict(wall, camera, [SeenBefore(hand=true_hand)]) == [None]


def test_hands_of_photos_by_name(
    networks_folder_path: Path, hand_picture: ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)
    load = hmr.load("mediapipe", set={"hands": 1})
    (hand,) = load(hand_picture)
    assert hand.side == "right"
    assert hand.verts is not None
    assert load(hand_picture[:200, :200]) == []
    assert load(hand_picture, boxes=[(5, 300, 100, 100)]) == []


@pytest.mark.parametrize("option", ["tile_palm=0.4", "networks=huge", "palm=1", "hands=0"])
def test_options_that_cannot_be_are_refused(networks_folder_path: Path, option: str) -> None:
    name, value = option.split("=")
    with pytest.raises(UsageError, match=name):
        hmr.load("mediapipe", set={name: value if name == "networks" else float(value)})


def test_networks_that_are_not_there_are_told_with_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMR_MEDIAPIPE", str(tmp_path))
    with pytest.raises(HmrError, match="hmr mediapipe fetch"):
        hmr.load("mediapipe")


def pixels(points: ndarray, camera: ndarray) -> ndarray:
    projected: ndarray = points @ camera.T
    return projected[:, :2] / projected[:, 2:]
