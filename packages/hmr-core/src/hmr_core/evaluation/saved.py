"""An evaluation as its folder has it, and a picture of several side by side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8
from numpy import ndarray

from hmr_core.data.image_dataset import ImageDataset, stored_crop
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, Option
from hmr_core.evaluation.comparing.names import unique_names
from hmr_core.evaluation.predictions import Predictions, read_predictions
from hmr_core.evaluation.report_keys import Report
from hmr_core.evaluation.results import PREDICTIONS, REPORT
from hmr_core.files import read_bytes
from hmr_core.plugins.run import CONFIG
from hmr_core.shell import command_line
from hmr_core.viz.comparison import Column, comparison_sheet
from hmr_core.viz.tiles import TILE_PX

_HOW = "Give a folder that `hmr eval` wrote; its default is eval/NAME-SPLIT-SUBSET."
_AGAIN = "Evaluate again, into the same folder: what is there is replaced."


@dataclass(frozen=True, kw_only=True)
class SavedEvaluation:
    """The report and the predictions that an evaluation left in its folder."""

    folder: Path
    report: Report
    predictions: Predictions


def read_evaluation(folder: Path) -> SavedEvaluation:
    """Read what `hmr eval` left in a folder; HmrError when it is not there, damaged, or not of one evaluation."""
    try:
        report = json.loads(read_bytes(folder / REPORT))
        pack, ids = report["pack"]["blake2b"], report["errors"]["id"]
    except OSError as error:
        raise HmrError(
            f"{folder} holds no evaluation: {folder / REPORT} cannot be read ({error.strerror}).", _instead(folder)
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise HmrError(f"{folder} holds no evaluation: its {REPORT} is not a whole report.", _AGAIN) from error
    predictions = read_predictions(folder / PREDICTIONS)
    if predictions.pack != pack or predictions.ids != ids:
        raise HmrError(f"{REPORT} and {PREDICTIONS} in {folder} are not of one evaluation.", _AGAIN)
    for name in ("joints", "verts"):
        points = getattr(predictions, name)
        if points is not None and (bad := np.flatnonzero(~np.isfinite(points).all((1, 2))).tolist()):
            raise HmrError(f"the {name} of {ids[bad[0]]} in {folder} are not finite.", _AGAIN)
    return SavedEvaluation(folder=folder, report=report, predictions=predictions)


def _instead(folder: Path) -> str:
    """What to give in place of a folder that is no evaluation, by what is in it."""
    try:
        inside = sorted(folder.iterdir())
    except OSError:
        return _HOW
    if evaluations := [path for path in inside if (path / REPORT).is_file()]:
        return f"Give the evaluations in it: `{command_line('hmr compare', *evaluations)}`"
    if (folder / CONFIG).is_file():
        return f"It is a run: `{command_line('hmr eval MODEL', Option('ckpt', folder))}` evaluates it."
    return _HOW


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
    names = unique_names([one.report for one in evaluations], [one.folder for one in evaluations])
    columns = [
        Column(
            title=f"{name}: MPJPE {one.report['metrics']['mpjpe_mm']:.2f} mm",
            joints=one.predictions.joints,
            verts=one.predictions.verts,
        )
        for name, one in zip(names, evaluations, strict=True)
    ]
    return comparison_sheet(columns, dataset, pack.indices(first.split, first.subset), faces)
