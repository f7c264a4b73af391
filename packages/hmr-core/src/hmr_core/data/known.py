"""What a pack knows of its samples: enough to score them, their meshes, their rotations."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int64
from numpy import ndarray

from hmr_core.data.pack.reader import Pack
from hmr_core.hand.joints import WRIST

UNSCORED = "without truth: can be predicted for a submission, not scored"


def has_truth(pack: Pack, rows: Int64[ndarray, " n"]) -> Bool[ndarray, " n"]:
    """Which samples can be scored: those of which more than the wrist is known, which is given with a box."""
    return np.asarray(np.delete(pack.joints_valid(rows), WRIST, axis=1).any(1))


def subset_gaps(pack: Pack) -> list[str]:
    """A line for the subsets that lack something: truth, meshes or rotations, of all samples or of some.

    Subsets of a split that lack the same share a line; so do all, where all of them lack it of every sample.
    """
    lines: list[str] = []
    whole = set()
    for split, counts in pack.info.counts.items():
        alike: dict[str, list[str]] = {}
        for subset in (name for name, count in counts.items() if count):
            gaps = _gaps(pack, pack.indices(split, subset))
            whole.add(gaps)
            alike.setdefault(gaps, []).append(subset)
        lines += [f"{', '.join(subsets)} of {split}: {gaps}" for gaps, subsets in alike.items() if gaps]
    (only, *others) = whole or {""}
    return lines if others or not lines else [f"every subset: {only}"]


def _gaps(pack: Pack, rows: Int64[ndarray, " n"]) -> str:
    """What is not known of samples, in words; "" for nothing."""
    total, texts = len(rows), []
    for what, known in (("mesh", pack.verts_valid(rows)), ("rotations", pack.pose_valid(rows))):
        lacking = total - int(known.sum())
        if lacking:
            texts.append(f"without {what}" if lacking == total else f"{lacking:,} of {total:,} without {what}")
    unscored = total - int(has_truth(pack, rows).sum())
    if unscored:
        texts.append(UNSCORED if unscored == total else f"{unscored:,} of {total:,} {UNSCORED}")
    return "; ".join(texts)
