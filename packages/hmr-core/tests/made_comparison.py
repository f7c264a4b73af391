"""A comparison made by hand of two evaluations of the made-up data set, with names that no page may take for tags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy import ndarray

from hmr_core.data.pack.reader import Pack
from hmr_core.evaluation.comparing.comparison import (
    Breakdown,
    Comparison,
    Curve,
    Group,
    Interval,
    MetricRow,
    Pair,
    Reference,
)
from hmr_core.evaluation.predictions import Predictions
from hmr_core.evaluation.saved import SavedEvaluation
from hmr_core.hand.joints import FINGERS

NAMES = ["plain", "</script><img src=x onerror=boom()> & \"quoted\" 'too'"]


def made_evaluations(pack: Pack) -> list[SavedEvaluation]:
    """Joints alone, and joints with a mesh: sample i is off by i mm in the first and by 12 mm in the second."""
    rows = pack.indices("sp0", "test")
    joints, verts = (pack.array(name, rows).astype(np.float32) for name in ("joints", "verts"))
    found = []
    for name, off_m in zip(NAMES, (np.arange(len(rows)) * 1e-3, np.full(len(rows), 0.012)), strict=True):
        shift = np.zeros((len(rows), 1, 3), dtype=np.float32)
        shift[..., 0] = off_m[:, None]
        predictions = Predictions(
            model=name,
            split="sp0",
            subset="test",
            pack=pack.info.digest,
            ids=pack.ids(rows),
            joints=joints + shift,
            verts=None if name == "plain" else verts + shift,
        )
        found.append(SavedEvaluation(folder=Path(name[:5]), report={"model": name}, predictions=predictions))
    return found


def made_comparison(ids: list[str], names: list[str] = NAMES) -> Comparison:
    """Sample i has an error of i mm in the first evaluation and of 12 mm in all others."""
    count = len(ids)
    errors: list[ndarray] = [np.arange(count, dtype=float), *(np.full(count, 12.0) for _ in names[1:])]
    means = [float(values.mean()) for values in errors]
    thresholds_mm = np.linspace(0, 50, 20)
    shares = [[float((values <= one).mean()) for one in thresholds_mm] for values in errors]
    return Comparison(
        names=names,
        split="sp0",
        subset="test",
        samples=count,
        cluster="sequence",
        clusters=5,
        confidence=0.95,
        seed=0,
        draws=2000,
        ids=ids,
        metrics=[
            row("mpjpe_mm", "MPJPE", [around(mean) for mean in means], best=0),
            row("pck_auc_0_50mm", "PCK-AUC", [around(0.8 - i / 100) for i in range(len(names))], best=0),
            row("mpvpe_mm", "MPVPE", [Interval(value=None), *(around(7.5) for _ in names[1:])]),
            row("pa_mpjpe_mm", "PA-MPJPE", [around(2.0 + i) for i in range(len(names))], best=0),
        ],
        pairs=[
            Pair(a=names[0], b=b, metric="mpjpe_mm", difference=around(0.4), sentence=f"{names[0]} is better by 0.4 mm")
            for b in names[1:]
        ],
        breakdowns=[
            Breakdown(by="finger", metric=metric, groups=groups(FINGERS, len(names)))
            for metric in ("mpjpe_mm", "pa_mpjpe_mm")
        ]
        + [Breakdown(by="object", metric="mpjpe_mm", groups=groups([f"<i>{i}" for i in range(45)], len(names)))],
        curves=[Curve(kind=kind, thresholds_mm=thresholds_mm.tolist(), shares=shares) for kind in ("pck", "pck_pa")],
        references=[Reference(of=names[-1], label="mean pose of train", values={"mpjpe_mm": 30.0, "mpvpe_mm": None})],
        errors_mm={
            "mpjpe_mm": {name: values.tolist() for name, values in zip(names, errors, strict=True)},
            "pck_auc_0_50mm": {name: (values / 100).tolist() for name, values in zip(names, errors, strict=True)},
            "mpvpe_mm": {name: values.tolist() for name, values in zip(names[1:], errors[1:], strict=True)},
            "pa_mpjpe_mm": {name: (values / 2).tolist() for name, values in zip(names, errors, strict=True)},
        },
        notes=["a note <b>of</b> & </script>"],
        synthetic=True,
    )


def row(metric: str, title: str, values: list[Interval], best: int | None = None) -> MetricRow:
    """A row of the table of metrics."""
    share = metric.startswith("pck")
    return MetricRow(
        metric=metric,
        title=title,
        unit="" if share else "mm",
        better="higher" if share else "lower",
        values=values,
        best=best,
    )


def groups(names: list[str] | tuple[str, ...], evaluations: int) -> list[Group]:
    """Groups of which the first has the fewest samples."""
    return [
        Group(name=name, samples=i + 1, values=[around(5.0 + i + j) for j in range(evaluations)])
        for i, name in enumerate(names)
    ]


def around(value: float) -> Interval:
    """An interval of a tenth to either side."""
    return Interval(value=value, low=0.9 * value, high=1.1 * value)
