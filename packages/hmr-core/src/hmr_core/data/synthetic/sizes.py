"""How much a synthetic data set shows, and what is wrong with a wish for one; nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hmr_core.data.synthetic.objects import OBJECTS
from hmr_core.errors import HmrError, UsageError
from hmr_core.plugins.recipes import LARGEST_SEED

CAMERAS = ("north_east", "south_east", "north_west", "south_west")

SUBJECTS = ("0000", "0003", "0007", "0009", "0001", "0002", "0004", "0005", "0006", "0008")
"""In the order in which data sets take them."""

FEWEST_SUBJECTS, FEWEST_OBJECTS = 4, 4
"""With these, the tested subject and object are there."""

FEWEST_SEQUENCES = 5
"""With fewer, a split would be empty or no handover would be shown."""

MOST = 10_000
"""Sequences, and frames of each: together far more than any disk holds."""


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


def places(out: Path) -> tuple[Path, Path]:
    """The release tree of a data set, and the file of its hand model."""
    return out / "OakInk", out / "hand.npz"


def check_request(
    out: Path, *, sequences: int, frames: int, subjects: int, objects: int, seed: int, workers: int
) -> None:
    """UsageError for impossible numbers; HmrError when there is something at the data set's places already."""
    for name, value, least, most in (
        ("sequences", sequences, FEWEST_SEQUENCES, MOST),
        ("frames", frames, 1, MOST),
        ("seed", seed, 0, LARGEST_SEED),
        ("subjects", subjects, FEWEST_SUBJECTS, len(SUBJECTS)),
        ("objects", objects, FEWEST_OBJECTS, len(OBJECTS)),
    ):
        if not least <= value <= most:
            raise UsageError(f"{name} {value}: it must be {least} to {most}.")
    if workers < 1:
        raise UsageError(f"workers {workers}: it must be at least 1.")
    for path in places(out):
        if path.exists():
            raise HmrError(f"{path} exists already. Delete it, or choose another folder.")
