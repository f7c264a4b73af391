"""What the samples of a comparison can be grouped by: labels of the pack, and what the annotations show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from hmr_core.data.pack.reader import Pack
from hmr_core.evaluation.predictions import Predictions
from hmr_core.geometry.camera import project

LABELLED = ("subject", "object", "view", "intent", "sequence")
"""What a pack's labels say, of what breakdowns are by."""

UNKNOWN = "(not known)"
"""The group of samples without a label."""

_VISIBLE = (("all joints in the picture", 1.0), ("from 75 %", 0.75), ("from 50 %", 0.5), ("under 50 %", 0.0))
"""Groups by the share of the known joints that are inside the frame, with the least share of each."""


@dataclass(frozen=True, eq=False)
class Annotated:
    """The samples of a comparison in their pack: its rows."""

    pack: Pack
    rows: Int64[ndarray, " samples"]

    @classmethod
    def of(cls, predictions: Predictions, pack: Pack) -> Annotated:
        """The samples of predictions, in their order; the pack has them all."""
        rows = pack.indices(predictions.split, predictions.subset)
        place = dict(zip(pack.ids(rows), rows.tolist(), strict=True))
        return cls(pack, np.array([place[sample] for sample in predictions.ids], dtype=np.int64))


@dataclass(frozen=True, eq=False)
class Grouping:
    """Samples in groups. names: of the groups in their order; of: the group's number for each sample."""

    names: list[str]
    of: Int64[ndarray, " samples"]

    def chosen(self, group: int) -> Int64[ndarray, " chosen"]:
        """The places of a group's samples."""
        return np.flatnonzero(self.of == group)


def grouping(samples: Annotated, by: str) -> Grouping | None:
    """The groups of samples, of which there may be one alone; None where the pack does not know them.

    by: one of LABELLED, side, visibility or size.
    """
    if by in LABELLED:
        return by_label(samples, by)
    if by == "side":
        return _by_names(["left" if left else "right" for left in samples.pack.left(samples.rows).tolist()])
    if by == "visibility":
        return _by_visibility(samples)
    return _by_size(samples)


def by_label(samples: Annotated, label: str) -> Grouping | None:
    """The groups that a label of the pack makes; None where it has none, or knows it of no sample."""
    if label not in samples.pack.info.labels:
        return None
    names = samples.pack.labels(label, samples.rows)
    return _by_names([name or UNKNOWN for name in names]) if any(names) else None


def _by_names(named: Sequence[str]) -> Grouping:
    names, of = np.unique(np.array(named), return_inverse=True)
    return Grouping(names.tolist(), of.astype(np.int64))


def _filled(names: Sequence[str], of: Int64[ndarray, " samples"]) -> Grouping:
    """The groups that have samples."""
    there, numbers = np.unique(of, return_inverse=True)
    return Grouping([names[group] for group in there], numbers.astype(np.int64))


def _by_visibility(samples: Annotated) -> Grouping:
    points_px, known = _joints_px(samples)
    # The first pixel's centre is at 0, 0, so the frame begins half a pixel before it.
    inside = ((points_px >= -0.5) & (points_px <= samples.pack.array("frame_px", samples.rows)[:, None] - 0.5)).all(-1)
    share = (inside & known).sum(1) / known.sum(1)
    least = np.array([share for _, share in _VISIBLE])
    return _filled([name for name, _ in _VISIBLE], (share[:, None] < least).sum(1))


def _by_size(samples: Annotated) -> Grouping:
    """Quarters by the longer side of the box around the joints in the picture."""
    points_px, known = _joints_px(samples)
    highest = np.where(known[..., None], points_px, -np.inf).max(1)
    lowest = np.where(known[..., None], points_px, np.inf).min(1)
    sides_px = (highest - lowest).max(1)
    ends_px = np.quantile(sides_px, [0, 0.25, 0.5, 0.75, 1])
    names = [f"{first:.0f} to {last:.0f} px" for first, last in pairwise(ends_px)]
    return _filled(names, np.searchsorted(ends_px[1:-1], sides_px, side="left"))


def _joints_px(
    samples: Annotated,
) -> tuple[Float64[ndarray, "samples 21 2"], Bool[ndarray, "samples 21"]]:
    """The true joints in the frame's pixels, and which of them are known."""
    pack, rows = samples.pack, samples.rows
    joints, intrinsics = (torch.from_numpy(pack.array(name, rows)).double() for name in ("joints", "intrinsics"))
    known = pack.joints_valid(rows)
    joints[torch.from_numpy(~known)] = 1.0  # any place before the camera
    return project(joints, intrinsics).numpy(), known
