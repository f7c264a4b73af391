"""What the page shows of a sample's hands: crops with joints and meshes over them, and the points of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int, Int16, UInt8
from numpy import ndarray

from hmr_core.data.image_dataset import ImageDataset, stored_crop
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, Option
from hmr_core.evaluation.saved import SavedEvaluation
from hmr_core.pictures import encode
from hmr_core.viz.tiles import Tile

PANEL_PX = 224
"""The side of a picture."""

QUALITY = 85
"""Of its JPEG: 10 to 15 kB."""

PER_M = 10_000
"""Points are kept in tenths of a millimetre."""

UNKNOWN = -(1 << 15)
"""Stands for a coordinate that is not known."""

Kind = Literal["joints", "mesh"]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture of a sample. evaluation: whose prediction is over the crop; None: the truth is."""

    kind: Kind
    evaluation: int | None
    jpeg: bytes


@dataclass(frozen=True, kw_only=True)
class Points:
    """A hand's points in camera space, relative to the true wrist, in tenths of a millimetre; UNKNOWN: not known."""

    joints: Int16[ndarray, "21 3"]
    verts: Int16[ndarray, "v 3"] | None


@dataclass(frozen=True, kw_only=True)
class SampleHands:
    """A sample's pictures, the truth's first; its true hand, and the predicted ones in the order of the evaluations.

    labels: what the sample belongs to, by name, such as its subject.
    """

    labels: dict[str, str]
    left: bool
    panels: list[Panel]
    truth: Points
    predicted: list[Points]


def panels_of(evaluations: Sequence[SavedEvaluation]) -> int:
    """How many pictures each sample has: the truth's, and each evaluation's, of its joints and of its mesh."""
    return 1 + sum(1 if one.predictions.verts is None else 2 for one in evaluations)


def sample_hands(
    evaluations: Sequence[SavedEvaluation], pack: Pack, faces: Int[ndarray, "f 3"], samples: Sequence[int]
) -> dict[int, SampleHands]:
    """Draw some samples of evaluations of the same samples, by their places in these.

    pack: the one that the evaluations are of, HmrError for another. faces: of the meshes, as a right hand has them.
    """
    first = evaluations[0].predictions
    if pack.info.digest != first.pack:
        raise HmrError(
            f"the evaluations are not of {pack.path} (its digest is another).", "Give theirs with ", Option("data"), "."
        )
    rows = pack.indices(first.split, first.subset)
    row_of = dict(zip(pack.ids(rows), rows.tolist(), strict=True))  # the evaluations may have an order of their own
    dataset = ImageDataset(pack, image_size=PANEL_PX, root_joint=0, data=stored_crop(pack), verify=True)
    found = {}
    for sample in samples:
        row = row_of[first.ids[sample]]
        tile = Tile.of(dataset, row, PANEL_PX)
        panels = [_panel("joints", None, tile.with_joints(tile.true_joints))]
        for i, one in enumerate(evaluations):
            predictions = one.predictions
            panels.append(_panel("joints", i, tile.with_joints(predictions.joints[sample])))
            if predictions.verts is not None:
                panels.append(_panel("mesh", i, tile.with_mesh(predictions.verts[sample], faces)))
        joints = pack.array("joints", [row])[0]
        truth = _relative(joints, _true_verts(pack, row), joints[0], pack.joints_valid([row])[0])
        predicted = [
            _relative(
                one.predictions.joints[sample],
                None if one.predictions.verts is None else one.predictions.verts[sample],
                joints[0],
            )
            for one in evaluations
        ]
        labels = {name: label for name in pack.info.labels if (label := pack.labels(name, [row])[0])}
        left = bool(pack.left([row])[0])
        found[sample] = SampleHands(labels=labels, left=left, panels=panels, truth=truth, predicted=predicted)
    return found


def _panel(kind: Kind, evaluation: int | None, picture: UInt8[ndarray, "size size 3"]) -> Panel:
    jpeg = encode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, QUALITY))
    return Panel(kind=kind, evaluation=evaluation, jpeg=jpeg)


def _true_verts(pack: Pack, row: int) -> Float32[ndarray, "778 3"] | None:
    """The true mesh, where the data set has this sample's."""
    verts: ndarray | None = pack.array("verts", [row])[0] if pack.verts_valid([row])[0] else None
    return verts


def _relative(
    joints: Float32[ndarray, "21 3"],
    verts: Float32[ndarray, "v 3"] | None,
    wrist: Float32[ndarray, "3"],
    valid: Bool[ndarray, "21"] | None = None,
) -> Points:
    """A hand's points (metres) as the page keeps them. valid: which joints are known; None: all are."""
    kept = _whole(joints - wrist)
    if valid is not None:
        kept[~valid] = UNKNOWN
    return Points(joints=kept, verts=None if verts is None else _whole(verts - wrist))


def _whole(points_m: Float32[ndarray, "n 3"]) -> Int16[ndarray, "n 3"]:
    """Tenths of a millimetre; what is farther than three metres away is there, in that direction's corner."""
    return np.clip(np.round(points_m * PER_M), UNKNOWN + 1, -UNKNOWN - 1).astype(np.int16)
