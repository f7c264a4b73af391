"""The errors of each sample that the page shows: of the metrics in millimetres."""

from __future__ import annotations

from collections.abc import Sequence

from hmr_core.evaluation.comparing.comparison import Comparison

SampleErrors = dict[str, list[Sequence[float | None]]]
"""By metric, in the order of the table, for each evaluation the samples' errors; None where a sample has none."""


def sample_errors(comparison: Comparison) -> SampleErrors:
    """The errors by metric; the first metric is the one by which samples are chosen."""
    nothing = [None] * comparison.samples
    found = comparison.errors_mm
    return {
        row.metric: [found[row.metric].get(name, nothing) for name in comparison.names]
        for row in comparison.metrics
        if row.unit == "mm" and row.metric in found
    }
