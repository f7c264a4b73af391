"""A detector with its options, held to what it has to give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import UInt8
from numpy import ndarray

from hmr_core.config import Section
from hmr_core.errors import HmrError
from hmr_core.hand.joints import SIDES
from hmr_core.inference.photo_options import photo_options
from hmr_core.plugins.failures import failures_told
from hmr_core.plugins.photo_hands import Detection, Detector
from hmr_core.plugins.specs import DetectorSpec


@dataclass(frozen=True, kw_only=True)
class LoadedDetector:
    """A detector that was made, and what it was made with."""

    name: str
    config: Section
    detector: Detector

    def detect(self, image: UInt8[ndarray, "height width 3"]) -> list[Detection]:
        """The hands of an upright picture, RGB; HmrError where the detector fails or gives what is no detection."""
        with failures_told(f'the detector "{self.name}"', "on a photo"):
            found = self.detector.detect(image)
        return checked_detections(f'the detector "{self.name}"', found)

    def as_report(self) -> dict[str, Any]:
        """What hands.json says of it."""
        return {"name": self.name, "options": self.config.model_dump(mode="json")}


def load_detector(spec: DetectorSpec, overrides: Sequence[str], device: torch.device) -> LoadedDetector:
    """A detector with its options; UsageError for options that do not exist."""
    config = photo_options(spec, overrides)
    with failures_told(f'the detector "{spec.name}"', "when it was made"):
        made: object = spec.build(config, device)
    if not isinstance(made, Detector):
        raise HmrError(f'the detector "{spec.name}" gave {type(made).__name__}, which has no method detect(image).')
    return LoadedDetector(name=spec.name, config=config, detector=made)


def checked_detections(who: str, found: object) -> list[Detection]:
    """What a detector gave; HmrError unless it is a list of hands."""
    if not isinstance(found, list) or not all(isinstance(each, Detection) for each in found):
        raise HmrError(f"{who} gave {type(found).__name__}; valid: a list of Detection.")
    for each in found:
        numbers = (*each.box, each.score)
        if len(each.box) != 4 or not all(map(math.isfinite, numbers)) or min(each.box[2:]) <= 0:
            raise HmrError(f"{who} gave the box {each.box} with the score {each.score}; valid: x, y, width, height.")
        if each.side not in SIDES:
            raise HmrError(f"{who} gave a hand of the side {each.side!r}; valid: {', '.join(SIDES)}.")
    return found
