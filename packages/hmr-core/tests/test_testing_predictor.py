"""check_detector and check_predictor pass what keeps the contract, and name the rule that one breaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy import ndarray
from pydantic import BaseModel

from hmr_core.config import Section
from hmr_core.errors import HmrError
from hmr_core.geometry.mirror import mirror_points, mirror_rotations
from hmr_core.hand.layer import HandLayer
from hmr_core.plugins import DetectorSpec, PredictorSpec
from hmr_core.plugins.photo_hands import Detection, FoundHand, InBox, SeenBefore, Sought
from hmr_core.testing import check_detector, check_detector_spec, check_predictor, check_predictor_spec

IMAGE = np.zeros((120, 160, 3), np.uint8)
IMAGE[40:80, 60:100] = 255
BOX = (60.0, 40.0, 40.0, 40.0)


class Bright:
    """Sees one hand where a picture is white, in the middle of IMAGE, and poses it there."""

    root_joint = 0

    def __init__(self, layer: HandLayer | None) -> None:
        self.layer, self.calls = layer, 0

    def detect(self, image: ndarray) -> list[Detection]:
        self.calls += 1
        return (
            [Detection(box=BOX, side="right", score=0.9)] if image.shape == IMAGE.shape and image.max() == 255 else []
        )

    def predict(self, image: ndarray, intrinsics: ndarray, sought: Sequence[Sought]) -> list[FoundHand | None]:
        self.calls += 1
        return [self.look(image, place) for place in sought]

    def look(self, image: ndarray, place: Sought) -> FoundHand | None:
        if image.shape != IMAGE.shape:
            return None
        if isinstance(place, SeenBefore):
            betas = place.hand.betas if place.betas is None else place.betas
            return self.hand(place.hand.side, torch.from_numpy(betas))
        return self.hand(place.side or "right", torch.zeros(10))

    def hand(self, side: str, betas: torch.Tensor) -> FoundHand:
        assert self.layer is not None
        rotations = torch.full((1, 16, 3), 0.1)
        posed, place = self.layer(rotations, betas[None]), torch.tensor([0.0, 0.0, 0.5])
        verts, joints = posed.verts[0] + place, posed.joints[0] + place
        if side == "left":
            verts, joints, rotations = mirror_points(verts), mirror_points(joints), mirror_rotations(rotations)
        return FoundHand(
            side=side,
            score=0.9,
            joints=joints.numpy(),
            verts=verts.numpy(),
            rotations=rotations[0].numpy(),
            betas=betas.numpy(),
        )


def detector(kind: type[Bright] = Bright, config: Any = Section) -> DetectorSpec:
    return DetectorSpec(name="bright", summary="white", config=config, build=lambda *_: kind(None))


def predictor(kind: type[Bright] = Bright, config: Any = Section) -> PredictorSpec:
    return PredictorSpec(name="bright", summary="white", config=config, build=lambda _, layer, __: kind(layer))


def test_what_keeps_the_contract_passes() -> None:
    check_detector_spec(detector(), image=IMAGE)
    check_detector_spec(detector())
    check_predictor_spec(predictor(), image=IMAGE)
    check_predictor_spec(predictor(), image=IMAGE, box=BOX)


def test_a_name_that_is_not_there_is_told() -> None:
    with pytest.raises(AssertionError, match="no-such"):
        check_detector("no-such")
    with pytest.raises(AssertionError, match="no-such"):
        check_predictor("no-such")


class Loose(BaseModel):
    """Takes any key."""


class Scored(Bright):
    def detect(self, image: ndarray) -> list[Detection]:
        return [replace(hand, score=1.5) for hand in super().detect(image)]


class Drawing(Bright):
    def detect(self, image: ndarray) -> list[Detection]:
        found = super().detect(image)
        image[0, 0] = 7
        return found


class Blind(Bright):
    def detect(self, image: ndarray) -> list[Detection]:
        return []


class Beside(Bright):
    def detect(self, image: ndarray) -> list[Detection]:
        return [replace(hand, box=(500.0, 0.0, 10.0, 10.0)) for hand in super().detect(image)]


class Wandering(Bright):
    def detect(self, image: ndarray) -> list[Detection]:
        return [replace(hand, box=(60.0 + self.calls, 40.0, 40.0, 40.0)) for hand in super().detect(image)]


class Contiguous(Bright):
    def detect(self, image: ndarray) -> list[Detection]:
        if not image.flags.c_contiguous:
            raise ValueError("not contiguous")
        return super().detect(image)


class Fussy(Bright):
    def detect(self, image: ndarray) -> list[Detection]:
        if min(image.shape[:2]) < 8:
            raise ValueError("too small")
        return super().detect(image)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Scored, "a score of 1.5"),
        (Drawing, "changes the picture"),
        (Blind, "finds no hand in the picture"),
        (Beside, "beside the picture of 160x120"),
        (Wandering, "its boxes are others the second time"),
        (Contiguous, "not contiguous"),
        (Fussy, "on a picture of 1x1 pixels.*too small"),
    ],
)
def test_what_a_detector_breaks_is_told(kind: type[Bright], says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        check_detector_spec(detector(kind), image=IMAGE)
    with pytest.raises(AssertionError, match=says):
        check_predictor_spec(predictor(kind), image=IMAGE)


@pytest.mark.parametrize(("config", "says"), [(Loose, "not a subclass of"), (dict, "not a subclass of")])
def test_options_that_take_any_key_are_told(config: Any, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        check_detector_spec(detector(config=config))
    with pytest.raises(AssertionError, match=says):
        check_predictor_spec(predictor(config=config))


class Unsure(Bright):
    def look(self, image: ndarray, place: Sought) -> FoundHand | None:
        return None


class Behind(Bright):
    def hand(self, side: str, betas: torch.Tensor) -> FoundHand:
        hand = super().hand(side, betas)
        return replace(hand, joints=hand.joints - np.float32([0, 0, 1]))


class Away(Bright):
    def hand(self, side: str, betas: torch.Tensor) -> FoundHand:
        hand = super().hand(side, betas)
        return replace(hand, joints=hand.joints + np.float32([2, 0, 0]))


class Unposed(Bright):
    def hand(self, side: str, betas: torch.Tensor) -> FoundHand:
        hand = super().hand(side, betas)
        assert hand.rotations is not None
        return replace(hand, rotations=hand.rotations + np.float32(0.3))


class Crowded(Bright):
    def predict(self, image: ndarray, intrinsics: ndarray, sought: Sequence[Sought]) -> list[FoundHand | None]:
        found = super().predict(image, intrinsics, sought)
        shift = np.float32([0.01 * (len(sought) - 1), 0, 0])
        return [hand and replace(hand, joints=hand.joints + shift) for hand in found]


class Stubborn(Bright):
    def look(self, image: ndarray, place: Sought) -> FoundHand | None:
        place = replace(place, side="right") if isinstance(place, InBox | Detection) else place
        return super().look(image, place)


class Growing(Bright):
    def look(self, image: ndarray, place: Sought) -> FoundHand | None:
        return super().look(image, replace(place, betas=None) if isinstance(place, SeenBefore) else place)


class Refusing(Bright):
    def predict(self, image: ndarray, intrinsics: ndarray, sought: Sequence[Sought]) -> list[FoundHand | None]:
        if not sought:
            raise HmrError("nothing was sought.")
        return super().predict(image, intrinsics, sought)


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (Unsure, "it sees no hand where one was given"),
        (Behind, "a hand that is not before the camera"),
        (Away, "joints are in camera space"),
        (Unposed, "from what the hand layer makes of its rotations"),
        (Crowded, "another one when other hands are sought"),
        (Stubborn, "said to be a left one it gives a right one"),
        (Growing, "not the one that is to be held"),
        (Refusing, "nothing was sought"),
    ],
)
def test_what_a_predictor_breaks_is_told(kind: type[Bright], says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        check_predictor_spec(predictor(kind), image=IMAGE, box=BOX)
