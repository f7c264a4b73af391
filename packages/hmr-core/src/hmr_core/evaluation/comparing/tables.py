"""A comparison as tables of texts, whatever they are then written as."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from hmr_core.evaluation.comparing.comparison import Breakdown, Comparison, Interval, MetricRow, Pair
from hmr_core.evaluation.comparing.measures import BY_KEY
from hmr_core.metrics import METRICS as TABLE_METRICS
from hmr_core.wording import counted


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A value as text, and the ends of its interval where it has one. best: whether no other in its line is better."""

    value: str
    ends: tuple[str, str] | None = None
    best: bool = False

    def __str__(self) -> str:
        return self.value if self.ends is None else f"{self.value} [{self.ends[0]}, {self.ends[1]}]"


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of a table: what it is of, and its cells. reference: whether an evaluation above is held against it."""

    name: str
    cells: list[Cell]
    reference: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of values. columns: the titles, that of the names first."""

    title: str
    columns: list[str]
    lines: list[Line]


def heading(comparison: Comparison) -> str:
    """What was compared, and how the intervals were made."""
    data = ", synthetic data" if comparison.synthetic else ""
    samples = counted(comparison.samples, "sample")
    over = f"{counted(comparison.clusters, comparison.cluster)}" if comparison.cluster else "single samples"
    return (
        f"{comparison.split} {comparison.subset}, {samples}{data}; {100 * comparison.confidence:.0f} % intervals over "
        f"{over}"
    )


def metrics_table(comparison: Comparison, metrics: Collection[str] | None = None) -> Table:
    """A line for each evaluation, then one for each thing that they are to be held against; a column for each metric.

    metrics: those that there are columns of; None for all.
    """
    rows = [row for row in comparison.metrics if metrics is None or row.metric in metrics]
    lines = [
        Line(name=name, cells=[cell(row.metric, row.values[place], best=row.best == place) for row in rows])
        for place, name in enumerate(comparison.names)
    ]
    for name, values in distinct_references(comparison):
        if any(values[row.metric] is not None for row in rows):
            cells = [cell(row.metric, Interval(value=values[row.metric])) for row in rows]
            lines.append(Line(name=name, cells=cells, reference=True))
    return Table(title="Metrics", columns=["", *(_title(row) for row in rows)], lines=lines)


def distinct_references(comparison: Comparison) -> list[tuple[str, dict[str, float | None]]]:
    """What the evaluations are to be held against, each thing once: its name, and its values by metric.

    The name says of which evaluations it is where another of the same label has other values.
    """
    found: dict[tuple[str, tuple[float | None, ...]], list[str]] = {}
    for reference in comparison.references:
        values = tuple(reference.values.get(row.metric) for row in comparison.metrics)
        found.setdefault((reference.label, values), []).append(reference.of)
    often = Counter(label for label, _ in found)
    return [
        (
            label if often[label] == 1 else f"{', '.join(names)}: {label}",
            {row.metric: value for row, value in zip(comparison.metrics, values, strict=True)},
        )
        for (label, values), names in found.items()
    ]


def told_pairs(comparison: Comparison) -> list[Pair]:
    """The differences that a reader is told of: of each evaluation from the first one, in the table's metrics."""
    return [pair for pair in comparison.pairs if pair.a == comparison.names[0] and pair.metric in TABLE_METRICS]


def untold(comparison: Comparison) -> str:
    """Where the other differences are; empty where there are none."""
    others = len(comparison.pairs) - len(told_pairs(comparison))
    return f"JSON, CSV and the page have {counted(others, 'more difference')}" if others else ""


def breakdown_tables(comparison: Comparison) -> Iterator[Table]:
    """For each breakdown, a line for each group and a column for each evaluation."""
    for breakdown in comparison.breakdowns:
        lines = [
            Line(
                name=group.name,
                cells=[
                    Cell(value=str(group.samples)),
                    *(cell(breakdown.metric, value) for value in group.values),
                ],
            )
            for group in breakdown.groups
        ]
        yield Table(title=breakdown_title(breakdown), columns=[breakdown.by, "samples", *comparison.names], lines=lines)


def breakdown_title(breakdown: Breakdown) -> str:
    """What a breakdown is of."""
    metric = BY_KEY[breakdown.metric]
    return f"{metric.title}{f' {metric.unit}' if metric.unit else ''} by {breakdown.by}"


def cell(metric: str, interval: Interval, *, best: bool = False) -> Cell:
    """A value and its ends, with as many digits as its metric is shown with; "-" where there is none."""
    if interval.value is None:
        return Cell(value="-")
    digits = BY_KEY[metric].digits
    ends = None
    if interval.low is not None and interval.high is not None:
        ends = (f"{interval.low:.{digits}f}", f"{interval.high:.{digits}f}")
    return Cell(value=f"{interval.value:.{digits}f}", ends=ends, best=best)


def _title(row: MetricRow) -> str:
    return f"{row.title} {row.unit}".rstrip()
