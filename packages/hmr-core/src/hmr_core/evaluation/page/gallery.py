"""The page's samples with pictures: a card for each."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from html import escape

from hmr_core.evaluation.comparing.comparison import Comparison
from hmr_core.evaluation.page.choice import Groups
from hmr_core.evaluation.page.hands import PANEL_PX, Panel, SampleHands
from hmr_core.evaluation.page.sample_errors import sample_errors
from hmr_core.evaluation.page.tables import evaluation_mark, shown_value

NO_PICTURES = "This page has no pictures: it was made without the pack that the evaluations are of."
UNPICTURED = (
    "The page has no picture of this sample: it has those of the worst and the best samples, and of those that the "
    "evaluations differ most in."
)


def gallery(
    comparison: Comparison, groups: Groups, hands: Mapping[int, SampleHands] | None, place: Mapping[int, int]
) -> str:
    """The cards, and buttons that choose which of them are shown. place: of a sample in the list of all samples."""
    if hands is None:
        return f"<p>{NO_PICTURES}</p>"
    if not groups.samples:
        return "<p>No sample has an error in every evaluation.</p>"
    titles = {"worst": "worst", "best": "best", "differing": "largest differences"}
    buttons = "".join(
        f'<button type="button" data-group="{name}" aria-pressed="false">{titles[name]}</button>'
        for name, samples in vars(groups).items()
        if samples
    )
    cards = "\n".join(_card(comparison, sample, hands[sample], place[sample]) for sample in groups.samples)
    of = "By the mean error of all evaluations. " if len(comparison.names) > 1 else ""
    return (
        f"<p>{of}A click on a picture shows the sample with its hands in three dimensions.</p>\n"
        f'<div class="controls" id="groups" role="group" aria-label="Which samples">{buttons}</div>\n'
        f'<div class="cards" id="cards">\n{cards}\n</div>'
    )


def _card(comparison: Comparison, sample: int, hands: SampleHands, place: int) -> str:
    name = escape(comparison.ids[sample])
    panels = "".join(_panel(comparison, sample, panel) for panel in hands.panels)
    return (
        f'<article class="card" data-sample="{place}"><h3>{name}</h3>\n<div class="panels">{panels}</div>\n'
        f'<button type="button" class="open" aria-label="open {name}">open</button></article>'
    )


def _panel(comparison: Comparison, sample: int, panel: Panel) -> str:
    """A picture with its caption; the caption's colour is the evaluation's in the charts."""
    if panel.evaluation is None:
        caption, alt = "truth", f"{comparison.ids[sample]} with its true joints"
    else:
        name = comparison.names[panel.evaluation]
        metric, values = next(iter(sample_errors(comparison).items()))
        error = f"{comparison.row(metric).title} {shown_value(values[panel.evaluation][sample], 'mm')} mm"
        mark = evaluation_mark(comparison, panel.evaluation)
        caption = f'{mark}<br><span class="what">{panel.kind}, </span>{escape(error)}'
        alt = f"{comparison.ids[sample]} with the {panel.kind} of {name}, {error}"
    source = base64.b64encode(panel.jpeg).decode("ascii")
    return (
        f'<figure class="panel {panel.kind}"><img width="{PANEL_PX}" height="{PANEL_PX}" alt="{escape(alt)}" '
        f'src="data:image/jpeg;base64,{source}"><figcaption>{caption}</figcaption></figure>'
    )
