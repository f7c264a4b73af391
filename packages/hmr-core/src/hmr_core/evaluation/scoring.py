"""Metrics from predicted points and a pack: what `hmr eval` and `hmr score` share."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy import ndarray

from hmr_core.data.pack.entry import check_pack
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, Option
from hmr_core.evaluation.further import further_errors, further_metrics, joined
from hmr_core.evaluation.predictions import ERRORS, Predictions
from hmr_core.evaluation.report_keys import Report
from hmr_core.geometry.alignment import DegeneratePointsError
from hmr_core.metrics import SampleErrors, concatenate, known_mean, sample_errors, summarise, summarise_aligned

_CHUNK = 512


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Errors sample by sample, in metres, and the metrics that they sum up to.

    ids: the samples', in the order of the errors. more: metrics beside the published table's, where they were asked
    for. notes: on the annotations.
    """

    ids: list[str]
    errors: SampleErrors
    metrics: dict[str, float | None]
    aligned: dict[str, dict[str, float | None]]
    more: dict[str, float | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def errors_mm(self) -> dict[str, Any]:
        """Each sample's errors, float64 (n), by the names of ERRORS; None for those of a mesh where there is none."""
        errors_m = (known_mean(self.errors.joints, 1), self.errors.verts, self.errors.pa_joints, self.errors.pa_verts)
        return {
            name: None if error_m is None else (1000 * error_m).numpy()
            for name, error_m in zip(ERRORS, errors_m, strict=True)
        }

    def as_report(self) -> Report:
        """The part of a report that scoring alone determines; the errors are rounded to 0.1 micrometres."""
        errors: Any = {name: None if e is None else e.round(4).tolist() for name, e in self.errors_mm().items()}
        return {
            "samples": len(self.ids),
            "metrics": self.metrics,
            "aligned": self.aligned,
            "more": self.more,
            "errors": {"id": self.ids} | errors,
        }


def score(
    pack: Pack,
    rows: Int64[ndarray, " n"],
    joints: Float32[ndarray, "n 21 3"],
    verts: Float32[ndarray, "n 778 3"] | None,
    *,
    further: bool = True,
) -> Scores:
    """Hold predictions (metres, camera space) against the annotations of the same rows of a pack.

    Joints that are not known count for nothing; of a pack without meshes, the joints alone are scored. further: whether
    to compute what there is beside the published table's metrics, which takes longer than these.
    HmrError names the sample whose annotations are damaged, or whose points cannot be aligned.
    """
    parts, more = [], []
    for start in range(0, len(rows), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        pack.verify_annotations(rows[chunk])
        mesh = None
        points = [joints[chunk], pack.array("joints", rows[chunk])]
        if verts is not None and "verts" in pack.info.arrays:
            mesh = verts[chunk]
            points += [mesh, pack.array("verts", rows[chunk])]
        known = torch.from_numpy(pack.joints_valid(rows[chunk]))
        try:
            parts.append(sample_errors(*(torch.from_numpy(array) for array in points), known=known))
        except DegeneratePointsError as error:
            sample = pack.ids(rows[chunk])[error.index]
            raise HmrError(f"PA error of sample {sample}: {error.reason}") from error
        if further:
            more.append(further_errors(pack, rows[chunk], joints[chunk], mesh))
    errors = concatenate(parts)
    return Scores(
        ids=pack.ids(rows),
        errors=errors,
        metrics=summarise(errors),
        aligned=summarise_aligned(errors),
        more=further_metrics(joined(more)) if more else {},
    )


def rescore(path: Path, pack: Pack, predictions: Predictions) -> Scores:
    """Score a file of predictions again; HmrError when its ids are not exactly its subset's."""
    rows = pack.indices(predictions.split, predictions.subset)
    warnings = check_pack(pack, predictions.split, predictions.subset)
    by_id = dict(zip(pack.ids(rows), rows.tolist(), strict=True))
    given = set(predictions.ids)
    subset = f"{predictions.split} {predictions.subset}"
    if len(given) != len(predictions.ids):
        raise HmrError(
            f"{path} has {len(predictions.ids) - len(given)} samples twice; each of {subset} must be there once."
        )
    missing, unknown = by_id.keys() - given, given - by_id.keys()
    if missing or unknown:
        what = f"lacks {min(missing)}" if missing else f"has {min(unknown)}, which is not in it"
        raise HmrError(
            f"{path} does not cover {subset} of {pack.path}: it {what} "
            f"({len(missing)} missing, {len(unknown)} unknown).",
            "If it was made on another pack, give that one with ",
            Option("data"),
            ".",
        )
    order = np.array([by_id[i] for i in predictions.ids], dtype=np.int64)
    return replace(score(pack, order, predictions.joints, predictions.verts), notes=tuple(warnings))
