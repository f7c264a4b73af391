"""A plugin's predictor of photos: nothing of it is trained here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from numpy import ndarray

from hmr_core.config import Section
from hmr_core.errors import HmrError
from hmr_core.hand.joints import SIDES
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.source import HandModelSource
from hmr_core.inference.depth import bone_lengths, bones_of, hand_size
from hmr_core.inference.detecting import checked_detections
from hmr_core.inference.photo_options import photo_options
from hmr_core.inference.predictor import Predictor
from hmr_core.inference.request import PhotoRequest
from hmr_core.plugins.failures import failures_told
from hmr_core.plugins.photo_hands import SHAPES, Detection, FoundHand, HandPredictor, Sought
from hmr_core.plugins.specs import PredictorSpec


@dataclass(frozen=True, kw_only=True, repr=False)
class PluginPredictor(Predictor):
    """Predicts the hands of photos by what a plugin has for it.

    layer: of a right hand, on the CPU. predictor: the plugin's own.
    """

    follows: ClassVar[bool] = True
    name: str
    config: Section
    hand_model: HandModelSource
    layer: HandLayer
    predictor: HandPredictor
    device: torch.device

    def __repr__(self) -> str:
        """The predictor in one line."""
        return f"PluginPredictor({self.name}, {self.hand_model.label}, {self.device})"

    def detect(self, image: UInt8[ndarray, "height width 3"]) -> Sequence[Detection]:
        """Where the predictor sees hands in an upright picture, RGB."""
        with self._failures_told():
            found = self.predictor.detect(image)
        return checked_detections(self._who, found)

    def look(
        self,
        image: UInt8[ndarray, "height width 3"],
        intrinsics: Float64[ndarray, "3 3"],
        sought: Sequence[Sought],
        request: PhotoRequest,
    ) -> list[FoundHand | None]:
        """The hands that are sought in a picture, None where there is none; in their size or depth, where it is given.

        A picture does not tell a hand from one twice as large and twice as far away, so all points are scaled.
        """
        with self._failures_told():
            found: object = self.predictor.predict(image, intrinsics, sought)
        if not isinstance(found, list) or len(found) != len(sought):
            count = f"{len(found)} of them" if isinstance(found, list) else type(found).__name__
            raise HmrError(f"{self._who} gave {count} for {len(sought)} hands; valid: a list with one for each.")
        return [None if hand is None else self._scaled(self._checked(hand), request) for hand in found]

    def as_report(self) -> dict[str, Any]:
        """What hands.json says of it."""
        return {
            "predictor": self.name,
            "options": self.config.model_dump(mode="json"),
            "hand_model": self.hand_model.as_report(),
        }

    @property
    def _who(self) -> str:
        return f'the predictor "{self.name}"'

    def _failures_told(self) -> Any:
        return failures_told(self._who, "on a photo", device=str(self.device))

    def _checked(self, hand: object) -> FoundHand:
        if not isinstance(hand, FoundHand):
            raise HmrError(f"{self._who} gave {type(hand).__name__}; valid: FoundHand or None.")
        if hand.side not in SIDES:
            raise HmrError(f"{self._who} gave a hand of the side {hand.side!r}; valid: {', '.join(SIDES)}.")
        for name, shape in SHAPES.items():
            array = getattr(hand, name)
            if array is None and name != "joints":
                continue
            if not isinstance(array, ndarray) or array.shape != shape or array.dtype != np.float32:
                kind = f"{array.dtype} {array.shape}" if isinstance(array, ndarray) else type(array).__name__
                raise HmrError(f"{self._who} gave {name} as {kind}; valid: a NumPy array, float32 {shape}.")
            if not np.isfinite(array).all():
                raise HmrError(f"{self._who} gave {name} that are not finite.")
        if hand.joints[:, 2].min() <= 0 or (hand.verts is not None and hand.verts[:, 2].min() <= 0):
            raise HmrError(f"{self._who} gave a hand that is not before the camera.")
        return hand

    def _scaled(self, hand: FoundHand, request: PhotoRequest) -> FoundHand:
        if request.depth is not None:
            times = float(request.depth) / float(hand.joints[self.predictor.root_joint, 2])
        elif request.hand_size is not None:
            if hand.betas is None:
                bones = bones_of(torch.from_numpy(hand.joints)[None])
            else:
                bones = bone_lengths(self.layer, torch.from_numpy(hand.betas)[None])
            times = float(request.hand_size) / 1000 / float(hand_size(bones))
        else:
            return hand
        return scaled(hand, times)


def scaled(hand: FoundHand, times: float) -> FoundHand:
    """A hand so many times as large and as far away: what a picture shows of it is the same."""
    points = {
        name: array * np.float32(times) for name in ("joints", "verts") if (array := getattr(hand, name)) is not None
    }
    return replace(hand, **points)


def make_predictor(
    spec: PredictorSpec,
    overrides: Sequence[str],
    *,
    hand_model: HandModelSource,
    layer: HandLayer,
    device: torch.device,
) -> PluginPredictor:
    """A predictor with its options; UsageError for options that do not exist."""
    config = photo_options(spec, overrides)
    with failures_told(f'the predictor "{spec.name}"', "when it was made"):
        made: object = spec.build(config, layer, device)
    if not isinstance(made, HandPredictor):
        raise HmrError(
            f'the predictor "{spec.name}" gave {type(made).__name__}; valid: what has root_joint, detect(image) and '
            "predict(image, intrinsics, sought)."
        )
    return PluginPredictor(
        name=spec.name, config=config, hand_model=hand_model, layer=layer, predictor=made, device=device
    )
