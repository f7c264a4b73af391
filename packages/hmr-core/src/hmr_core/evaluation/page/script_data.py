"""What the page's scripts read, as JSON within the page."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Int, Int16
from numpy import ndarray

from hmr_core.evaluation.comparing.comparison import Comparison
from hmr_core.evaluation.page.choice import Groups
from hmr_core.evaluation.page.hands import Points, SampleHands
from hmr_core.evaluation.page.sample_errors import sample_errors
from hmr_core.evaluation.page.tables import COLOURS
from hmr_core.hand.joints import BONES


def script_data(
    comparison: Comparison,
    groups: Groups,
    hands: Mapping[int, SampleHands],
    faces: Int[ndarray, "f 3"] | None,
    listed: Sequence[int],
) -> dict[str, Any]:
    """The comparison's numbers, and the points of the samples with pictures; samples are named by places in `listed`.

    listed: the samples of the table, by their places in the comparison. faces: of the meshes, as a right hand has them.
    """
    place = {sample: i for i, sample in enumerate(listed)}
    return {
        "names": comparison.names,
        "colours": COLOURS,
        "labels": {row.metric: row.title for row in comparison.metrics},
        "units": {row.metric: row.unit for row in comparison.metrics},
        "curves": [{"thresholds_mm": one.thresholds_mm, "shares": one.shares} for one in comparison.curves],
        "breakdowns": [
            {
                "by": one.by,
                "metric": one.metric,
                "groups": [
                    {"name": group.name, "samples": group.samples, "values": [vars(value) for value in group.values]}
                    for group in one.groups
                ],
            }
            for one in comparison.breakdowns
        ],
        "ids": [comparison.ids[sample] for sample in listed],
        "errors": {
            metric: [[_hundredths(values[sample]) for sample in listed] for values in evaluations]
            for metric, evaluations in sample_errors(comparison).items()
        },
        "groups": {name: [place[sample] for sample in samples] for name, samples in vars(groups).items()},
        "hands": {
            place[sample]: {
                "labels": one.labels,
                "left": one.left,
                "truth": _points(one.truth),
                "predicted": [_points(points) for points in one.predicted],
            }
            for sample, one in hands.items()
        },
        "bones": BONES,
        "faces": None if faces is None else _base64(faces.astype("<u2")),
    }


def embedded_json(value: object) -> str:
    """JSON for a script element: no text in it can end the element, or begin a comment."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _hundredths(value: float | None) -> float | None:
    """An error as precise as the page shows it, which keeps the page small; None for what is no number."""
    return None if value is None or not math.isfinite(value) else round(value, 2)


def _points(points: Points) -> dict[str, str | None]:
    return {
        "joints": _whole_numbers(points.joints),
        "verts": None if points.verts is None else _whole_numbers(points.verts),
    }


def _whole_numbers(points: Int16[ndarray, "n 3"]) -> str:
    return _base64(points.astype("<i2"))


def _base64(array: ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")
