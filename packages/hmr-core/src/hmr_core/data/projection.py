"""Whether joints in space are where they were annotated in the image: by the camera, and in one order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from hmr_core.data.remarks import Remark
from hmr_core.plugins.sample import Sample
from hmr_core.wording import listed

TOLERANCE_PX = 0.5
"""How far a projected joint may be from where it was annotated."""


def projection_remarks(samples: Sequence[Sample]) -> Iterator[Remark]:
    """What the samples' joints_px say of their joints and cameras; nothing where no sample has any."""
    distances = {sample.id: found for sample in samples if (found := _distances(sample)) is not None}
    if not distances:
        return
    worst = {name: float(found.max()) for name, found in distances.items()}
    off = [name for name, most in worst.items() if not most <= TOLERANCE_PX]
    if off:
        half = 2 * len(off) >= len(worst)
        text = (
            f"projected joints are up to {max(worst[name] for name in off):.1f} pixels from the annotated points in "
            f"{len(off)} of {len(worst)} samples ({listed(off)}): another camera, frame or order of joints"
        )
        yield Remark(level="wrong" if half else "warning", text=text, misleads=half)
    else:
        text = f"projected joints are within {max(worst.values()):.2f} pixels of the annotated points"
        yield Remark(level="ok", text=f"{text} in {len(worst)} samples")


def _distances(sample: Sample) -> np.ndarray | None:
    """From the projection of each joint that is known in space and in the image to its annotated point, pixels."""
    if sample.joints_px is None:
        return None
    known = np.isfinite(sample.joints_px).all(-1)
    if sample.joints_valid is not None:
        known &= sample.joints_valid
    if not known.any():
        return None
    joints = sample.joints[known].astype(np.float64) @ sample.intrinsics.astype(np.float64).T
    with np.errstate(all="ignore"):
        found: np.ndarray = np.linalg.norm(joints[:, :2] / joints[:, 2:] - sample.joints_px[known], axis=-1)
    return np.where(joints[:, 2] > 0, found, np.inf)
