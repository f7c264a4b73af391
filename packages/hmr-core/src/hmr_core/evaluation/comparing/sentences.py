"""What a difference of two evaluations means, in words."""

from __future__ import annotations

from hmr_core.evaluation.comparing.bootstrap import CONFIDENCE
from hmr_core.evaluation.comparing.comparison import Interval
from hmr_core.evaluation.comparing.measures import Metric


def difference_sentence(a: str, b: str, metric: Metric, difference: Interval, cluster: str | None) -> str:
    """Say which of two evaluations is better by how much, or that these samples do not show it.

    difference: b - a. cluster: what its interval is over; None: samples.
    """
    value, low, high = difference.value, difference.low, difference.high
    if value is None:
        return f"{a} or {b} has no {metric.title}"
    if low is None or high is None:
        what = "sample" if cluster is None else cluster
        return f"{b} - {a} is {_signed(value, metric)}; of a single {what}, there is no interval"
    if value == low == high == 0:
        return f"no difference: {a} and {b} are equal on every sample"
    percent = f"{100 * CONFIDENCE:.0f} % interval"
    if low <= 0 <= high:
        ends = f"{_number(low, metric)} to {_number(high, metric)}"
        return f"no difference that these samples could show: {b} - {a} is {_signed(value, metric)}, {percent} {ends}"
    better, worse = (b, a) if (value < 0) == (metric.better == "lower") else (a, b)
    near, far = sorted((abs(low), abs(high)))
    by = f"{_number(abs(value), metric)}{_unit(metric)}"
    return f"{better} is better than {worse} by {by}, {percent} {_number(near, metric)} to {_number(far, metric)}"


def _number(value: float, metric: Metric) -> str:
    return f"{value:.{metric.digits}f}"


def _signed(value: float, metric: Metric) -> str:
    return f"{value:+.{metric.digits}f}{_unit(metric)}"


def _unit(metric: Metric) -> str:
    return f" {metric.unit}" if metric.unit else ""
