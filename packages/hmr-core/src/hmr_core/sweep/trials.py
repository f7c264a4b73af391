"""The trials of a sweep as they stand: what a table shows of each."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hmr_core.sweep.definition import Sweep

State = Literal["running", "cut off", "finished", "pruned", "failed"]


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """A trial. values: of the options that trials differ in, as overrides have them. best: its best figure on val;
    best_epoch: of which epoch. epochs: how many were scored on val. error: why it failed; empty where it did not.

    "cut off": no process works on it, and the next one that looks for work goes on with it.
    """

    number: int
    state: State
    values: Mapping[str, str]
    best: float | None
    best_epoch: int | None
    epochs: int
    folder: Path
    error: str


def best_trial(sweep: Sweep, rows: Sequence[TrialRow]) -> TrialRow | None:
    """The finished trial with the best figure, the first of equal ones; None where none is finished."""
    finished = [row for row in rows if row.state == "finished" and row.best is not None]
    return min(finished, key=lambda row: _rank(sweep, row), default=None)


def ranked(sweep: Sweep, rows: Sequence[TrialRow]) -> list[TrialRow]:
    """The trials, the best figures first; those without one last, in their order."""
    return sorted(rows, key=lambda row: (row.best is None, _rank(sweep, row)))


def _rank(sweep: Sweep, row: TrialRow) -> float:
    best = row.best or 0.0
    return -best if sweep.higher_is_better else best


def best_of(sweep: Sweep, figures: Mapping[int, float]) -> tuple[int | None, float | None]:
    """The epoch with the best of some figures, the first of equal ones, and the figure; none of no figures."""
    if not figures:
        return None, None
    best = (max if sweep.higher_is_better else min)(figures.values())
    return min(epoch for epoch, figure in figures.items() if figure == best), best


def table_text(sweep: Sweep, rows: Sequence[TrialRow]) -> str:
    """The table of trials as CSV, by number; a column for each option that trials differ in."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", *sweep.space, f"best_{sweep.metric}", "best_epoch", "epochs", "folder", "error"])
    for row in rows:
        values = [row.values.get(key, "") for key in sweep.space]
        shown = ["" if value is None else value for value in (row.best, row.best_epoch)]
        writer.writerow([row.number, row.state, *values, *shown, row.epochs, row.folder, row.error])
    return text.getvalue()
