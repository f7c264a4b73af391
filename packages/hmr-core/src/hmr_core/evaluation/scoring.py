"""Metrics from predicted points and a pack: what `hmr eval` and `hmr score` share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float32, Float64, Int64
from numpy import ndarray

from hmr_core.data.known import has_truth
from hmr_core.data.pack.entry import check_pack
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, Option
from hmr_core.evaluation.further import further_errors, further_metrics, joined
from hmr_core.evaluation.predictions import ERRORS, PREDICTED, Predictions
from hmr_core.evaluation.report_keys import Report
from hmr_core.evaluation.together import motion_metrics, pair_metrics
from hmr_core.geometry.alignment import DegeneratePointsError
from hmr_core.metrics import (
    SampleErrors,
    concatenate,
    known_mean,
    sample_errors,
    spread,
    summarise,
    summarise_aligned,
)
from hmr_core.wording import counted

NO_TRUTH = "the samples have no truth beside their wrist and box, so there are no metrics"

NO_TRUE_MESH = "the data set has no meshes of these samples, so there is no mesh metric"

_CHUNK = 512


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Errors sample by sample, in metres, and the metrics that they sum up to.

    ids: the samples', in the order of the errors. more: metrics beside the published table's, where they were asked
    for. rows: of the samples in their pack. there: which samples have truth to be held to; the errors of the others are
    nan. notes: on the annotations.
    """

    ids: list[str]
    errors: SampleErrors
    metrics: dict[str, float | None]
    aligned: dict[str, dict[str, float | None]]
    more: dict[str, float | None]
    rows: Int64[ndarray, " n"]
    there: Bool[ndarray, " n"]
    notes: tuple[str, ...] = ()

    def missing(self, no_mesh: str | None) -> list[str]:
        """Which metrics there are not, and why. no_mesh: why there is none of a mesh, if nobody predicted one."""
        if not self.there.any():
            return [NO_TRUTH]
        if no_mesh is not None:
            return [no_mesh]
        return [] if self.errors.verts is not None else [NO_TRUE_MESH]

    def truth_notes(self) -> list[str]:
        """That only some of the samples have truth, if so."""
        known = int(self.there.sum())
        if known in (0, len(self.there)):
            return []
        return [f"{known} of {counted(len(self.there), 'sample')} have truth: the metrics are of these alone"]

    def errors_mm(self) -> dict[str, Any]:
        """Each sample's errors, float64 (n), by the names of ERRORS; None for those of a mesh where there is none.

        Samples without truth have nan.
        """
        errors_m = (known_mean(self.errors.joints, 1), self.errors.verts, self.errors.pa_joints, self.errors.pa_verts)
        return {
            name: None if error_m is None else (1000 * error_m).numpy()
            for name, error_m in zip(ERRORS, errors_m, strict=True)
        }

    def as_report(self) -> Report:
        """The part of a report that scoring alone determines; the errors are rounded to 0.1 micrometres."""
        errors: Any = {name: None if e is None else _listed(e) for name, e in self.errors_mm().items()}
        return {
            "samples": len(self.ids),
            "scored": int(self.there.sum()),
            "metrics": self.metrics,
            "aligned": self.aligned,
            "more": self.more,
            "errors": {"id": self.ids} | errors,
        }


def _listed(errors_mm: Float64[ndarray, " n"]) -> list[float | None]:
    """Errors as a report lists them: to 0.1 micrometres, None where there is none."""
    return [None if np.isnan(error) else error for error in errors_mm.round(4).tolist()]


def score(
    pack: Pack,
    rows: Int64[ndarray, " n"],
    joints: Float32[ndarray, "n 21 3"],
    verts: Float32[ndarray, "n 778 3"] | None,
    *,
    further: bool = False,
    root_given: bool = True,
    on_scored: Callable[[int], None] = lambda samples: None,
) -> Scores:
    """Hold predictions (metres, camera space) against the annotations of the same rows of a pack.

    Joints that are not known count for nothing, nor do samples without truth; of a pack without meshes, the joints
    alone are scored. further: whether to compute what there is beside the published table's metrics, which takes longer
    than these. root_given: whether the annotated depth of the root placed the predictions; of others, there are metrics
    in camera space as if nothing had been given. on_scored is told how many samples were done.
    HmrError names the sample whose annotations are damaged, or whose points cannot be aligned.
    """
    there = has_truth(pack, rows)
    known, more = _known_errors(
        pack,
        rows[there],
        joints[there],
        None if verts is None else verts[there],
        further=further,
        on_scored=on_scored,
    )
    on_scored(int((~there).sum()))
    if more:
        more |= motion_metrics(pack, rows[there], joints[there])
    if more and not root_given:
        metrics = summarise(known)
        more |= {"cs_mpjpe_mm": metrics["mpjpe_mm"], "cs_mpvpe_mm": metrics["mpvpe_mm"]}
        more |= pair_metrics(pack, rows[there], joints[there])
    return Scores(
        ids=pack.ids(rows),
        errors=known if there.all() else spread(known, torch.from_numpy(there)),
        metrics=summarise(known),
        aligned=summarise_aligned(known),
        more=more,
        rows=rows,
        there=there,
    )


def _known_errors(
    pack: Pack,
    rows: Int64[ndarray, " n"],
    joints: Float32[ndarray, "n 21 3"],
    verts: Float32[ndarray, "n 778 3"] | None,
    *,
    further: bool,
    on_scored: Callable[[int], None],
) -> tuple[SampleErrors, dict[str, float | None]]:
    """The errors of samples that have truth, and, if asked for, their further metrics."""
    parts, more = [], []
    if verts is not None and not pack.verts_valid(rows).any():
        verts = None
    for start in range(0, len(rows), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        pack.verify_annotations(rows[chunk])
        mesh = None if verts is None else verts[chunk]
        points = [joints[chunk], pack.array("joints", rows[chunk])]
        if mesh is not None:
            points += [mesh, pack.array("verts", rows[chunk])]
        known, meshed = (torch.from_numpy(mask(rows[chunk])) for mask in (pack.joints_valid, pack.verts_valid))
        try:
            parts.append(sample_errors(*(torch.from_numpy(array) for array in points), known=known, verts_known=meshed))
        except DegeneratePointsError as error:
            sample = pack.ids(rows[chunk])[error.index]
            raise HmrError(f"PA error of sample {sample}: {error.reason}") from error
        if further:
            more.append(further_errors(pack, rows[chunk], joints[chunk], mesh))
        on_scored(len(rows[chunk]))
    if not parts:
        none = torch.zeros(0, 21, dtype=torch.float64)
        each = dict.fromkeys(("pa_joints", "pa_joints_rotation"), none[:, 0])
        return SampleErrors(joints=none, wrist_joints=none, mcp_joints=none, **each), {}
    return concatenate(parts), further_metrics(joined(more)) if more else {}


def rescore(
    path: Path, pack: Pack, predictions: Predictions, on_scored: Callable[[int], None] = lambda samples: None
) -> Scores:
    """Score a file of predictions again; HmrError when its ids are not exactly its subset's.

    on_scored is told how many samples were done.
    """
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
    root_given = predictions.depth_from != PREDICTED
    points = (predictions.joints, predictions.verts)
    scores = score(pack, order, *points, further=True, root_given=root_given, on_scored=on_scored)
    return replace(scores, notes=(*warnings, *scores.truth_notes()))
