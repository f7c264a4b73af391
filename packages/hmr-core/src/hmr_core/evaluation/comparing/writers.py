"""A comparison as text, JSON, CSV, Markdown and LaTeX."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict

from hmr_core.evaluation.comparing.comparison import Comparison, Interval
from hmr_core.evaluation.comparing.measures import BY_KEY
from hmr_core.evaluation.comparing.tables import (
    Cell,
    Table,
    breakdown_tables,
    heading,
    metrics_table,
    told_pairs,
    untold,
)
from hmr_core.metrics import METRICS as TABLE_METRICS
from hmr_core.text_table import aligned

FORMAT = "hmr-comparison/1"
"""What the JSON says that it is."""

CSV_COLUMNS = ("kind", "by", "group", "metric", "unit", "evaluation", "other", "samples", "value", "low", "high")
"""One value in each line. kind: metric, reference, difference (evaluation - other), breakdown, or a kind of curve,
whose group is the threshold in mm.
"""


def as_text(comparison: Comparison) -> str:
    """Tables for a terminal: each evaluation's interval in a line of its own, then the differences in sentences.

    The published table's metrics come first, so that no line is longer than a wide terminal.
    """
    further = {row.metric for row in comparison.metrics} - set(TABLE_METRICS)
    parts = [[heading(comparison), *_interval_lines(comparison, metrics_table(comparison, TABLE_METRICS))]]
    if further:
        parts.append(["Further metrics:", *_interval_lines(comparison, metrics_table(comparison, further))])
    if pairs := told_pairs(comparison):
        sentences = [[f"  {BY_KEY[pair.metric].title}", pair.sentence] for pair in pairs]
        lines = aligned(("Differences:", ""), sentences)
        parts.append([*lines, *([f"  {more}"] if (more := untold(comparison)) else [])])
    for table in breakdown_tables(comparison):
        parts.append(
            [f"{table.title}:", *aligned(table.columns, [[line.name, *map(str, line.cells)] for line in table.lines])]
        )
    parts.append([f"note: {note}" for note in comparison.notes])
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _interval_lines(comparison: Comparison, table: Table) -> list[str]:
    """A table in which intervals are lines of their own."""
    rows: list[list[str]] = []
    for line in table.lines:
        rows.append([line.name, *(cell.value for cell in line.cells)])
        if any(cell.ends for cell in line.cells):
            rows.append([f"  {_percent(comparison)} interval", *(" to ".join(cell.ends or ()) for cell in line.cells)])
    return aligned(table.columns, rows)


def as_json(comparison: Comparison) -> str:
    """All that there is, by the names of the classes' fields."""
    return json.dumps({"format": FORMAT} | asdict(comparison), indent=1, allow_nan=False) + "\n"


