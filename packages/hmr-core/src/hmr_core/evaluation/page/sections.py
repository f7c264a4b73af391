"""The page's parts as HTML: what was compared, and the places where the scripts draw their charts and lists."""

from __future__ import annotations

from html import escape

from hmr_core.evaluation.comparing.comparison import Comparison
from hmr_core.evaluation.page.sample_errors import sample_errors
from hmr_core.evaluation.page.tables import (
    breakdown_table,
    evaluation_mark,
    metrics_table,
    pairs_table,
    references_table,
    sortable_heads,
)
from hmr_core.wording import counted

CURVES = {"pck": "as predicted", "pck_pa": "after alignment (PA)"}


def title(comparison: Comparison) -> str:
    """Title the page by the evaluations, or by how many they are."""
    names = comparison.names
    return " and ".join(names) if len(names) < 3 else counted(len(names), "evaluation")


def opening(comparison: Comparison) -> str:
    """What was compared, what the intervals are over, and all that a reader has to know."""
    synthetic = (
        '<p><span class="synthetic">Synthetic data: nothing here says how good a model is on real hands.</span></p>\n'
        if comparison.synthetic
        else ""
    )
    of = f"{comparison.split} {comparison.subset}, {counted(comparison.samples, 'sample')}"
    over = (
        f"{counted(comparison.clusters, comparison.cluster)}, since the samples of one {comparison.cluster} resemble "
        "each other"
        if comparison.cluster
        else "samples"
    )
    intervals = f"Intervals: {100 * comparison.confidence:g} %, drawn over {over}."
    items = "".join(f"<li>{escape(note)}</li>" for note in comparison.notes)
    notes = f'<ul class="note">{items}</ul>' if items else ""
    return (
        f"<header>\n<h1>{escape(title(comparison))}</h1>\n{synthetic}"
        f'<p class="quiet">{escape(of)}. {intervals}</p>\n{notes}\n'
        '<noscript><p class="note">Without JavaScript this page has its tables and pictures. Its charts, the list of '
        "all samples and sorting need it.</p></noscript>\n</header>"
    )


def metrics(comparison: Comparison) -> str:
    """The table of metrics, and what the evaluations are to be held against."""
    references = f"\n{references_table(comparison)}" if comparison.references else ""
    best = " ★ marks the best of a row." if len(comparison.names) > 1 else ""
    return f"<p>A click on a head sorts.{best}</p>\n{metrics_table(comparison)}{references}"


def differences(comparison: Comparison) -> str:
    """The table of pairs; nothing where there is one evaluation alone."""
    if not comparison.pairs:
        return ""
    about = "Taken sample by sample: what makes a sample hard for both does not count."
    return f"<p>{about}</p>\n{pairs_table(comparison)}"


def curves(comparison: Comparison) -> str:
    """Places for the PCK curves, with some of each in words."""
    if not comparison.curves:
        return ""
    charts = "".join(
        f'<div><h3>{CURVES[curve.kind]}</h3><div id="curve-{i}" role="img" '
        f'aria-label="{escape(_curve_in_words(comparison, i))}"></div></div>'
        for i, curve in enumerate(comparison.curves)
    )
    return f'<p>The share of joints that are off by at most a threshold.</p>\n<div class="charts">{charts}</div>'


def _curve_in_words(comparison: Comparison, place: int) -> str:
    """What a curve says at its middle threshold."""
    curve = comparison.curves[place]
    middle = len(curve.thresholds_mm) // 2
    shares = [f"{name} {100 * share[middle]:.1f} %" for name, share in zip(comparison.names, curve.shares, strict=True)]
    return f"PCK {CURVES[curve.kind]}; within {curve.thresholds_mm[middle]:.1f} mm: {', '.join(shares)}"


def breakdowns(comparison: Comparison) -> str:
    """A place for the bars of one breakdown, and the tables of all."""
    if not comparison.breakdowns:
        return ""
    tables = "\n".join(
        f'<details class="breakdown" data-place="{i}">'
        f"<summary>{escape(comparison.row(one.metric).title)} by {one.by}, as a table</summary>"
        f"{breakdown_table(comparison, one)}</details>"
        for i, one in enumerate(comparison.breakdowns)
    )
    return (
        '<div class="controls"><label>by <select id="breakdown-by"></select></label>'
        '<label>metric <select id="breakdown-metric"></select></label></div>\n'
        '<div id="breakdown-chart" role="img" aria-label="Bars of the table below"></div>\n'
        f'<p id="breakdown-said" class="quiet" role="status"></p>\n{tables}'
    )


def scatter(comparison: Comparison) -> str:
    """A place for the points of one evaluation against another; nothing where there is one alone."""
    if len(comparison.names) < 2 or not sample_errors(comparison):
        return ""
    return (
        "<p>Each point is a sample. Below the line, the evaluation of the upright axis is better. A click on a point "
        "opens its sample.</p>\n"
        '<div class="controls"><label>across <select id="scatter-a"></select></label>'
        '<label>upright <select id="scatter-b"></select></label>'
        '<label>error <select id="scatter-metric"></select></label></div>\n'
        '<div id="scatter" role="img" aria-label="The errors of the table of all samples as points"></div>'
    )


def samples(comparison: Comparison, listed: int) -> str:
    """A place for the list of samples. listed: how many it has."""
    if not sample_errors(comparison):
        return ""
    marks = [evaluation_mark(comparison, i) for i in range(len(comparison.names))]
    apart = ["apart"] if len(marks) > 1 else []
    heads = sortable_heads(["sample", *marks, *apart], 1)
    fewer = (
        f"<p>Of {comparison.samples:,} samples, the list and the points above have {listed:,}: those with pictures "
        "and others at even distances.</p>\n"
        if listed < comparison.samples
        else ""
    )
    return (
        f'{fewer}<div class="controls"><label>error in mm <select id="samples-metric"></select></label>'
        '<label>id contains <input type="search" id="samples-search"></label>'
        '<button type="button" id="samples-before">before</button>'
        '<button type="button" id="samples-after">after</button>'
        '<span id="samples-place" role="status"></span></div>\n'
        '<div class="scrolls"><table id="samples-table" aria-label="Errors of each sample">\n'
        f'<thead><tr>{heads}<th scope="col" class="text">shown</th></tr></thead>\n<tbody></tbody></table></div>'
    )


def viewer(comparison: Comparison) -> str:
    """A place for one sample over the page."""
    marks = "".join(f'<th scope="col">{evaluation_mark(comparison, i)}</th>' for i in range(len(comparison.names)))
    return (
        '<dialog id="viewer" aria-labelledby="viewer-title"><header><h2 id="viewer-title"></h2>'
        '<button type="button" class="close" id="viewer-close">close</button></header>\n'
        '<p id="viewer-labels" class="quiet"></p>\n<p id="viewer-said" class="note"></p>\n'
        '<div id="viewer-body"><div class="panels" id="viewer-pictures"></div>'
        '<div><div id="viewer-mesh" role="img" aria-label="The true and the predicted hands"></div>'
        '<p class="quiet">Drag to turn. A click on a name hides its hand.</p></div></div>\n'
        f'<div class="scrolls"><table><thead><tr><th scope="col">error</th>{marks}</tr></thead>'
        '<tbody id="viewer-errors"></tbody></table></div></dialog>'
    )
