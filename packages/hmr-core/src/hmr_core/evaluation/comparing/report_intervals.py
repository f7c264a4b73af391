"""The intervals of a single evaluation, for its report."""

from __future__ import annotations

import numpy as np

from hmr_core.evaluation.comparing.clusters import clusters_of
from hmr_core.evaluation.comparing.groups import Annotated
from hmr_core.evaluation.comparing.measures import BY_KEY, sample_measures
from hmr_core.evaluation.comparing.resampling import Resampling
from hmr_core.evaluation.report_keys import IntervalRecord
from hmr_core.metrics import METRICS, SampleErrors


def report_intervals(samples: Annotated, errors: SampleErrors) -> dict[str, IntervalRecord]:
    """The intervals of the published table's metrics, as `compare` makes them by default; none of what is not there."""
    name, clusters = clusters_of(samples, len(samples.rows))
    resampling, measures = Resampling(clusters, name), sample_measures(errors)
    found: dict[str, IntervalRecord] = {}
    for key in METRICS:
        most = np.inf if BY_KEY[key].unit else 1.0
        (interval,) = resampling.intervals([measures.get(key)], least=0.0, most=most)
        if interval.value is not None:
            found[key] = {"low": interval.low, "high": interval.high, "cluster": name, "clusters": resampling.count}
    return found
