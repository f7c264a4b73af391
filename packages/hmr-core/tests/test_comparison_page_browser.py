"""The comparison's page in a real browser: clicked through as a person would, with the network cut off."""

from __future__ import annotations

import time
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmr_core.data.pack.reader import Pack
from hmr_core.evaluation.page.choice import Groups, choose_groups
from hmr_core.evaluation.page.hands import sample_hands
from hmr_core.evaluation.page.page import comparison_page
from hmr_core.evaluation.page.plotly_js import plotly_js
from hmr_core.hand.model import HandModel

NOTHING = Groups(worst=[], best=[], differing=[])
ONE = "document.querySelector({!r})"
OPEN = "document.querySelector('#viewer').open"


def one(selector: str) -> str:
    return ONE.format(selector)


def texts(selector: str) -> str:
    return f"[...document.querySelectorAll({selector!r})].map((one) => (one.innerText ?? one.textContent).trim())"


@pytest.fixture(scope="module")
def tab(browser: types.ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with browser.chromium(browser.find_chromium(), tmp_path_factory.mktemp("profile")) as tab:
        yield tab


def test_what_a_page_must_not_do_is_seen(tab: Any, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text(
        "<img src='http://elsewhere.invalid/a.png'><script>console.warn('beware'); undefined_function()</script>"
    )
    tab.open(path)
    problems = "\n".join(tab.problems)
    tab.problems.clear()
    assert "asked for http://elsewhere.invalid/a.png" in problems
    assert "beware" in problems
    assert "undefined_function is not defined" in problems


def test_a_person_clicks_through_the_page(
    tab: Any, made: types.ModuleType, mini_pack: Pack, mini_hand: HandModel, tmp_path: Path
) -> None:
    evaluations = made.made_evaluations(mini_pack)
    comparison = made.made_comparison(evaluations[0].predictions.ids)
    groups = choose_groups(comparison, 30)  # five samples in each group
    faces = mini_hand.faces.numpy()
    hands = sample_hands(evaluations, mini_pack, faces, groups.samples)
    path = tmp_path / "report.html"
    path.write_text(comparison_page(comparison, groups, hands, faces, plotly_js()), encoding="utf-8")
    tab.open(path)
    ids, other = comparison.ids, made.NAMES[1]

    # A table is sorted by a click on a head, and turned round by another.
    table = "#metrics + p + .scrolls"
    names = texts(f"{table} tbody th")
    before = tab.value(names)
    tab.click(one(f"{table} th button"))
    assert tab.value(names) == sorted(before)
    tab.click(one(f"{table} th button"))
    assert tab.value(names) == sorted(before, reverse=True)
    tab.click(one(f"{table} th:nth-child(3) button"))
    assert [name.split()[0] for name in tab.value(names)] == ["MPJPE", "MPVPE", "PA-MPJPE", "PCK-AUC,"]
    tab.click(one(f"{table} th:nth-child(2) button"))
    assert tab.value(names)[-1].startswith("MPVPE"), "what there is not comes last"
    assert tab.value(f"{one(f'{table} th:nth-child(2)')}.getAttribute('aria-sort')") == "descending"

    # A curve says its figures where the mouse is.
    x, y = tab.middle(one("#curve-0 .nsewdrag"))
    tab.mouse("mouseMoved", x - 20, y)
    tab.mouse("mouseMoved", x, y)
    tab.until(one("#curve-0 .hoverlayer .legend, #curve-0 .hoverlayer .hovertext"))
    shown = tab.value(f"{one('#curve-0 .hoverlayer')}.textContent")
    assert "plain" in shown
    assert other in shown
    assert "%" in shown

    # The bars are of the breakdown that is chosen; of many groups, they are of the largest.
    assert tab.value("document.querySelectorAll('#breakdown-chart .bars .point').length") == 2 * 5
    choose(tab, "#breakdown-by", "object")
    assert tab.value("document.querySelectorAll('#breakdown-chart .bars .point').length") == 2 * 40
    said = f"{one('#breakdown-said')}.textContent"
    assert tab.value(said) == "The bars are of the 40 groups with the most samples; the table has all 45."
    assert "<i>44" in tab.value(texts("#breakdown-chart .xtick"))
    choose(tab, "#breakdown-metric", "pa_mpjpe_mm")
    assert tab.value(said) == "There is no PA-MPJPE by object."
    assert tab.value("[...document.querySelectorAll('.breakdown')].every((one) => one.hidden)")

    # The gallery shows one group at a time.
    shown_ids = "[...document.querySelectorAll('.card:not([hidden]) h3')].map((one) => one.innerText)"
    assert tab.value(shown_ids) == [ids[i] for i in groups.worst]
    tab.click(one("#groups [data-group=best]"))
    assert tab.value(shown_ids) == [ids[i] for i in groups.best]
    tab.click(one("#groups [data-group=differing]"))
    assert tab.value(shown_ids) == [ids[i] for i in groups.differing]

    # A click on a picture opens its sample, whose hands are drawn, and turn.
    tab.click(one(f".card[data-sample='{groups.differing[0]}'] img"))
    tab.until(OPEN)
    title = f"{one('#viewer-title')}.innerText"
    assert tab.value(title) == ids[groups.differing[0]]
    what = tab.value(f"{one('#viewer-labels')}.innerText").split(", ")
    assert f"object {ids[groups.differing[0]].split('_')[0]}" in what
    sizes = "[...document.querySelectorAll('#viewer-pictures img')].map((one) => one.naturalWidth)"
    assert tab.value(sizes) == [224] * 4
    tab.until(one("#viewer-mesh canvas"))
    drawn = picture(tab, "#viewer-mesh", lambda pixels: orange(pixels).sum() > 2000)
    x, y = tab.middle(one("#viewer-mesh"))
    tab.drag(x, y, x + 90, y + 40)
    picture(tab, "#viewer-mesh", lambda pixels: (orange(pixels) != orange(drawn)).sum() > 2000)
    tab.press("Escape")
    tab.until(f"!{OPEN}")

    # So does a click on its point, and on its row of the table. A sample without pictures is shown without.
    for sample in (groups.best[0], 7):
        assert tab.value(f"{sample} in page.hands") is (sample in hands)
        tab.click(f"[...document.querySelectorAll('#scatter .point')].find((one) => one.__data__.data === {sample})")
        tab.until(OPEN)
        assert tab.value(title) == ids[sample]
        assert bool(tab.value(sizes)) is (sample in hands)
        assert tab.value(f"{one('#viewer-said')}.hidden") is (sample in hands)
        tab.click(one("#viewer-close"))
        tab.until(f"!{OPEN}")
    tab.value(f"{one('#samples-search')}.focus()")
    tab.call("Input.insertText", text=ids[0])
    tab.until("document.querySelectorAll('#samples-table tbody tr').length === 1")
    assert tab.value(texts("#samples-table tbody td")) == [ids[0], "0.00", "12.00", "12.00", "picture"]
    tab.click(one("#samples-table .open"))
    tab.until(OPEN)
    assert tab.value(title) == ids[0]
    assert tab.value(texts("#viewer-errors tr")) == [
        "MPJPE (mm)\t0.00\t12.00",
        "MPVPE (mm)\t–\t12.00",
        "PA-MPJPE (mm)\t0.00\t6.00",
    ]
    assert tab.problems == []


def test_one_evaluation_without_a_pack(tab: Any, made: types.ModuleType, tmp_path: Path) -> None:
    whole = made.made_comparison([f"sample {i}" for i in range(60)], [made.NAMES[1]])
    comparison = replace(whole, breakdowns=[], curves=[], references=[])
    path = tmp_path / "report.html"
    path.write_text(comparison_page(comparison, NOTHING, None, None, plotly_js()), encoding="utf-8")
    tab.open(path, width=600)
    first = "document.querySelector('#samples-table tbody tr').innerText.split('\\t').slice(0, 2)"
    assert tab.value(first) == ["sample 59", "59.00"]
    tab.click(one("#samples-table th:nth-child(2) button"))
    assert tab.value(first) == ["sample 0", "0.00"]
    tab.click(one("#samples-after"))
    tab.click(one("#samples-after"))
    assert tab.value(first) == ["sample 50", "50.00"]
    assert tab.value(f"{one('#samples-after')}.disabled")
    assert tab.value(f"{one('#samples-place')}.textContent") == "51 to 60 of 60 samples"
    tab.click(one("#samples-table .open"))
    tab.until(OPEN)
    said = "This page has no pictures: it was made without the pack that the evaluations are of."
    assert tab.value(f"{one('#viewer-said')}.innerText") == said
    assert tab.value("document.documentElement.scrollWidth <= innerWidth"), "it is as wide as the window"
    assert tab.problems == []


def choose(tab: Any, select: str, value: str) -> None:
    """Choose from a list, as the keyboard does."""
    tab.value(
        f"(() => {{ const one = {one(select)}; one.value = {value!r}; one.dispatchEvent(new Event('change')); }})()"
    )


def picture(tab: Any, selector: str, wanted: Callable[[np.ndarray], bool]) -> np.ndarray:
    """An element's pixels, once they are as wanted."""
    for _ in range(100):
        if wanted(pixels := tab.picture(one(selector))):
            return pixels
        time.sleep(0.05)
    raise AssertionError(f"{selector} never looked as it should")


def orange(pixels: np.ndarray) -> np.ndarray:
    """Where the second evaluation's mesh is."""
    found: np.ndarray = (pixels[..., 0] > 100) & (pixels[..., 2] < 60)
    return found
