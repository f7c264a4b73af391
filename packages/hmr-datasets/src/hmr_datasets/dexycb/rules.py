"""DexYCB's own scoring of hands: its toolkit's hpe_eval (Chao et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy import ndarray

from hmr_core.errors import HmrError, Option
from hmr_core.files import read_bytes
from hmr_core.hand.joints import WRIST
from hmr_core.plugins.official import OfficialRules, SubmissionForm, SubmittedPoints, Truth
from hmr_datasets.dexycb.image_ids import image_ids
from hmr_datasets.scoring import aligned, area, distances, mean_of_means

FILE = "dexycb.csv"
"""A submission: a line for each frame, its official number and 63 numbers in mm."""

_COLUMNS = 64


def score(truth: Truth, joints: ndarray, verts: ndarray | None) -> dict[str, float | None]:
    """MPJPE in mm and AUC, absolute, relative to the wrist and aligned. The mesh is not scored."""
    relative = [hands.astype(np.float64) - hands[:, WRIST, None] for hands in (joints, truth.joints)]
    kinds = {
        "absolute": distances(joints, truth.joints),
        "root_relative": distances(*relative),
        "procrustes": distances(aligned(joints, truth.joints), truth.joints),
    }
    metrics: dict[str, float | None] = {}
    for name, errors in kinds.items():
        mean = mean_of_means(errors)
        metrics[f"{name}_mpjpe_mm"] = None if mean is None else 1000 * mean
        metrics[f"{name}_auc"] = area(errors)
    return metrics


def write(folder: Path, split: str, ids: Sequence[str], joints: ndarray, verts: ndarray | None) -> None:
    """The file, its lines in the order of the official numbers; HmrError where these cannot be known."""
    numbers = image_ids(ids, split)
    joints_mm = 1000 * joints.reshape(len(ids), -1).astype(np.float64)
    with (folder / FILE).open("w", encoding="ascii") as file:
        for row in np.argsort(numbers).tolist():
            file.write(",".join([str(numbers[row]), *(f"{value:.4f}" for value in joints_mm[row].tolist())]) + "\n")


def read(path: Path, split: str, ids: Sequence[str]) -> SubmittedPoints:
    """The points of such a file; it may have frames besides those of the subset, as those without a hand.

    HmrError naming the line that is not of 64 numbers, the frame that is missing, twice there or not finite.
    """
    wanted = {number: place for place, number in enumerate(image_ids(ids, split))}
    joints = np.full((len(ids), 63), np.nan)
    there = np.zeros(len(ids), dtype=bool)
    for line, text in enumerate(read_bytes(path).decode("ascii", errors="replace").splitlines(), start=1):
        fields = text.split(",")
        try:
            if len(fields) != _COLUMNS:
                raise ValueError(f"it has {len(fields)} columns")
            number, values = int(fields[0]), [float(field) for field in fields[1:]]
        except ValueError as error:
            raise HmrError(
                f"{path}, line {line}: {error}; valid: {_COLUMNS} of them, the frame's official number and 63 numbers "
                "in mm."
            ) from error
        place = wanted.get(number)
        if place is None:
            continue
        if there[place]:
            raise HmrError(f"{path}, line {line}: frame {number} is there twice.")
        there[place], joints[place] = True, values
    if not there.all():
        lost = int((~there).sum())
        raise HmrError(
            f"{path} lacks {lost} of the {len(ids)} samples of test of {split}, such as {ids[int(there.argmin())]}.",
            "If it is of another split, name that with ", Option("split"), ".",
        )  # fmt: skip
    if bad := np.flatnonzero(~np.isfinite(joints).all(1)).tolist():
        raise HmrError(f"{path}: the joints of {ids[bad[0]]} are not finite ({len(bad)} of {len(ids)} samples).")
    points = (joints / 1000).astype(np.float32).reshape(-1, 21, 3)
    return SubmittedPoints(joints=points)


RULES = OfficialRules(
    name="DexYCB's hpe_eval",
    rules=(
        "points: the 21 joints as they are predicted, of right and left hands; the mesh is not scored",
        "absolute: in camera space; root_relative: relative to the wrist; procrustes: after a similarity, reflections "
        "allowed",
        "mpjpe: mm, of each joint over the samples, then over the joints",
        "auc: under the PCK curve from 0 to 50 mm with 100 thresholds, of each joint, then the mean",
    ),
    score=score,
    submission=SubmissionForm(files=(FILE,), subset="test", needs_mesh=False, write=write, read=read),
)
"""DexYCB's."""
