"""What detectors and predictors of photos are: where a hand is, where one is sought, and what is found of it.

A detector says where the hands of a picture are. A predictor says what a hand looks like that is sought somewhere: in a
box that a user gave, where a detector saw it, or near where it was in the frame before. All pixels are of the upright
picture, pixel centres at integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Float64, UInt8
from numpy import ndarray

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels of the upright picture; x and y are the first column and row, as OpenCV has them."""

BOX_OF = HAND, JOINTS = ("hand", "joints")
"""What boxes are tight around."""


@dataclass(frozen=True, kw_only=True)
class Detection:
    """A hand that a detector saw.

    box: tight around the hand as it is seen. side: right or left, of the person. score: 0 to 1.
    hint: what the same plugin's predictor wants to know besides; nobody else looks at it.
    """

    box: Box
    side: str
    score: float
    hint: Any = None


@dataclass(frozen=True, kw_only=True)
class InBox:
    """A hand that is sought in a box. box_of: hand or joints. side: right or left; None where it is not known."""

    box: Box
    box_of: str = HAND
    side: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class FoundHand:
    """A hand as a predictor found it, in camera space: metres, x right, y down, z away.

    side: right or left. score: 0 to 1, how sure it is that there is a hand. joints: in OpenPose order.
    verts: the hand model's mesh; None where the predictor makes none.
    rotations: axis-angle of MANO's 16 joints, relative to the flat hand of its side. betas: its shape.
    confidence: 0 to 1 for each joint. remarks: what is to be said of it, in words, each a sentence.
    """

    side: str
    score: float
    joints: Float[ndarray, "21 3"]
    verts: Float[ndarray, "778 3"] | None = None
    rotations: Float[ndarray, "16 3"] | None = None
    betas: Float[ndarray, "10"] | None = None
    confidence: Float[ndarray, "21"] | None = None
    remarks: tuple[str, ...] = ()


SHAPES = {"joints": (21, 3), "verts": (778, 3), "rotations": (16, 3), "betas": (10,), "confidence": (21,)}
"""The arrays of a found hand, by name, and the shape of each."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SeenBefore:
    """A hand that is sought near where it was in the frame before.

    hand: as it was found there. betas: its shape, where that is known and is to be held; else None.
    """

    hand: FoundHand
    betas: Float[ndarray, "10"] | None = None


Sought = InBox | Detection | SeenBefore
"""Where a hand is sought."""


@runtime_checkable
class Detector(Protocol):
    """Says where the hands of a picture are."""

    def detect(self, image: UInt8[ndarray, "height width 3"]) -> list[Detection]:
        """The hands of an upright picture, RGB; none where there are none. The picture is not changed."""


@runtime_checkable
class HandPredictor(Detector, Protocol):
    """Says what the hands of a picture look like. root_joint: the joint whose depth a user may give."""

    root_joint: int

    def predict(
        self,
        image: UInt8[ndarray, "height width 3"],
        intrinsics: Float64[ndarray, "3 3"],
        sought: Sequence[Sought],
    ) -> list[FoundHand | None]:
        """For each hand that is sought in an upright picture, RGB, what it looks like; None where there is none.

        intrinsics: of the picture's camera, pixels. The picture is not changed. A hand is the same whatever else is
        sought.
        """
