"""What is asked of photos: where their hands are, and what is known of the camera and of the hands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hmr_core.errors import UsageError, unknown_name
from hmr_core.inference.boxes import GivenBoxes, check_box, check_boxes, check_sides
from hmr_core.inference.camera import given_fov, given_intrinsics
from hmr_core.inference.numbers import Number, Numbers, number_between
from hmr_core.plugins.photo_hands import BOX_OF, HAND, InBox
from hmr_core.plugins.specs import ModelSpec


@dataclass(frozen=True, kw_only=True)
class PhotoRequest:
    """Where a photo's hands are, and what is known besides.

    boxes: of each hand x, y, width and height, pixels of the upright photo; or "whole" for a hand that fills the photo.
    None: where a detector sees hands; without a detector, one hand that fills the photo.
    box_of: hand or joints, what the boxes are tight around. sides: of all hands, or of each in a box; None: as the
    detector or the predictor has them, right where neither tells. intrinsics: fx, fy, cx and cy of the upright photo,
    or a matrix. fov: the angle of view along its longer side, degrees. depth: of the root joint of the model or
    predictor, metres. hand_size: from the wrist along the bones to the tip of the middle finger, millimetres.
    Raises UsageError for what cannot be, and for two values of one thing.
    """

    boxes: GivenBoxes | None = None
    box_of: str = HAND
    sides: str | Sequence[str] | None = None
    intrinsics: Numbers | None = None
    fov: Number | None = None
    depth: Number | None = None
    hand_size: Number | None = None

    def __post_init__(self) -> None:
        if self.boxes is not None:
            check_boxes(self.boxes)
        if self.sides is not None:
            check_sides(self.sides, 1 if self.boxes is None else len(self.boxes))
        if self.box_of not in BOX_OF:
            raise unknown_name("kind of box", self.box_of, BOX_OF)
        if self.intrinsics is not None and self.fov is not None:
            raise UsageError(
                "intrinsics and a field of view were both given; each sets the focal length. Give one of them."
            )
        if self.intrinsics is not None:
            given_intrinsics(self.intrinsics)
        if self.fov is not None:
            given_fov(self.fov)
        if self.depth is not None and self.hand_size is not None:
            raise UsageError(
                "a depth and a hand's size were both given; each says how far away it is. Give one of them."
            )
        if self.depth is not None:
            number_between(self.depth, 0.01, 100, name="a depth of {} m", valid="0.01 to 100 metres.")
        if self.hand_size is not None:
            number_between(
                self.hand_size,
                20,
                500,
                name="a hand's size of {} mm",
                valid="20 to 500 millimetres from the wrist along the bones to the tip of the middle finger (about 190 "
                "for an adult).",
            )

    def sought(self, width: int, height: int) -> list[InBox] | None:
        """Where hands are sought in a photo of this size; None where no boxes are given.

        Raises UsageError for a box that lies outside of it.
        """
        if self.boxes is None:
            return None
        sides = [None] * len(self.boxes) if self.sides is None else check_sides(self.sides, len(self.boxes))
        return [
            InBox(box=check_box(box, width, height), box_of=self.box_of, side=side)
            for box, side in zip(self.boxes, sides, strict=True)
        ]

    @property
    def side(self) -> str | None:
        """The side of every hand of a photo without boxes; None where it is not given."""
        return None if self.sides is None or self.boxes is not None else check_sides(self.sides, 1)[0]


def check_consumes_images(spec: ModelSpec) -> None:
    """UsageError for a model that is given something other than images."""
    if spec.consumes != "image":
        raise UsageError(
            f'the model "{spec.name}" is given {spec.consumes}, and a photo has none. `hmr models` lists those that '
            "are given images."
        )
