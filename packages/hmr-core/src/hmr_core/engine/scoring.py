"""Figures from predicted points and a pack: what `hmr eval` and `hmr score` share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float32, Int64
from numpy import ndarray

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.geometry.alignment import DegeneratePointsError
from hmr_core.metrics import SampleErrors, concatenate, sample_errors, summarise, summarise_aligned

_CHUNK = 512


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Errors sample by sample, in metres, and the figures that they sum up to."""

    errors: SampleErrors
    metrics: dict[str, float | None]
    aligned: dict[str, dict[str, float | None]]

    def as_report(self) -> dict[str, Any]:
        """The part of report.json that scoring alone determines."""
        return {"samples": len(self.errors.joints), "metrics": self.metrics, "aligned": self.aligned}


def score(
    pack: Pack,
    rows: Int64[ndarray, " n"],
    joints: Float32[ndarray, "n 21 3"],
    verts: Float32[ndarray, "n 778 3"] | None,
) -> Scores:
    """Hold predictions (metres, camera space) against the annotations of the same rows of a pack.

    HmrError names the sample whose annotations are damaged, or whose points cannot be aligned.
    """
    parts = []
    for start in range(0, len(rows), _CHUNK):
        chunk = slice(start, start + _CHUNK)
        pack.verify_annotations(rows[chunk])
        points = [joints[chunk], pack.array("joints", rows[chunk])]
        if verts is not None:
            points += [verts[chunk], pack.array("verts", rows[chunk])]
        try:
            parts.append(sample_errors(*(torch.from_numpy(array) for array in points)))
        except DegeneratePointsError as error:
            sample = pack.ids(rows[chunk])[error.index]
            raise HmrError(f"PA error of sample {sample}: {error.reason}. Check the model's output.") from error
    errors = concatenate(parts)
    return Scores(errors=errors, metrics=summarise(errors), aligned=summarise_aligned(errors))
