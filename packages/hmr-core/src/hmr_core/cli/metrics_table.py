"""The table of metrics of an evaluation, as `hmr eval` and `hmr score` print it."""

from __future__ import annotations

from collections.abc import Mapping

import click

from hmr_core.cli.table import show_table
from hmr_core.evaluation.report_keys import CheckpointRecord, OfficialRecord, Report
from hmr_core.hand.source import HandModelRecord
from hmr_core.metrics import METRICS
from hmr_core.wording import counted

_TITLES = ("", "MPJPE mm", "PCK-AUC", "MPVPE mm", "PA-MPJPE mm", "PA-MPVPE mm")


def show_metrics(report: Report) -> None:
    """Print a report's metrics, and those of the mean-pose baseline and of the literature where there are any."""
    note = ", from given joints" if report.get("consumes") == "joints" else ""
    note += ", synthetic data" if report["synthetic"] else ""
    note += ", not trained on this data set" if "trained_on" in report else ""
    click.echo(
        f"{report['model']} on {report['split']} {report['subset']}, {counted(report['samples'], 'sample')}{note}"
    )
    rows = [[f"{report['model']} (this)", *_cells(report["metrics"])], *_intervals(report), *_references(report)]
    show_table(_TITLES, rows)
    if quoted := _quoted(report.get("more", {})):
        click.echo(quoted)
    if official := report.get("official"):
        show_official(official)
    baseline, checkpoint, hand = report.get("baseline"), report.get("checkpoint"), report.get("hand_model")
    if checkpoint:
        click.echo(f"checkpoint: {_checkpoint(checkpoint)}")
    if hand:
        click.echo(f"mesh: {_mesh(report, hand)}")
    for text in [*report["missing"], *report["notes"]]:
        click.echo(f"note: {text}")
    if baseline and "reason" in baseline:
        click.echo(f"note: no baseline: {baseline['reason']}")


def show_official(official: OfficialRecord) -> None:
    """Print what a data set's own scorer says, and what that is."""
    click.echo(f"by {official['scorer']}:")
    rows = [[name, "-" if value is None else f"{value:.3f}"] for name, value in official["metrics"].items()]
    show_table(("metric", "value"), rows)
    for rule in official["rules"]:
        click.echo(f"  {rule}")


def _quoted(more: Mapping[str, float | None]) -> str:
    """Those of the further metrics that are quoted most; empty where there is no mesh."""
    at_5mm, at_15mm = more.get("pa_f_5mm"), more.get("pa_f_15mm")
    if at_5mm is None or at_15mm is None:
        return ""
    return f"F-scores after alignment: F@5 mm {at_5mm:.3f}, F@15 mm {at_15mm:.3f}"


def _intervals(report: Report) -> list[list[str]]:
    """The row of the metrics' intervals, where there are any, with what they are over."""
    intervals = report.get("intervals", {})
    if not intervals:
        return []
    one = next(iter(intervals.values()))
    over = f", {counted(one['clusters'], one['cluster'])}" if one["cluster"] else ""
    lows, highs = ({name: interval[end] for name, interval in intervals.items()} for end in ("low", "high"))
    ends = zip(_cells(lows), _cells(highs), strict=True)
    return [[f"  95 % interval{over}", *("-" if low == "-" else f"{low} to {high}" for low, high in ends)]]


def _references(report: Report) -> list[list[str]]:
    """The rows of the hands that were found alone, of the mean-pose baseline and of the literature, where there are
    any.
    """
    baseline, published, rows = report.get("baseline"), report.get("published"), []
    found = report.get("found")
    if found and found["otherwise"] is not None and found.get("metrics"):
        rows.append([f"the {100 * found['share']:.1f} % found", *_cells(found["metrics"] or {})])
    if baseline and baseline["metrics"]:
        rows.append([f"mean pose of {baseline['subset']}", *_cells(baseline["metrics"])])
    if published:
        rows.append(["published, on OakInk-Image", *_cells(published)])
    return rows


def _checkpoint(checkpoint: CheckpointRecord) -> str:
    """The file of weights, and after how many epochs it was written."""
    epoch = "" if checkpoint["epoch"] is None else f", epoch {checkpoint['epoch']}"
    return f"{checkpoint['path']}{epoch}"


def _mesh(report: Report, hand: HandModelRecord) -> str:
    """How the mesh was made: by which solver, under which protocol, of which hand model."""
    solver = report.get("solver")
    weights = f" ({solver['checkpoint']['path']})" if solver and solver["checkpoint"] else ""
    by = f"{solver['name']}{weights}, protocol {report['protocol']}; " if solver else ""
    name = f"the synthetic {hand['side']} hand" if hand["synthetic"] else f"{hand['name']}, {hand['side']}"
    path = f"{hand['path']} ({name})" if hand["path"] else name
    layer = "" if report["hand_layer"] == "own" else f", posed by {report['hand_layer']}"
    return f"{by}hand model {path}{layer}"


def _cells(metrics: Mapping[str, float | None]) -> list[str]:
    values = [(metrics.get(name), 3 if name == "pck_auc_0_50mm" else 2) for name in METRICS]
    return ["-" if value is None else f"{value:.{digits}f}" for value, digits in values]
