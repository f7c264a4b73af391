"""The page's tables as HTML. A cell that sorts as a number has it as data-value, "" where there is none."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from hmr_core.evaluation.comparing.comparison import Breakdown, Comparison, Interval, MetricRow
from hmr_core.evaluation.comparing.tables import distinct_references

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Of the evaluations: told apart with any kind of colour blindness (Okabe and Ito, Color Universal Design, 2008)."""


def evaluation_mark(comparison: Comparison, evaluation: int) -> str:
    """An evaluation's name, after a mark of its colour."""
    colour = f"colour-{evaluation % len(COLOURS)}"
    return f'<span class="evaluation {colour}">{escape(comparison.names[evaluation])}</span>'


def colour_rules() -> str:
    """The style of the marks."""
    return "\n".join(f".colour-{i}::before {{ background: {colour}; }}" for i, colour in enumerate(COLOURS))


def metrics_table(comparison: Comparison) -> str:
    """A row for each metric, a column for each evaluation, the best of each row marked."""
    rows = []
    for row in comparison.metrics:
        cells = [
            _figure(value, row.unit, best=i == row.best and len(comparison.names) > 1)
            for i, value in enumerate(row.values)
        ]
        rows.append([_head(f"{with_unit(row)}, {row.better} is better"), *cells])
    return _table(["metric", *_marks(comparison)], rows, "Metrics of each evaluation", text_columns=1)


def references_table(comparison: Comparison) -> str:
    """A row for what an evaluation is to be held against, such as the mean pose; a column for each metric."""
    rows = [
        [_text(name), *(_figure(Interval(value=values[row.metric]), row.unit) for row in comparison.metrics)]
        for name, values in distinct_references(comparison)
    ]
    heads = ["to be held against", *(escape(with_unit(row)) for row in comparison.metrics)]
    return _table(heads, rows, "What the evaluations are to be held against", text_columns=1)


def pairs_table(comparison: Comparison) -> str:
    """A row for each pair of evaluations and metric: the difference with its interval, and what it says."""
    rows = []
    for pair in comparison.pairs:
        row = comparison.row(pair.metric)
        texts = [_text(text) for text in (with_unit(row), pair.a, pair.b, pair.sentence)]
        rows.append([*texts, _figure(pair.difference, row.unit)])
    heads = ["metric", "A", "B", "what the samples say", "B minus A"]
    return _table(heads, rows, "Differences between evaluations", text_columns=4)


def breakdown_table(comparison: Comparison, breakdown: Breakdown) -> str:
    """A row for each group: how many samples it has, and each evaluation's figure."""
    row = comparison.row(breakdown.metric)
    rows = [
        [
            _head(group.name or "(none)"),
            f'<td data-value="{group.samples}">{group.samples}</td>',
            *(_figure(value, row.unit) for value in group.values),
        ]
        for group in breakdown.groups
    ]
    heads = [breakdown.by, "samples", *_marks(comparison)]
    return _table(heads, rows, f"{with_unit(row)} by {breakdown.by}", text_columns=1)


def with_unit(row: MetricRow) -> str:
    """A metric's title with its unit, if it has one."""
    return f"{row.title} ({row.unit})" if row.unit else row.title


def sortable_heads(heads: Sequence[str], text_columns: int) -> str:
    """Heads of a table that sort it; the first columns are of text. heads: as HTML."""
    return "".join(
        f'<th scope="col"{" class=text" if i < text_columns else ""}><button type="button">{head}</button></th>'
        for i, head in enumerate(heads)
    )


def _marks(comparison: Comparison) -> Iterable[str]:
    return (evaluation_mark(comparison, i) for i in range(len(comparison.names)))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str, *, text_columns: int) -> str:
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return (
        f'<div class="scrolls"><table class="sortable" aria-label="{escape(caption)}">\n'
        f"<thead><tr>{sortable_heads(heads, text_columns)}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>"
    )


def _head(text: str) -> str:
    return f'<th scope="row" class="text">{escape(text)}</th>'


def _text(text: str) -> str:
    return f'<td class="text">{escape(text)}</td>'


def _figure(interval: Interval, unit: str, *, best: bool = False) -> str:
    """A cell with a figure and its interval."""
    shown = shown_value(interval.value, unit)
    if best:
        shown += ' <span title="the best of this row">★</span>'
    if interval.low is not None:
        shown += (
            f'<span class="interval">{shown_value(interval.low, unit)} to {shown_value(interval.high, unit)}</span>'
        )
    value = "" if interval.value is None else repr(interval.value)
    return f'<td{" class=best" if best else ""} data-value="{value}">{shown}</td>'


def shown_value(value: float | None, unit: str) -> str:
    """A figure as a table shows it: hundredths of a millimetre, thousandths of a share, a dash for none."""
    return "–" if value is None else f"{value:.{2 if unit else 3}f}"
