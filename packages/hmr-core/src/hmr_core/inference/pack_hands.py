"""A predictor of photos on a pack: each sample's stored window is a photo whose camera, box and side are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from numpy import ndarray

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.hand.joints import SIDES, WRIST
from hmr_core.inference.plugin_predictor import PluginPredictor, scaled
from hmr_core.inference.predict import SamplePoints
from hmr_core.inference.predictor import box_around
from hmr_core.inference.request import PhotoRequest
from hmr_core.inference.shared import in_order
from hmr_core.plugins.photo_hands import JOINTS, SHAPES, FoundHand, InBox
from hmr_core.processes import Group

_AT_ONCE = 256
"""So many samples' annotations are read together."""


def predict_hands(
    predictor: PluginPredictor,
    pack: Pack,
    rows: Int64[ndarray, " n"],
    *,
    on_sample: Callable[[int], None] = lambda samples: None,
) -> SamplePoints:
    """The hands that a predictor finds in the rows of a pack: metres, camera space of the frames, left hands as they
    are in them. What it does not say of a hand is NaN, and of one that it does not find, everything.

    It is given the window of the frame that is stored, its camera, the box of the annotated joints and the hand's side.
    The depth of its root joint is given, too (where that is not known, of the wrist or another joint): all points are
    scaled to it, so that they stay where they are in the picture. on_sample is told of each sample that was done.
    HmrError names the sample in which it failed, and images and annotations that are damaged.
    """
    ids = pack.ids(rows)
    arrays = {name: np.full((len(rows), *shape), np.nan, np.float32) for name, shape in SHAPES.items()}
    for start in range(0, len(rows), _AT_ONCE):
        chunk = rows[start : start + _AT_ONCE]
        pack.verify_annotations(chunk)
        joints, known = pack.array("joints", chunk), pack.joints_valid(chunk)
        intrinsics, left = pack.array("intrinsics", chunk).astype(np.float64), pack.left(chunk)
        for i, window in enumerate(pack.windows(chunk, verify=True)):
            camera = np.array([[1.0, 0, -window.x_px], [0, 1, -window.y_px], [0, 0, 1]]) @ intrinsics[i]
            sought = InBox(box=_box(joints[i, known[i]], camera), box_of=JOINTS, side=SIDES[int(left[i])])
            try:
                (found,) = predictor.look(window.image, camera, [sought], PhotoRequest())
                if found is not None:
                    found = _at_depth(found, joints[i], known[i], predictor)
            except HmrError as error:
                error.message = f"sample {ids[start + i]}: {error.message}"
                raise
            if found is not None:
                _put(arrays, start + i, found)
            on_sample(1)
    return SamplePoints(ids=ids, **{name: torch.from_numpy(array) for name, array in arrays.items()})


def predict_hands_shared(
    group: Group,
    predictor: PluginPredictor,
    pack: Pack,
    rows: Int64[ndarray, " n"],
    *,
    on_sample: Callable[[int], None] = lambda samples: None,
) -> SamplePoints | None:
    """As `predict_hands`, by several processes that each take a share of the samples; None on all but the first.

    A hand is the same whatever else is predicted, so the hands are those of one process.
    """
    share = np.array(group.place.share_of(rows.tolist()), dtype=np.int64)
    own = predict_hands(predictor, pack, share, on_sample=on_sample)
    if group.count == 1:
        return own
    shares = group.gather(own)
    return in_order(shares, pack.ids(rows)) if group.first else None


def found_of(points: SamplePoints) -> tuple[torch.Tensor, SamplePoints]:
    """Which hands were found, (n) bool, and their points: what is not said of each of them is not there."""
    found = torch.isfinite(points.joints).flatten(1).all(1)
    kept: dict[str, Any] = {"joints": points.joints}
    for name in SHAPES:
        array = getattr(points, name)
        whole = bool(found.any()) and bool(torch.isfinite(array[found]).all())
        kept[name] = array if whole or name == "joints" else None
    return found, replace(points, **kept)


def _box(joints: Float32[ndarray, "k 3"], camera: Float64[ndarray, "3 3"]) -> tuple[float, float, float, float]:
    projected = joints.astype(np.float64) @ camera.T
    return box_around(projected[:, :2] / projected[:, 2:])


def _at_depth(
    hand: FoundHand, joints: Float32[ndarray, "21 3"], known: Bool[ndarray, " 21"], predictor: PluginPredictor
) -> FoundHand:
    """A hand scaled to the annotated depth of its root joint, of the wrist or of the first joint that is known."""
    joint = next(joint for joint in (predictor.predictor.root_joint, WRIST, *range(len(joints))) if known[joint])
    return scaled(hand, float(joints[joint, 2]) / float(hand.joints[joint, 2]))


def _put(arrays: dict[str, ndarray], i: int, hand: FoundHand) -> None:
    for name, array in arrays.items():
        if (value := getattr(hand, name)) is not None:
            array[i] = value
