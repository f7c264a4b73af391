"""The detector: the hands of a picture, each with the box that is tight around it as it is seen, its side and score."""

from __future__ import annotations

import torch
from jaxtyping import UInt8
from numpy import ndarray

from hmr_core.plugins.photo_hands import Detection
from hmr_mediapipe.config import DetectorConfig
from hmr_mediapipe.finder import Finder
from hmr_mediapipe.hand_box import hand_box
from hmr_mediapipe.networks import load_networks


class MediapipeDetector:
    """Finds hands by MediaPipe's networks. What a detection hints at is what the hand network saw: a SeenHand."""

    def __init__(self, config: DetectorConfig, device: torch.device) -> None:
        self.finder = Finder(load_networks(config.networks == "lite", device), config, device)

    def detect(self, image: UInt8[ndarray, "height width 3"]) -> list[Detection]:
        """The hands of an upright picture, RGB, those with the best palms first; the score is the palm's."""
        return [
            Detection(box=hand_box(hand.points_px), side=hand.side, score=score, hint=hand)
            for score, hand in self.finder.find(image)
        ]
