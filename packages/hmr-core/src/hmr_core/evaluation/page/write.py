"""Writes the page of a comparison."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import Int
from numpy import ndarray

from hmr_core.data.pack.reader import Pack
from hmr_core.evaluation.comparing.comparison import Comparison
from hmr_core.evaluation.page.choice import choose_groups
from hmr_core.evaluation.page.hands import panels_of, sample_hands
from hmr_core.evaluation.page.page import comparison_page
from hmr_core.evaluation.page.plotly_js import plotly_js
from hmr_core.evaluation.saved import SavedEvaluation
from hmr_core.staging import write_text


def write_page(
    path: Path,
    comparison: Comparison,
    evaluations: Sequence[SavedEvaluation],
    pack: Pack | None,
    faces: Int[ndarray, "f 3"],
) -> None:
    """Write a comparison of evaluations as one HTML file, whole or not at all.

    pack: theirs; without it there are no pictures. faces: of the meshes, as a right hand has them. HmrError where
    Plotly is not installed, for a pack that the evaluations are not of, and for a file that cannot be written.
    """
    plotly = plotly_js()
    groups = choose_groups(comparison, panels_of(evaluations))
    hands = None if pack is None else sample_hands(evaluations, pack, faces, groups.samples)
    write_text(path, comparison_page(comparison, groups, hands, faces, plotly))
