"""The report of predictions that lie in a file, without a model: what `hmr score` prints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hmr_core.data.pack.reader import Pack
from hmr_core.evaluation.comparing.groups import Annotated
from hmr_core.evaluation.comparing.report_intervals import report_intervals
from hmr_core.evaluation.official import ROOT_GIVEN, score_officially
from hmr_core.evaluation.predictions import GIVEN, PREDICTED, Predictions
from hmr_core.evaluation.report import NO_MESH
from hmr_core.evaluation.report_keys import Report
from hmr_core.evaluation.scoring import rescore
from hmr_core.evaluation.submissions import placed_at_the_camera
from hmr_core.plugins.official import OfficialRules

NO_VERTS = "the file has no verts, so there is no mesh metric"
"""Of a file that somebody else wrote."""


def score_predictions(
    path: Path,
    predictions: Predictions,
    pack: Pack,
    rules: OfficialRules | None = None,
    *,
    on_scored: Callable[[int], None] = lambda samples: None,
) -> Report:
    """Score the predictions of a file against a pack, and by the data set's own rules if they are given.

    The report has what scoring determines and what the file itself says; the other keys are absent. on_scored is told
    how many samples were done.
    Raises HmrError for predictions that are not exactly those of their subset.
    """
    scores = rescore(path, pack, predictions, on_scored)
    told = predictions.labels.get("notes", [])
    notes = [*told, *(note for note in scores.notes if note not in told), *placed_at_the_camera(predictions)]
    if predictions.pack not in ("", pack.info.digest):
        notes.append(f"the predictions were made on another pack than {pack.path}")
    if not predictions.sealed:
        notes.append(f"{path} has no digest, so that nobody can tell whether it is as it was written")
    labels: Any = predictions.labels
    official: Any = {}
    if rules is not None:
        root_given = predictions.depth_from != PREDICTED
        points = (predictions.joints, predictions.verts)
        official = {"official": score_officially(rules, pack, scores.rows, *points, root_given=root_given)}
        notes += [ROOT_GIVEN] if predictions.depth_from == GIVEN and ROOT_GIVEN not in notes else []
    return {
        **labels,
        **official,
        "model": predictions.model,
        "split": predictions.split,
        "subset": predictions.subset,
        **scores.as_report(),
        "intervals": report_intervals(Annotated(pack, scores.rows), scores.errors),
        "missing": scores.missing(
            None if predictions.verts is not None else NO_MESH if predictions.sealed else NO_VERTS
        ),
        "notes": notes,
        "synthetic": pack.info.synthetic,
    }
