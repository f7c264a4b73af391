"""How much a synthetic data set shows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Size:
    """sequences, and frames of each; four cameras see each frame. subjects, objects: how many there are in turn."""

    sequences: int
    frames: int
    subjects: int
    objects: int


SIZES = {
    "demo": Size(sequences=12, frames=26, subjects=4, objects=4),
    "small": Size(sequences=20, frames=50, subjects=6, objects=8),
    "full": Size(sequences=50, frames=100, subjects=10, objects=12),
}
"""1,248, 4,000 and 20,000 pictures. The first is as large as small networks need, which learn it within minutes."""
