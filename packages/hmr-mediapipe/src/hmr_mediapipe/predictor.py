"""The predictor: what the hands of a picture look like, by MediaPipe's networks and a fit of the hand layer.

A hand is looked at once: a detection brings along what the hand network saw. Which networks are given the picture, and
where, is told in finder.py and in_box.py, and how the hand layer's hand comes of it in fitting.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float64, UInt8
from numpy import ndarray

from hmr_core.geometry.camera import project
from hmr_core.hand.joints import WRIST
from hmr_core.hand.layer import HandLayer
from hmr_core.plugins.photo_hands import Detection, FoundHand, InBox, SeenBefore, Sought
from hmr_mediapipe.config import PredictorConfig
from hmr_mediapipe.detector import MediapipeDetector
from hmr_mediapipe.fitting import Fitting, ToFit
from hmr_mediapipe.in_box import hand_in_box
from hmr_mediapipe.landmarks import SeenHand
from hmr_mediapipe.regions import Region, region_of_landmarks

CHANGED = 0.8
"""A followed hand stays of its side unless the hand network is so sure of the other one."""


class MediapipePredictor(MediapipeDetector):
    """Predicts hands by MediaPipe's networks and a fit of the hand layer. root_joint: the wrist."""

    root_joint = WRIST

    def __init__(self, config: PredictorConfig, layer: HandLayer, device: torch.device) -> None:
        super().__init__(config, device)
        self.fitting = Fitting(layer, config)

    def predict(
        self,
        image: UInt8[ndarray, "height width 3"],
        intrinsics: Float64[ndarray, "3 3"],
        sought: Sequence[Sought],
    ) -> list[FoundHand | None]:
        """For each hand that is sought in an upright picture, RGB, what it looks like; None where there is none.

        A side that is given wins over what the network sees. Where a hand was seen before, one that the network sees
        there now begins at its pose.
        """
        followed = [place for place in sought if isinstance(place, SeenBefore)]
        again = iter(self.finder.look(image, [_region(place.hand, intrinsics) for place in followed]))
        hands = [
            self._followed(place, next(again)) if isinstance(place, SeenBefore) else self._sought(image, place)
            for place in sought
        ]
        fitted = iter(self.fitting.fit([hand for hand in hands if hand is not None], intrinsics))
        return [None if hand is None else next(fitted) for hand in hands]

    def _sought(self, image: UInt8[ndarray, "height width 3"], place: InBox | Detection) -> ToFit | None:
        """A hand where a user or a detector has it. Another plugin's detection is a box to us."""
        if isinstance(place, Detection):
            if isinstance(place.hint, SeenHand):
                return ToFit(seen=place.hint, side=place.side)
            place = InBox(box=place.box, side=place.side)
        seen = hand_in_box(self.finder, image, place)
        return None if seen is None else ToFit(seen=seen, side=place.side or seen.side)

    def _followed(self, place: SeenBefore, seen: SeenHand) -> ToFit | None:
        """A hand near where it was in the frame before."""
        if seen.presence < self.finder.config.presence:
            return None
        sure = max(seen.right, 1 - seen.right) >= CHANGED
        return ToFit(seen=seen, side=seen.side if sure else place.hand.side, before=place.hand, betas=place.betas)


def _region(hand: FoundHand, intrinsics: Float64[ndarray, "3 3"]) -> Region:
    """The region of a hand of the frame before."""
    points: ndarray = project(torch.from_numpy(hand.joints).double(), torch.from_numpy(intrinsics)).numpy()
    return region_of_landmarks(points)
