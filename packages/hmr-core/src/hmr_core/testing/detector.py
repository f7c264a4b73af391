"""The contract of a detector as a test: `check_detector("name")` in a plugin's own test suite is all that it needs.

Each rule is a function below, in the order in which they are checked; a detector that breaks one fails with an
AssertionError that says what is broken and why it matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np
import torch
from jaxtyping import UInt8
from numpy import ndarray

from hmr_core.errors import HmrError
from hmr_core.inference.detecting import LoadedDetector, load_detector
from hmr_core.plugins.photo_hands import Detection
from hmr_core.plugins.registry import discover
from hmr_core.plugins.specs import DetectorSpec
from hmr_core.testing.imports import check_import
from hmr_core.testing.options import check_options
from hmr_core.testing.pictures import PICTURES, picture

SAME_PX = 1e-3
"""How far boxes of one picture may be from each other."""


def check_detector(
    name: str,
    *,
    image: UInt8[ndarray, "height width 3"] | None = None,
    options: Sequence[str] = (),
    device: str = "cpu",
) -> None:
    """Check an installed detector against the whole contract; AssertionError says what it breaks and why it matters.

    image: a picture, RGB, in which it finds hands; without one, only what holds of any picture is checked. options: how
    to set it, as `key=value`.
    """
    registry = discover()
    try:
        spec = registry.detector(name)
    except HmrError as error:
        raise AssertionError(f"{error}") from error
    check_import("detector", name, registry)
    check_detector_spec(spec, image=image, options=options, device=device)


def check_detector_spec(
    spec: DetectorSpec,
    *,
    image: UInt8[ndarray, "height width 3"] | None = None,
    options: Sequence[str] = (),
    device: str = "cpu",
) -> None:
    """Check a spec and its detector against all rules but that of the import; see check_detector."""
    check_options(f'detector "{spec.name}"', spec.config)
    try:
        loaded = load_detector(spec, options, torch.device(device))
    except HmrError as error:
        raise AssertionError(f'detector "{spec.name}": {error}') from error
    rules = DetectorRules(f'detector "{spec.name}"', loaded)
    rules.check_any_picture()
    if image is not None:
        rules.check_hands(image)


class DetectorRules:
    """The rules, on one detector."""

    def __init__(self, who: str, loaded: LoadedDetector) -> None:
        self.who, self.loaded = who, loaded

    def check_any_picture(self) -> None:
        """Pictures of any size and shape have a list of hands, and stay as they are."""
        for size in PICTURES:
            self._detect(picture(size))

    def check_hands(self, image: UInt8[ndarray, "height width 3"]) -> None:
        """It finds a hand, the same one again, and in a picture that lies otherwise in memory."""
        found = self._detect(image)
        if not found:
            self._fail("it finds no hand in the picture that was given for hands to be found in")
        height, width = image.shape[:2]
        for hand in found:
            x, y, box_width, box_height = hand.box
            if x > width or y > height or x + box_width < 0 or y + box_height < 0:
                self._fail(f"its box {hand.box} is beside the picture of {width}x{height} pixels")
        self._check_same(found, self._detect(image), "the second time")
        views = (np.repeat(image, 2, axis=1)[:, ::2], np.asfortranarray(image))
        for view in views:
            self._check_same(found, self._detect(view), "in a picture that is not contiguous in memory")

    def _check_same(self, found: Sequence[Detection], again: Sequence[Detection], when: str) -> None:
        if len(found) != len(again) or [one.side for one in found] != [one.side for one in again]:
            self._fail(f"it finds other hands {when}")
        for one, other in zip(found, again, strict=True):
            if np.abs(np.subtract(one.box, other.box)).max() > SAME_PX:
                self._fail(f"its boxes are others {when}: {other.box} is {one.box}")

    def _detect(self, image: UInt8[ndarray, "height width 3"]) -> list[Detection]:
        given = image.copy()
        try:
            found = self.loaded.detect(image)
        except HmrError as error:
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise AssertionError(f"{self.who}: on a picture of {size} pixels: {error}") from error
        if not np.array_equal(given, image):
            self._fail("it changes the picture that it is given, which is drawn over afterwards: work on a copy")
        if wrong := [hand.score for hand in found if not 0 <= hand.score <= 1]:
            self._fail(f"it gives a score of {wrong[0]:g}; valid: 0 to 1")
        return found

    def _fail(self, text: str) -> NoReturn:
        raise AssertionError(f"{self.who}: {text}.")
