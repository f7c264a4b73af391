"""Puts the page together: one HTML file with its style, its scripts, Plotly's, and its pictures."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template

from jaxtyping import Int
from numpy import ndarray

from hmr_core.evaluation.comparing.comparison import Comparison
from hmr_core.evaluation.page import sections
from hmr_core.evaluation.page.choice import Groups, choose_listed
from hmr_core.evaluation.page.gallery import NO_PICTURES, UNPICTURED, gallery
from hmr_core.evaluation.page.hands import SampleHands
from hmr_core.evaluation.page.script_data import embedded_json, script_data
from hmr_core.evaluation.page.tables import colour_rules

SCRIPTS = ("data", "tables", "charts", "viewer", "gallery", "scatter", "samples")
"""In the order in which the page runs them."""


def comparison_page(
    comparison: Comparison,
    groups: Groups,
    hands: Mapping[int, SampleHands] | None,
    faces: Int[ndarray, "f 3"] | None,
    plotly: str,
) -> str:
    """The page as text; the same arguments give the same text.

    groups: the samples with pictures; hands: what there is of each of them, by its place in the comparison, or None
    where there is no pack to take pictures from. faces: of the meshes, as a right hand has them. plotly: its
    JavaScript.
    """
    listed = choose_listed(comparison.samples, groups.samples)
    place = {sample: i for i, sample in enumerate(listed)}
    parts = {
        "metrics": ("Metrics", sections.metrics(comparison)),
        "differences": ("Differences", sections.differences(comparison)),
        "curves": ("PCK curves", sections.curves(comparison)),
        "breakdowns": ("Breakdowns", sections.breakdowns(comparison)),
        "pictures": ("Worst and best samples", gallery(comparison, groups, hands, place)),
        "points": ("Sample by sample", sections.scatter(comparison)),
        "samples": ("All samples", sections.samples(comparison, len(listed))),
    }
    there = {name: part for name, part in parts.items() if part[1]}
    links = "".join(f'<a href="#{name}">{title}</a>' for name, (title, _) in there.items())
    main = "\n".join(
        f'<section aria-labelledby="{name}">\n<h2 id="{name}">{title}</h2>\n{content}\n</section>'
        for name, (title, content) in there.items()
    )
    data = script_data(comparison, groups, hands or {}, faces, listed)
    data["no_picture"] = NO_PICTURES if hands is None else UNPICTURED
    return Template(_asset("page.html")).substitute(
        title=escape(f"hmr compare: {sections.title(comparison)}"),
        style=f"{_asset('page.css')}\n{colour_rules()}",
        opening=sections.opening(comparison),
        links=links,
        main=main,
        viewer=sections.viewer(comparison),
        data=embedded_json(data),
        plotly=plotly,
        scripts="\n".join(f"<script>\n{_asset(f'{name}.js')}</script>" for name in SCRIPTS),
    )


def _asset(name: str) -> str:
    return (files("hmr_core.evaluation.page") / "assets" / name).read_text(encoding="utf-8")
