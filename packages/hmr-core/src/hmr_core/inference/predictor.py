"""What predicts the hands of photos, whatever it is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float64, Int, UInt8
from numpy import ndarray

from hmr_core.errors import HmrError, UsageError
from hmr_core.geometry.camera import project
from hmr_core.hand.hand import GIVEN, HAND_SIZE, Hand
from hmr_core.hand.joints import SIDES
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.source import HandModelSource
from hmr_core.inference.boxes import GivenBoxes
from hmr_core.inference.camera import PhotoCamera, photo_camera
from hmr_core.inference.numbers import Number, Numbers
from hmr_core.inference.photo import Photo, read_photo
from hmr_core.inference.request import PhotoRequest
from hmr_core.plugins.photo_hands import HAND as HAND_BOX
from hmr_core.plugins.photo_hands import Box, Detection, FoundHand, InBox, Sought
from hmr_core.viz.hands import draw_hands


class Predictor(ABC):
    """Predicts the hands of photos; `hmr.load` makes one.

    name: the model's or the predictor's. hand_model: whose mesh the hands have. layer: poses it, of a right hand, on
    the CPU. device: where networks run. follows: whether `look` says of a hand that was seen before that it has gone;
    if not, it sees a hand wherever it looks.
    """

    follows: ClassVar[bool]
    name: str
    hand_model: HandModelSource
    layer: HandLayer
    device: torch.device

    def __call__(
        self,
        image: ndarray | Path | str,
        *,
        boxes: GivenBoxes | None = None,
        box_of: str = HAND_BOX,
        sides: str | Sequence[str] | None = None,
        intrinsics: Numbers | None = None,
        fov: Number | None = None,
        depth: Number | None = None,
        hand_size: Number | None = None,
    ) -> list[Hand]:
        """The hands of a photo: those in the boxes, in their order, or those that are found.

        image: (height, width, 3), uint8, RGB, or a path. The others are those of PhotoRequest: boxes in pixels of the
        upright photo ("whole" for a hand that fills it) around the hand or, by box_of, the joints; sides; intrinsics or
        fov (degrees); depth (metres) or hand_size (millimetres).
        A box in which the predictor sees no hand has none in the list; models see one in every box.
        Raises UsageError for boxes, sides and cameras that cannot be, HmrError for what is no photo, and for a
        prediction that is not finite or that no mesh can be made of.
        """
        request = PhotoRequest(
            boxes=boxes, box_of=box_of, sides=sides, intrinsics=intrinsics, fov=fov, depth=depth, hand_size=hand_size
        )
        return self.predict(as_photo(image), request)

    def predict(self, photo: Photo, request: PhotoRequest) -> list[Hand]:
        """The hands of a photo, as __call__ has them."""
        camera = photo_camera(photo, intrinsics=request.intrinsics, fov=request.fov)
        sought: Sequence[Sought] | None = request.sought(photo.width, photo.height)
        if sought is None:
            sought = self.find(photo.image, request)
        found = self.look(photo.image, camera.intrinsics, sought, request) if sought else []
        return [
            self.hand(hand, camera, request, box=place.box if isinstance(place, InBox) else None)
            for place, hand in zip(sought, found, strict=True)
            if hand is not None
        ]

    def find(self, image: UInt8[ndarray, "height width 3"], request: PhotoRequest) -> Sequence[InBox | Detection]:
        """Where the hands of an upright picture are, of the side that is asked for, where one is."""
        return [place if request.side is None else replace(place, side=request.side) for place in self.detect(image)]

    @abstractmethod
    def detect(self, image: UInt8[ndarray, "height width 3"]) -> Sequence[InBox | Detection]:
        """Where the hands of an upright picture, RGB, are."""

    @abstractmethod
    def look(
        self,
        image: UInt8[ndarray, "height width 3"],
        intrinsics: Float64[ndarray, "3 3"],
        sought: Sequence[Sought],
        request: PhotoRequest,
    ) -> list[FoundHand | None]:
        """For each hand that is sought in an upright picture, RGB, what it looks like; None where there is none.

        request: a depth or a size is that of the hands that are found; its boxes and camera do not count.
        """

    @abstractmethod
    def as_report(self) -> dict[str, Any]:
        """What hands.json says of it."""

    def faces(self, side: str) -> Int[ndarray, "f 3"]:
        """The triangles of a hand of a side, looking outwards: the mirror image of a right hand's are turned over."""
        faces: ndarray = self.layer.model.faces.numpy()
        return faces if side == SIDES[0] else faces[:, [0, 2, 1]]

    def hand(self, found: FoundHand, camera: PhotoCamera, request: PhotoRequest, *, box: Box | None) -> Hand:
        """A hand that was found, with all that a picture's camera says of it.

        box: as it was given; None: around the hand's mesh, or its joints where it has none.
        """
        joints_px = pixels_of(found.joints, camera.intrinsics)
        outline = joints_px if found.verts is None else pixels_of(found.verts, camera.intrinsics)
        return Hand(
            side=found.side,
            score=found.score,
            box=box or box_around(outline),
            joints=found.joints,
            joints_px=joints_px,
            verts=found.verts,
            faces=None if found.verts is None else self.faces(found.side),
            rotations=found.rotations,
            betas=found.betas,
            confidence=found.confidence,
            intrinsics=camera.intrinsics,
            intrinsics_from=camera.intrinsics_from,
            depth_from=HAND_SIZE if request.depth is None else GIVEN,
            remarks=found.remarks,
        )


def box_around(points_px: ndarray) -> Box:
    """The box that is tight around points (n, 2), pixels with pixel centres at integers."""
    low, high = points_px.min(0).astype(float), points_px.max(0).astype(float)
    (x, y), (width, height) = low.tolist(), (high - low + 1).tolist()
    return x, y, width, height


def as_photo(image: ndarray | Path | str) -> Photo:
    """A photo of an array (height, width, 3), uint8, RGB, or of the file at a path; HmrError for anything else."""
    if isinstance(image, Path | str):
        return read_photo(Path(image))
    if not isinstance(image, ndarray):
        raise HmrError(
            f"a photo as {type(image).__name__}; valid: a NumPy array (height, width, 3) of uint8, RGB, or the path of "
            "a file."
        )
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise HmrError(
            f"a photo of shape {image.shape} and type {image.dtype}; valid: (height, width, 3) of uint8, RGB, or the "
            "path of a file."
        )
    return Photo(image)


def draw(image: ndarray | Path | str, hands: Sequence[Hand]) -> UInt8[ndarray, "height width 3"]:
    """A copy of a photo with its hands drawn over it: meshes, or joints where there is no mesh; uint8, RGB.

    image: as a predictor takes it.
    """
    if not isinstance(hands, Sequence) or not all(isinstance(hand, Hand) for hand in hands):
        raise UsageError(
            f"hands to draw as {type(hands).__name__}; valid: a list of hmr.Hand, as a predictor gives it."
        )
    return draw_hands(as_photo(image).image, hands)


def pixels_of(points: ndarray, intrinsics: Float64[ndarray, "3 3"]) -> ndarray:
    """Where points (n, 3), metres, camera space, are in the picture: (n, 2), float32."""
    pixels: ndarray = project(torch.from_numpy(points).double(), torch.from_numpy(intrinsics)).float().numpy()
    return pixels
