"""On real photographs the detector finds what MediaPipe itself finds (golden file `mediapipe/photos.json`)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy import ndarray

from hmr_core.inference.photo import read_photo
from hmr_mediapipe.config import DetectorConfig
from hmr_mediapipe.detector import MediapipeDetector
from hmr_mediapipe.landmarks import SeenHand

SHARED = Path(os.environ.get("HMR_SHARED") or Path(__file__).resolve().parents[4] / "shared")
GOLDEN, PHOTOS = SHARED / "golden/mediapipe/photos.json", SHARED / "photos"

pytestmark = pytest.mark.skipif(
    not GOLDEN.is_file(),
    reason=f"no {GOLDEN}: the photographs are no part of the project; HMR_SHARED names their folder",
)


@pytest.fixture(scope="module")
def golden() -> dict[str, list[dict[str, Any]]]:
    photos: dict[str, list[dict[str, Any]]] = json.loads(GOLDEN.read_text())
    assert len(photos) == 23
    return photos


@pytest.fixture(scope="module")
def found(golden: dict[str, Any], networks_folder_path: Path) -> dict[str, list[SeenHand]]:
    detector = MediapipeDetector(DetectorConfig(), torch.device("cpu"))
    return {name: [each.hint for each in detector.detect(read_photo(PHOTOS / name).image)] for name in golden}


def test_the_same_hands_are_found_on_each_photo_and_none_besides(
    golden: dict[str, Any], found: dict[str, list[SeenHand]]
) -> None:
    for name, hands in golden.items():
        assert len(found[name]) == len(hands), name
        nearest = [_nearest(np.array(hand["landmarks_px"])[:, :2], found[name]) for hand in hands]
        assert len(set(map(id, nearest))) == len(hands), name
        assert [hand.side for hand in nearest] == [hand["side"] for hand in hands], name


def test_the_landmarks_are_the_same(golden: dict[str, Any], found: dict[str, list[SeenHand]]) -> None:
    apart, apart_mm = [], []
    for name, hands in golden.items():
        for hand in hands:
            points, world = np.array(hand["landmarks_px"])[:, :2], np.array(hand["world_m"])
            seen = _nearest(points, found[name])
            apart.append(_off(points, seen.points_px) / np.ptp(points, axis=0).max())
            apart_mm.append(1000 * _off(world, seen.world))
    assert np.median(apart) < 0.002
    assert np.max(apart) < 0.02
    assert np.median(apart_mm) < 0.5
    assert np.max(apart_mm) < 3


def _nearest(points: ndarray, seen: list[SeenHand]) -> SeenHand:
    return min(seen, key=lambda hand: _off(points, hand.points_px))


def _off(one: ndarray, other: ndarray) -> float:
    return float(np.median(np.linalg.norm(one - other, axis=1)))