def as_csv(comparison: Comparison) -> str:
    """All values with their ends, one in a line (CSV_COLUMNS); the errors of samples and the notes are left out."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for line, interval in _csv_lines(comparison):
        numbers = {"value": interval.value, "low": interval.low, "high": interval.high}
        writer.writerow(line | {name: "" if n is None else f"{n:.6g}" for name, n in numbers.items()})
    return text.getvalue()


def as_markdown(comparison: Comparison) -> str:
    """Tables in Markdown; the best value of each metric is bold."""
    parts = [heading(comparison) + "."]
    for table in _all_tables(comparison):
        head = [f"| {' | '.join(map(_markdown, table.columns))} |", f"|{'---|' * len(table.columns)}"]
        lines = [
            f"| {' | '.join([_markdown(line.name), *(_markdown_cell(cell) for cell in line.cells)])} |"
            for line in table.lines
        ]
        parts.append("\n".join([f"**{table.title}**\n", *head, *lines]))
    if _sentences(comparison):
        parts.append("**Differences**\n\n" + "\n".join(_markdown(f"- {text}") for text in _sentences(comparison)))
    if comparison.notes:
        parts.append("**Notes**\n\n" + "\n".join(_markdown(f"- {note}") for note in comparison.notes))
    return "\n\n".join(parts) + "\n"


def as_latex(comparison: Comparison) -> str:
    """Tables in LaTeX (with booktabs); the best value of each metric is bold. Sentences and notes are comments."""
    parts = [f"% {heading(comparison)}. Needs \\usepackage{{booktabs}}."]
    for table in _all_tables(comparison):
        lines = [
            " & ".join([_latex(line.name), *(_latex_cell(cell) for cell in line.cells)]) + r" \\"
            for line in table.lines
        ]
        parts.append(
            "\n".join(
                [
                    f"% {table.title}",
                    rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
                    r"\toprule",
                    " & ".join(map(_latex, table.columns)) + r" \\",
                    r"\midrule",
                    *lines,
                    r"\bottomrule",
                    r"\end{tabular}",
                ]
            )
        )
    parts.append("\n".join(f"% {' '.join(text.split())}" for text in [*_sentences(comparison), *comparison.notes]))
    return "\n\n".join(part for part in parts if part) + "\n"


WRITERS: Mapping[str, Callable[[Comparison], str]] = {
    "text": as_text,
    "json": as_json,
    "csv": as_csv,
    "markdown": as_markdown,
    "latex": as_latex,
}
"""What a comparison can be written as."""


def _all_tables(comparison: Comparison) -> Sequence[Table]:
    return [metrics_table(comparison), *breakdown_tables(comparison)]


def _sentences(comparison: Comparison) -> list[str]:
    more = untold(comparison)
    return [f"{BY_KEY[pair.metric].title}: {pair.sentence}" for pair in told_pairs(comparison)] + [more] * bool(more)


def _percent(comparison: Comparison) -> str:
    return f"{100 * comparison.confidence:.0f} %"


def _csv_lines(comparison: Comparison) -> Iterator[tuple[dict[str, object], Interval]]:
    """What each line says of its value, and the value."""
    names = comparison.names
    line: dict[str, object]
    for row in comparison.metrics:
        line = {"kind": "metric", "metric": row.metric, "unit": row.unit, "samples": comparison.samples}
        for name, value in zip(names, row.values, strict=True):
            yield {**line, "evaluation": name}, value
    for reference in comparison.references:
        for key, number in reference.values.items():
            line = {"kind": "reference", "metric": key, "evaluation": reference.of, "other": reference.label}
            yield line, Interval(value=number)
    for pair in comparison.pairs:
        line = {"kind": "difference", "metric": pair.metric, "unit": BY_KEY[pair.metric].unit}
        yield {**line, "evaluation": pair.b, "other": pair.a, "samples": comparison.samples}, pair.difference
    for breakdown in comparison.breakdowns:
        line = {"kind": "breakdown", "by": breakdown.by, "metric": breakdown.metric}
        line["unit"] = BY_KEY[breakdown.metric].unit
        for group in breakdown.groups:
            for name, value in zip(names, group.values, strict=True):
                yield {**line, "group": group.name, "samples": group.samples, "evaluation": name}, value
    for curve in comparison.curves:
        for name, shares in zip(names, curve.shares, strict=True):
            for threshold, share in zip(curve.thresholds_mm, shares, strict=True):
                line = {"kind": curve.kind, "group": f"{threshold:g}", "evaluation": name}
                yield line, Interval(value=share)


def _markdown(text: str) -> str:
    for character in "\\|*_<>`":
        text = text.replace(character, f"\\{character}")
    return text


def _markdown_cell(cell: Cell) -> str:
    value = f"**{cell.value}**" if cell.best else cell.value
    return value if cell.ends is None else f"{value} \\[{cell.ends[0]}, {cell.ends[1]}\\]"


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def _latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)


def _latex_cell(cell: Cell) -> str:
    value = rf"\textbf{{{cell.value}}}" if cell.best else cell.value
    return value if cell.ends is None else rf"{value} {{\scriptsize [{cell.ends[0]}, {cell.ends[1]}]}}"
