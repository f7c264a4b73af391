"""Fits the hand layer's hand to what the hand network saw: landmarks of the picture and joints in space together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from numpy import ndarray
from torch import Tensor

from hmr_core.geometry.mirror import mirror_intrinsics, mirror_points, mirror_rotations
from hmr_core.hand.fit.image_and_joints import ImageFit, ImageFitter
from hmr_core.hand.joints import SIDES
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.solver import HandFit
from hmr_core.plugins.photo_hands import FoundHand
from hmr_mediapipe.config import PredictorConfig
from hmr_mediapipe.landmarks import SeenHand

COLLAPSED = (
    "The fit of image and joints went wrong: this hand is that of the joints alone, put where the picture has it."
)

RIGHT = SIDES[0]

AXIS_PX = 1.0
"""The width of a picture that is mirrored about x = 0: the pixel u becomes -u."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ToFit:
    """A hand to be fitted: as it was seen, of which side it is, in the video's last frame, and a shape to be held."""

    seen: SeenHand
    side: str
    before: FoundHand | None = None
    betas: Float[ndarray, "10"] | None = None


class Fitting:
    """Fits a right hand's layer; a left hand is mirrored before, and what was fitted is mirrored back."""

    def __init__(self, layer: HandLayer, config: PredictorConfig) -> None:
        self.fitter, self.config = ImageFitter(layer), config

    def fit(self, hands: Sequence[ToFit], intrinsics: Float64[ndarray, "3 3"]) -> list[FoundHand]:
        """The hands in camera space, each on its own. intrinsics: of the picture that they were seen in."""
        found: dict[int, FoundHand] = {}
        for begins, holds in ((False, False), (False, True), (True, False), (True, True)):
            chosen = {
                i: hand
                for i, hand in enumerate(hands)
                if _begins_where_it_was(hand) == begins and (hand.betas is not None) == holds
            }
            if chosen:
                fit = self._fit(list(chosen.values()), torch.from_numpy(intrinsics))
                found |= {i: _found(hand, fit, row) for row, (i, hand) in enumerate(chosen.items())}
        return [found[i] for i in range(len(hands))]

    def _fit(self, hands: Sequence[ToFit], intrinsics: Float[Tensor, "3 3"]) -> ImageFit:
        """Hands of which all begin where they were, or none, and of which all shapes are held, or none."""
        points = _right_ones(hands, [hand.seen.points_px for hand in hands], _mirror_pixels)
        middles = [np.array([[hand.seen.region.x, hand.seen.region.y]]) for hand in hands]
        cameras = [
            intrinsics if hand.side == RIGHT else mirror_intrinsics(intrinsics, intrinsics.new_tensor(AXIS_PX))
            for hand in hands
        ]
        return self.fitter(
            points,
            _right_ones(hands, [hand.seen.world for hand in hands], mirror_points),
            torch.stack(cameras).float(),
            seen_at_px=_right_ones(hands, middles, _mirror_pixels)[:, 0],
            noise_mm=self.config.noise_mm,
            betas=_betas(hands),
            start=_starts(hands),
        )


def _right_ones(
    hands: Sequence[ToFit], arrays: Sequence[ndarray], mirror: Callable[[Tensor], Tensor]
) -> Float[Tensor, "n ..."]:
    """The arrays of hands, mirrored where they are of left ones."""
    tensors = [torch.from_numpy(np.asarray(array, np.float32)) for array in arrays]
    return torch.stack(
        [tensor if hand.side == RIGHT else mirror(tensor) for hand, tensor in zip(hands, tensors, strict=True)]
    )


def _mirror_pixels(points_px: Float[Tensor, "n 2"]) -> Float[Tensor, "n 2"]:
    return points_px * points_px.new_tensor([-1, 1])


def _betas(hands: Sequence[ToFit]) -> Float[Tensor, "n 10"] | None:
    """The shapes that are held."""
    held = [torch.from_numpy(np.asarray(hand.betas, np.float32)) for hand in hands if hand.betas is not None]
    return torch.stack(held) if held else None


def _begins_where_it_was(hand: ToFit) -> bool:
    """Whether the fit of a hand begins with the hand of the last frame."""
    before = hand.before
    return before is not None and before.side == hand.side and before.rotations is not None and before.betas is not None


def _starts(hands: Sequence[ToFit]) -> HandFit | None:
    """Where fits begin: with the hands of the last frame, mirrored where they are left ones."""
    if not _begins_where_it_was(hands[0]):
        return None
    joints, rotations, betas, verts = (
        [getattr(hand.before, name) for hand in hands] for name in ("joints", "rotations", "betas", "verts")
    )
    return HandFit(
        joints=_right_ones(hands, joints, mirror_points),
        rotations=_right_ones(hands, rotations, mirror_rotations),
        betas=torch.from_numpy(np.stack(betas).astype(np.float32)),
        verts=_right_ones(hands, verts, mirror_points),
    )


def _found(hand: ToFit, fit: ImageFit, row: int) -> FoundHand:
    """A fitted right hand as it is, or as the left one that it is the mirror image of."""
    joints, verts, rotations = fit.joints[row], fit.verts[row], fit.rotations[row]
    if hand.side != RIGHT:
        joints, verts, rotations = mirror_points(joints), mirror_points(verts), mirror_rotations(rotations)
    return FoundHand(
        side=hand.side,
        score=hand.seen.presence,
        joints=joints.numpy(),
        verts=verts.numpy(),
        rotations=rotations.numpy(),
        betas=fit.betas[row].numpy(),
        remarks=(COLLAPSED,) if fit.from_joints_alone[row] else (),
    )
