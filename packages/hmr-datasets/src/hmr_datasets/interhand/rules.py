"""InterHand2.6M's own scoring: the `evaluate` of its data set class (Moon et al., ECCV 2020)."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from hmr_core.hand.joints import WRIST
from hmr_core.plugins.official import OfficialRules, Truth
from hmr_datasets.scoring import distances, mean_of_means

INTERACTING = "interacting"
"""What the label `intent` says of a hand that is annotated together with the other one."""


def score(truth: Truth, joints: ndarray, verts: ndarray | None) -> dict[str, float | None]:
    """MPJPE and MRRPE in mm. The mesh is not scored."""
    rooted = [hands.astype(np.float64) - hands[:, WRIST, None] for hands in (joints, truth.joints)]
    known = truth.joints_valid & truth.joints_valid[:, WRIST, None]
    errors_mm = np.where(known, 1000 * distances(*rooted), np.nan)
    # The scorer's points are the 42 of both hands: a right hand knows the first half of them, a left one the second.
    both = np.concatenate(
        [np.where(truth.left[:, None], np.nan, errors_mm), np.where(truth.left[:, None], errors_mm, np.nan)], axis=1
    )
    together = np.array([intent == INTERACTING for intent in truth.labels["intent"]], dtype=bool)
    return {
        "mpjpe_mm": mean_of_means(both),
        "mpjpe_single_mm": mean_of_means(both[~together]),
        "mpjpe_interacting_mm": mean_of_means(both[together]),
        "mrrpe_mm": None if truth.root_given else _mrrpe_mm(truth, joints, together),
    }


def _mrrpe_mm(truth: Truth, joints: ndarray, together: ndarray) -> float | None:
    """The mean over the pictures of interacting hands that know both wrists; None where there is no such picture."""
    from hmr_core.metrics import mrrpe_mm

    hands: dict[str, dict[bool, int]] = {}
    for row in np.flatnonzero(together & truth.joints_valid[:, WRIST]).tolist():
        hands.setdefault(truth.labels["image"][row], {})[bool(truth.left[row])] = row
    pairs = [(hand[False], hand[True]) for hand in hands.values() if len(hand) == 2]
    if not pairs:
        return None
    right, left = (list(rows) for rows in zip(*pairs, strict=True))
    wrists, true = (points[:, WRIST].astype(np.float64) for points in (joints, truth.joints))
    return float(mrrpe_mm(wrists[right], wrists[left], true[right], true[left]).mean())


RULES = OfficialRules(
    name="InterHand2.6M's evaluate",
    rules=(
        "points: the known ones of the 21 joints of each hand, relative to its own wrist, not aligned",
        "mpjpe: mm, of each of the 42 joints of both hands over the samples, then over the joints",
        "single and interacting: of hands that are annotated alone, and of those annotated together",
        "mrrpe: the way from the right wrist to the left one, mm, the mean over pictures of interacting hands; not "
        "where the annotations' depth placed the hands",
    ),
    score=score,
)
"""InterHand2.6M's."""
