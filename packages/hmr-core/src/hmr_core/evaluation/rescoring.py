"""A file of predictions scored from its path to its report, without a model: what `hmr score` prints.

What the files alone show is looked at first, without torch, so that a mistake is told at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hmr_core.data.pack.reader import Pack
from hmr_core.evaluation.predictions import read_predictions
from hmr_core.evaluation.report_keys import Report
from hmr_core.evaluation.results import PREDICTIONS

NO_VERTS = "the file has no verts, so there is no mesh metric"
"""Of a file that somebody else wrote."""


def score_predictions(path: Path, data: Path) -> Report:
    """Score a file of predictions, or an evaluation's folder, against the pack in the file `data`.

    The report has what scoring determines and what the file itself says; the other keys are absent.
    Raises HmrError for a file that holds no predictions, or not exactly those of its subset, and for an unusable pack.
    """
    path = path / PREDICTIONS if path.is_dir() else path
    predictions = read_predictions(path)
    pack = Pack(data)

    from hmr_core.evaluation.report import NO_MESH
    from hmr_core.evaluation.scoring import rescore

    scores = rescore(path, pack, predictions)
    told = predictions.labels.get("notes", [])
    notes = [*told, *(note for note in scores.notes if note not in told)]
    if predictions.pack not in ("", pack.info.digest):
        notes.append(f"the predictions were made on another pack than {pack.path}")
    if not predictions.sealed:
        notes.append(f"{path} has no digest, so that nobody can tell whether it is as it was written")
    labels: Any = predictions.labels
    return {
        **labels,
        "model": predictions.model,
        "split": predictions.split,
        "subset": predictions.subset,
        **scores.as_report(),
        "missing": [] if predictions.verts is not None else [NO_MESH if predictions.sealed else NO_VERTS],
        "notes": notes,
        "synthetic": pack.info.synthetic,
    }
