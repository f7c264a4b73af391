"""What is asked of videos."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy import ndarray

from hmr_core.errors import UsageError
from hmr_core.inference.request import PhotoRequest
from hmr_core.inference.video.smoothing import Smoothing

HANDS = 2
"""How many hands are followed, unless another number is wanted."""

MOST_HANDS = 50


@dataclass(frozen=True, kw_only=True)
class VideoRequest:
    """What is asked of a video.

    photo: as of photos; boxes are where hands are looked for in every frame, in place of the detector. hands: how many
    are followed at most. smoothing: None for none. overlay: whether to draw the hands over the video.
    Raises UsageError for what cannot be.
    """

    photo: PhotoRequest = field(default_factory=PhotoRequest)
    hands: int = HANDS
    smoothing: Smoothing | None = field(default_factory=Smoothing)
    overlay: bool = True

    def __post_init__(self) -> None:
        if self.photo.depth is not None:
            raise UsageError(
                "a depth is one photo's, and in a video a hand moves. Give the hand's size, which keeps all depths in "
                "scale."
            )
        if isinstance(self.hands, bool) or not isinstance(self.hands, int | np.integer):
            raise UsageError(f"{self.hands!r} hands at most; valid: 1 to {MOST_HANDS}.")
        if not 1 <= self.hands <= MOST_HANDS:
            raise UsageError(f"{self.hands} hands at most; valid: 1 to {MOST_HANDS}.")

    def as_report(self) -> dict[str, Any]:
        """All that hands depend on, in plain values."""
        photo = {name: _plain(value) for name, value in vars(self.photo).items()}
        smoothing = None if self.smoothing is None else self.smoothing.model_dump(mode="json")
        return {**photo, "hands": self.hands, "smoothing": smoothing}


def _plain(value: object) -> object:
    """A value as JSON has it."""
    if isinstance(value, ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value
