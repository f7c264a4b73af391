"""The orders in which data sets list a hand's 21 joints, and ours, which is OpenPose's.

Each order says where our joints are in theirs: `theirs[list(ORDER)]` is in our order, `ours[list(inverse(ORDER))]` in
theirs. FreiHAND and DexYCB have our own order; HO-3D has MANO's (`hmr_core.hand.joints.MANO_TO_OPENPOSE`).
"""

from __future__ import annotations

from collections.abc import Sequence

TIP_FIRST = (20, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 19, 18, 17, 16)
"""Each finger from its tip to its base, thumb to little finger, then the wrist: one hand of InterHand2.6M."""


def inverse(order: Sequence[int]) -> tuple[int, ...]:
    """The order that undoes another."""
    return tuple(sorted(range(len(order)), key=order.__getitem__))
