"""Evaluations as their folders have them, and several of the same samples side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Int, UInt8
from numpy import ndarray

from hmr_core.data.image_dataset import ImageDataset, stored_crop
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, Option
from hmr_core.evaluation.predictions import Predictions, read_predictions
from hmr_core.evaluation.report import evaluation_name
from hmr_core.evaluation.report_keys import Report
from hmr_core.evaluation.results import PREDICTIONS, REPORT
from hmr_core.files import read_bytes
from hmr_core.viz.comparison import Column, comparison_sheet
from hmr_core.viz.tiles import TILE_PX


@dataclass(frozen=True, kw_only=True)
class SavedEvaluation:
    """The report and the predictions that an evaluation left in its folder."""

    folder: Path
    report: Report
    predictions: Predictions


def read_evaluations(folders: Sequence[Path]) -> list[SavedEvaluation]:
    """Read what `hmr eval` left in these folders; HmrError unless all are of the same samples of one pack."""
    found = []
    for folder in folders:
        try:
            report = json.loads(read_bytes(folder / REPORT))
        except (OSError, ValueError) as error:
            raise HmrError(f"{folder} holds no evaluation: {error}. Give a folder that `hmr eval` wrote.") from error
        found.append(SavedEvaluation(folder=folder, report=report, predictions=read_predictions(folder / PREDICTIONS)))
    for folder, one in zip(folders, found, strict=True):
        if one.predictions.pack != found[0].predictions.pack or one.predictions.ids != found[0].predictions.ids:
            raise HmrError(f"{folder} and {folders[0]} are not of the same samples, so there is nothing to compare.")
    return found


def draw_comparison(
    evaluations: Sequence[SavedEvaluation], pack: Pack, faces: Int[ndarray, "f 3"]
) -> UInt8[ndarray, "height width 3"]:
    """Draw evaluations of the same samples side by side, as comparison_sheet has it.

    faces: of the meshes. HmrError for a pack that the evaluations are not of.
    """
    first = evaluations[0].predictions
    if pack.info.digest != first.pack:
        raise HmrError(
            f"the evaluations are not of {pack.path} (its digest is another).", "Give theirs with ", Option("data"), "."
        )
    dataset = ImageDataset(pack, image_size=TILE_PX, root_joint=0, data=stored_crop(pack), verify=True)
    columns = [
        Column(
            title=f"{evaluation_name(one.report)}: MPJPE {one.report['metrics']['mpjpe_mm']:.2f} mm",
            joints=one.predictions.joints,
            verts=one.predictions.verts,
        )
        for one in evaluations
    ]
    return comparison_sheet(columns, dataset, pack.indices(first.split, first.subset), faces)
