"""Metrics of samples that belong together: the two hands of a picture, and the frames of a recording."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from hmr_core.data.pack.reader import Pack
from hmr_core.hand.joints import WRIST
from hmr_core.metrics import acceleration_errors, jitters, mrrpe_mm


def pair_metrics(pack: Pack, rows: Int64[ndarray, " n"], joints: Float32[ndarray, "n 21 3"]) -> dict[str, float | None]:
    """The MRRPE over the pictures with a right and a left hand, and how many these are; nothing where there are none.

    It says how far apart a model thinks that two hands are, so that it means little where their depths are given.
    """
    if "image" not in pack.info.labels:
        return {}
    hands: dict[str, dict[bool, int]] = {}
    for place, (image, left) in enumerate(zip(pack.labels("image", rows), pack.left(rows).tolist(), strict=True)):
        if image:
            hands.setdefault(image, {})[left] = place
    pairs = np.array([(both[False], both[True]) for both in hands.values() if len(both) == 2], dtype=np.int64)
    if not len(pairs):
        return {}
    wrists, true = (points[:, WRIST].astype(np.float64) for points in (joints, pack.array("joints", rows)))
    right, left_one = pairs.T
    errors_mm = mrrpe_mm(wrists[right], wrists[left_one], true[right], true[left_one])
    return {"mrrpe_mm": float(errors_mm.mean()), "mrrpe_pairs": len(pairs)}


def motion_metrics(
    pack: Pack, rows: Int64[ndarray, " n"], joints: Float32[ndarray, "n 21 3"]
) -> dict[str, float | None]:
    """The acceleration error and the jitter of joints relative to the wrist, over all frames that follow each other.

    Jitter is of the prediction and of the truth, beside which it is to be read. Per frame: a pack does not say how many
    there are in a second. Nothing where the pack has no frames that follow each other, four at least.
    """
    errors: list[ndarray] = []
    restless: list[ndarray] = []
    true_restless: list[ndarray] = []
    for run in consecutive(pack, rows):
        if len(run) < 4:
            continue
        known = pack.joints_valid(rows[run])
        pred, true = (_rooted(points, known) for points in (joints[run], pack.array("joints", rows[run])))
        errors.append(acceleration_errors(pred, true).ravel())
        restless.append(jitters(pred).ravel())
        true_restless.append(jitters(true).ravel())
    found = {"acceleration_mm": errors, "jitter_mm": restless, "true_jitter_mm": true_restless}
    means = {name: _mean(np.concatenate(values)) for name, values in found.items() if values}
    return {name: mean for name, mean in means.items() if mean is not None}


def consecutive(pack: Pack, rows: Int64[ndarray, " n"]) -> list[Int64[ndarray, " frames"]]:
    """The places among the rows of each run of frames that follow each other: of one hand, recording and camera.

    None where the pack does not say which frames these are.
    """
    if "sequence" not in pack.info.labels or "frame_number" not in pack.info.arrays:
        return []
    views = pack.labels("view", rows) if "view" in pack.info.labels else [""] * len(rows)
    # The last frame of a recording and the first of the next one are of other keys, whatever their numbers.
    keys = list(zip(pack.labels("sequence", rows), views, pack.left(rows).tolist(), strict=True))
    numbers = {key: number for number, key in enumerate(sorted(set(keys)))}
    group = np.array([numbers[key] for key in keys], dtype=np.int64)
    frame = pack.array("frame_number", rows).astype(np.int64)
    order = np.lexsort((frame, group))
    breaks = np.flatnonzero((np.diff(group[order]) != 0) | (np.diff(frame[order]) != 1)) + 1
    return np.split(order, breaks)


def _rooted(points: Float32[ndarray, "frames 21 3"], known: ndarray) -> Float64[ndarray, "frames 21 3"]:
    """Points relative to the wrist, nan where they are not known."""
    wide = points.astype(np.float64)
    return np.where(known[..., None], wide - wide[:, WRIST, None], np.nan)


def _mean(values: ndarray) -> float | None:
    """The mean of those that there are; None where there is none."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else None
