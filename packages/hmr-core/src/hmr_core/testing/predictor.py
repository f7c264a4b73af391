"""The contract of a predictor as a test: `check_predictor("name")` in a plugin's own test suite is all that it needs.

Each rule is a function below, in the order in which they are checked; a predictor that breaks one fails with an
AssertionError that says what is broken and why it matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NoReturn

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from numpy import ndarray

from hmr_core.errors import HmrError
from hmr_core.geometry.camera import project
from hmr_core.geometry.mirror import mirror_points, mirror_rotations
from hmr_core.hand.joints import SIDES
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.source import HandModelSource
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.inference.detecting import LoadedDetector
from hmr_core.inference.plugin_predictor import PluginPredictor, make_predictor
from hmr_core.inference.request import PhotoRequest
from hmr_core.plugins.photo_hands import Box, Detection, FoundHand, InBox, SeenBefore, Sought
from hmr_core.plugins.registry import discover
from hmr_core.plugins.specs import PredictorSpec
from hmr_core.testing.detector import DetectorRules
from hmr_core.testing.imports import check_import
from hmr_core.testing.options import check_options
from hmr_core.testing.pictures import PICTURES, picture

SAME_MM = 0.1
"""Largest distance between two computations of the same point: float32 sums in another order."""


def check_predictor(
    name: str,
    *,
    image: UInt8[ndarray, "height width 3"] | None = None,
    box: Box | None = None,
    options: Sequence[str] = (),
    device: str = "cpu",
) -> None:
    """Check an installed predictor against the whole contract; AssertionError says what it breaks and why it matters.

    image: a picture, RGB, with a hand; without one, only what holds of any picture is checked. box: around that hand;
    without one, the predictor is to find it. options: how to set it, as `key=value`.
    """
    registry = discover()
    try:
        spec = registry.predictor(name)
    except HmrError as error:
        raise AssertionError(f"{error}") from error
    check_import("predictor", name, registry)
    check_predictor_spec(spec, image=image, box=box, options=options, device=device)


def check_predictor_spec(
    spec: PredictorSpec,
    *,
    image: UInt8[ndarray, "height width 3"] | None = None,
    box: Box | None = None,
    options: Sequence[str] = (),
    device: str = "cpu",
) -> None:
    """Check a spec and its predictor against all rules but that of the import; see check_predictor."""
    who = f'predictor "{spec.name}"'
    check_options(who, spec.config)
    hand = HandModelSource(model=load_synthetic_hand(), path=None, digest=None)
    layer = HandLayer(hand.model)
    try:
        made = make_predictor(spec, options, hand_model=hand, layer=layer, device=torch.device(device))
    except HmrError as error:
        raise AssertionError(f"{who}: {error}") from error
    detector = DetectorRules(who, LoadedDetector(name=spec.name, config=made.config, detector=made.predictor))
    detector.check_any_picture()
    contract = _Contract(who, made)
    contract.check_any_picture()
    if image is not None:
        if box is None:
            detector.check_hands(image)
        contract.check_hand(image, box)


class _Contract:
    """The rules, on one predictor."""

    def __init__(self, who: str, made: PluginPredictor) -> None:
        self.who, self.made = who, made

    def check_any_picture(self) -> None:
        """A box in a picture of any size has a hand or none, and nothing sought is nothing found."""
        for width, height in PICTURES:
            image = picture((width, height))
            self._predict(image, [InBox(box=(0.0, 0.0, float(width), float(height)))])
            self._predict(image, [])

    def check_hand(self, image: UInt8[ndarray, "height width 3"], box: Box | None) -> None:
        """The hand of a picture: in camera space, of a side that is given, the same again and among others."""
        place: InBox | Detection = InBox(box=box) if box is not None else self.made.detect(image)[0]
        hand = self._predict(image, [place])[0]
        if hand is None:
            self._fail("it sees no hand where one was given for it to be seen")
        self._check_place(image, hand, place.box)
        self._check_mesh(hand)
        self._check_same(hand, self._predict(image, [place])[0], "the second time")
        other = InBox(box=(0.0, 0.0, 8.0, 8.0))
        again = SeenBefore(hand=hand)
        self._check_same(hand, self._predict(image, [other, again, place])[2], "when other hands are sought, too")
        self._check_sides(image, place)
        self._check_held_shape(image, hand)

    def _check_place(self, image: UInt8[ndarray, "height width 3"], hand: FoundHand, box: Box) -> None:
        points = project(torch.from_numpy(hand.joints).double(), torch.from_numpy(_camera(image))).numpy()
        low, size = np.array(box[:2]), np.array(box[2:])
        if np.linalg.norm(points.mean(0) - low - size / 2) > size.max():
            self._fail(
                f"its joints are seen about {points.mean(0).round()} and its box is {box}: joints are in camera space, "
                "metres, by the camera that it is given"
            )

    def _check_mesh(self, hand: FoundHand) -> None:
        """The mesh is the hand layer's for the rotations and betas, but for its place."""
        if hand.verts is None or hand.rotations is None or hand.betas is None:
            return
        rotations, betas, verts = (torch.from_numpy(array) for array in (hand.rotations, hand.betas, hand.verts))
        if hand.side != SIDES[0]:  # the layer is a right hand's
            rotations, verts = mirror_rotations(rotations), mirror_points(verts)
        posed = self.made.layer(rotations[None], betas[None]).verts[0]
        off_mm = 1000 * float(((posed - posed.mean(0)) - (verts - verts.mean(0))).abs().max())
        if off_mm > SAME_MM:
            self._fail(
                f"its mesh is up to {off_mm:.2g} mm from what the hand layer makes of its rotations and betas, but for "
                "its place. Both are written down as one hand: give rotations that are relative to the flat hand of "
                "its side, and the betas that the mesh was made with"
            )

    def _check_sides(self, image: UInt8[ndarray, "height width 3"], place: Detection | InBox) -> None:
        for side in SIDES:
            hand = self._predict(image, [replace(place, side=side)])[0]
            if hand is not None and hand.side != side:
                self._fail(f"of a hand that is said to be a {side} one it gives a {hand.side} one")

    def _check_held_shape(self, image: UInt8[ndarray, "height width 3"], hand: FoundHand) -> None:
        if hand.betas is None:
            return
        betas = np.linspace(-0.5, 0.5, len(hand.betas)).astype(np.float32)
        found = self._predict(image, [SeenBefore(hand=hand, betas=betas)])[0]
        if found is None:
            self._fail("it does not see a hand where it saw that hand in the frame before, which was the same picture")
        if found.betas is None or not np.allclose(found.betas, betas, atol=1e-5):
            self._fail("the shape of a followed hand is not the one that is to be held: a hand would grow and shrink")

    def _check_same(self, one: FoundHand, other: FoundHand | None, when: str) -> None:
        if other is None:
            self._fail(f"it does not see the hand {when}")
        off_mm = 1000 * float(np.abs(one.joints - other.joints).max())
        if one.side != other.side or off_mm > SAME_MM:
            self._fail(f"its hand is another one {when} ({off_mm:.2g} mm apart)")

    def _predict(self, image: UInt8[ndarray, "height width 3"], sought: Sequence[Sought]) -> list[FoundHand | None]:
        given = image.copy()
        try:
            found = self.made.look(image, _camera(image), sought, PhotoRequest())
        except HmrError as error:
            size = f"{image.shape[1]}x{image.shape[0]}"
            raise AssertionError(f"{self.who}: on a picture of {size} pixels: {error}") from error
        if not np.array_equal(given, image):
            self._fail("it changes the picture that it is given, which is drawn over afterwards: work on a copy")
        return found

    def _fail(self, text: str) -> NoReturn:
        raise AssertionError(f"{self.who}: {text}.")


def _camera(image: UInt8[ndarray, "height width 3"]) -> Float64[ndarray, "3 3"]:
    """A camera of 60 degrees along the picture's longer side."""
    height, width = image.shape[:2]
    focal = max(width, height) / 2 / np.tan(np.pi / 6)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
