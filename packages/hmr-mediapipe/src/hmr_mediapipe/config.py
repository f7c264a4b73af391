"""The options of the detector and of the predictor."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hmr_core.config import OnlyWith, Section
from hmr_core.hand.fit.expected_errors import NOISE_MM


class DetectorConfig(Section):
    """How hands are found."""

    networks: Literal["full", "lite"] = Field(
        "full", description="MediaPipe's larger networks, or its smaller ones, which are faster and worse"
    )
    palm: float = Field(0.5, gt=0, lt=1, description="the least score of a palm in the whole picture")
    presence: float = Field(0.5, ge=0, le=1, description="how sure the hand network must be that there is a hand")
    hands: int = Field(12, ge=1, le=1000, description="the most hands of a picture: those with the best palms")
    border: float = Field(
        0.3,
        ge=0,
        le=2,
        description="where no hand is found, look again with a black border of so much of the picture's longer side, "
        "for a hand that fills the picture; 0: do not",
    )
    grey: bool = Field(True, description="tint pictures without colour, in which the palm network finds few hands")
    tiles: bool = Field(
        False, description="look into overlapping parts of the picture, too: finds small hands, and some that are none"
    )
    tile_palm: float = Field(0.5, gt=0, lt=1, description="the least score of a palm in a tile")
    tile_presence: float = Field(
        0.8, ge=0, le=1, description="how sure the hand network must be of a hand that was found in a tile alone"
    )

    only_with = (OnlyWith("tile_palm", "tiles"), OnlyWith("tile_presence", "tiles"))


class PredictorConfig(DetectorConfig):
    """How hands are found, and how a hand is fitted to what the networks saw."""

    noise_mm: float = Field(
        NOISE_MM,
        gt=0,
        le=1000,
        description="the expected error of a landmark in space, on each axis; more of it trusts the picture, and the "
        "hand's mean pose, more",
    )
