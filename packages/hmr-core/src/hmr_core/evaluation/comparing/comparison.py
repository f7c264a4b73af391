"""What a comparison is: numbers and texts alone, so that `json.dumps(dataclasses.asdict(comparison))` writes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

By = Literal["joint", "finger", "subject", "object", "view", "intent", "sequence", "side", "visibility", "size"]
"""What a breakdown is by."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A value and where it would lie on other data of the same kind, with the comparison's confidence.

    value: None where there is no such metric; then low and high are None, too. low, high: None also where the value is
    of too few clusters to say.
    """

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One metric of all evaluations. best: the index of the best one; None where none is better than all others."""

    metric: str
    title: str
    unit: Literal["mm", ""]
    better: Literal["lower", "higher"]
    values: list[Interval]
    best: int | None


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The difference b - a of a metric, sample by sample. a, b: names of evaluations. sentence: what it means."""

    a: str
    b: str
    metric: str
    difference: Interval
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """Some of the samples, or some of the joints of all: how many samples, and a metric of each evaluation on them."""

    name: str
    samples: int
    values: list[Interval]


@dataclass(frozen=True, kw_only=True)
class Breakdown:
    """A metric group by group."""

    by: By
    metric: str
    groups: list[Group]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The share of joints that are off by at most each threshold; pck_pa: after alignment, as PA-MPJPE has it."""

    kind: Literal["pck", "pck_pa"]
    thresholds_mm: list[float]
    shares: list[list[float]]


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What an evaluation is to be held against: the mean pose, or the literature. values: by the metrics' keys."""

    of: str
    label: str
    values: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Evaluations of the same samples side by side. Lists of values have one entry for each evaluation, as `names` has.

    cluster: what was drawn anew for the intervals, whole, such as sequence or subject; None where it was a sample.
    clusters: how many there are. errors_mm: of each sample, by metric and by evaluation's name, in the order of `ids`;
    None where a sample has none; areas under the PCK curve among them. notes: what a reader has to know. synthetic:
    whether the data is.
    """

    names: list[str]
    split: str
    subset: str
    samples: int
    cluster: str | None
    clusters: int
    confidence: float
    seed: int
    draws: int
    ids: list[str]
    metrics: list[MetricRow]
    pairs: list[Pair]
    breakdowns: list[Breakdown]
    curves: list[Curve]
    references: list[Reference]
    errors_mm: dict[str, dict[str, list[float | None]]]
    notes: list[str]
    synthetic: bool

    def row(self, metric: str) -> MetricRow:
        """The row of a metric that is there."""
        return next(row for row in self.metrics if row.metric == metric)
