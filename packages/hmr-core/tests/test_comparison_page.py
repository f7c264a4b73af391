"""The comparison as a page: what is chosen for it, what it holds, and what of its data could be taken for tags."""

from __future__ import annotations

import base64
import json
import re
import sys
import types
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.errors import HmrError
from hmr_core.evaluation.comparing.comparison import Comparison, Reference
from hmr_core.evaluation.page import choice, plotly_js
from hmr_core.evaluation.page.choice import MOST_LISTED, MOST_PICTURES, Groups, choose_groups, choose_listed
from hmr_core.evaluation.page.gallery import NO_PICTURES
from hmr_core.evaluation.page.hands import PANEL_PX, UNKNOWN, Panel, Points, SampleHands, panels_of, sample_hands
from hmr_core.evaluation.page.page import SCRIPTS, comparison_page
from hmr_core.evaluation.page.script_data import embedded_json
from hmr_core.evaluation.page.tables import references_table
from hmr_core.evaluation.predictions import Predictions
from hmr_core.evaluation.saved import SavedEvaluation
from hmr_core.hand.model import HandModel
from hmr_core.pictures import decode
from hmr_core.plugins.recipes import DataConfig
from hmr_core.viz.tiles import Tile

sys.path.append(str(Path(__file__).parent))  # packing workers import it, too
snapshots = import_module("snapshots")

PNG = codec_named("png")
NOTHING = Groups(worst=[], best=[], differing=[])


class Tags(HTMLParser):
    """The tags of a page with their attributes, and the text in each script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[int, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text[len(self.tags) - 1] = self.text.get(len(self.tags) - 1, "") + data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def data(self) -> dict[str, Any]:
        """What the scripts read."""
        found = next(i for i, (tag, attributes) in enumerate(self.tags) if attributes.get("id") == "data")
        read: dict[str, Any] = json.loads(self.text[found])
        return read


def points(text: str) -> np.ndarray:
    """Points as the page keeps them, in metres."""
    return np.frombuffer(base64.b64decode(text), "<i2").reshape(-1, 3) / 10_000


def same_samples(made: types.ModuleType, count: int, names: Sequence[str]) -> Comparison:
    comparison: Comparison = made.made_comparison([f"sample {i}" for i in range(count)], list(names))
    return comparison


@pytest.fixture(scope="module")
def page(made: types.ModuleType, mini_pack_path: Any, mini_hand: HandModel) -> Tags:
    """The page of the made-up comparison, without Plotly."""
    pack = Pack(mini_pack_path)
    evaluations = made.made_evaluations(pack)
    comparison = made.made_comparison(evaluations[0].predictions.ids)
    groups = Groups(worst=[23, 22], best=[0, 1], differing=[0, 23])
    faces = mini_hand.faces.numpy()
    hands = sample_hands(evaluations, pack, faces, groups.samples)
    text = comparison_page(comparison, groups, hands, faces, "")
    assert text == comparison_page(comparison, groups, hands, faces, "")
    return Tags(text)


def test_nothing_that_comes_from_data_becomes_a_tag(page: Tags, made: types.ModuleType) -> None:
    assert len(page.named("script")) == 2 + len(SCRIPTS)
    assert not [attributes for _, attributes in page.tags if "onerror" in attributes]
    assert all(attributes["src"].startswith("data:image/jpeg;base64,") for attributes in page.named("img"))  # type: ignore[union-attr]
    assert not page.named("b")
    assert not page.named("i")
    assert page.data["names"] == made.NAMES
    texts = "".join(page.text.values())
    assert texts.count(made.NAMES[1]) > 5, "it is there as text"


def test_no_text_ends_the_script_that_holds_it() -> None:
    hostile = "</script ><!--<script & \u2028"
    text = embedded_json([hostile])
    assert not set(text) & set("<>&\u2028")
    assert json.loads(text) == [hostile]


def test_nothing_is_asked_for_from_elsewhere(page: Tags) -> None:
    places = [value for _, attributes in page.tags for name in ("src", "href") if (value := attributes.get(name))]
    assert len(places) > 10
    assert all(place.startswith(("data:", "#")) for place in places)
    policy = next(meta for meta in page.named("meta") if meta.get("http-equiv"))["content"]
    assert policy is not None
    assert policy.startswith("default-src 'none';")


def test_every_picture_is_said_in_words(page: Tags, made: types.ModuleType) -> None:
    pictures = page.named("img")
    assert len(pictures) == 4 * 4  # four samples: the truth, both evaluations' joints, and the second one's mesh
    ids = page.data["ids"]
    assert pictures[0]["alt"] == f"{ids[23]} with its true joints"
    assert pictures[3]["alt"] == f"{ids[23]} with the mesh of {made.NAMES[1]}, MPJPE 12.00 mm"
    titles = [title for i, (tag, _) in enumerate(page.tags) if tag == "h2" and (title := page.text.get(i, "").strip())]
    assert titles == [
        *("Metrics", "Differences", "PCK curves", "Breakdowns", "Worst and best samples", "Sample by sample"),
        "All samples",
    ]


def test_the_page_says_what_its_figures_are_of(page: Tags) -> None:
    texts = " ".join("".join(page.text.values()).split())
    assert "Synthetic data: nothing here says how good a model is on real hands." in texts
    assert "sp0 test, 24 samples. Intervals: 95 %, drawn over 5 sequences" in texts
    assert "a note <b>of</b> & </script>" in texts


def test_hands_are_kept_to_a_tenth_of_a_millimetre(page: Tags, made: types.ModuleType, mini_pack: Pack) -> None:
    rows = mini_pack.indices("sp0", "test")
    first, second = made.made_evaluations(mini_pack)
    assert set(page.data["hands"]) == {"0", "1", "22", "23"}
    hand = page.data["hands"]["23"]
    joints, verts = (mini_pack.array(name, rows[23:])[0] for name in ("joints", "verts"))
    for kept, exact in (
        (hand["truth"]["joints"], joints),
        (hand["truth"]["verts"], verts),
        (hand["predicted"][0]["joints"], first.predictions.joints[23]),
        (hand["predicted"][1]["joints"], second.predictions.joints[23]),
        (hand["predicted"][1]["verts"], second.predictions.verts[23]),
    ):
        np.testing.assert_allclose(points(kept) + joints[0], exact, rtol=0, atol=0.51e-4)
    assert hand["predicted"][0]["verts"] is None
    faces = np.frombuffer(base64.b64decode(page.data["faces"]), "<u2")
    assert faces.max() < 778


def test_a_hand_is_drawn_over_its_crop(made: types.ModuleType, mini_pack: Pack, mini_hand: HandModel) -> None:
    faces = mini_hand.faces.numpy()
    evaluations = made.made_evaluations(mini_pack)
    hands = sample_hands(evaluations, mini_pack, faces, [5])[5]
    row = int(mini_pack.indices("sp0", "test")[5])
    dataset = ImageDataset(mini_pack, image_size=PANEL_PX, root_joint=0, data=DataConfig())
    tile = Tile.of(dataset, row, PANEL_PX)
    verts = evaluations[1].predictions.verts
    expected = [
        tile.with_joints(tile.true_joints),
        *(tile.with_joints(one.predictions.joints[5]) for one in evaluations),
        tile.with_mesh(verts[5], faces),
    ]
    assert len(hands.panels) == len(expected) == panels_of(evaluations)
    for panel, picture in zip(hands.panels, expected, strict=True):
        shown = decode(panel.jpeg)
        assert shown is not None
        assert np.abs(shown.astype(int) - picture).mean() < 4
    assert [(panel.kind, panel.evaluation) for panel in hands.panels] == [
        *(("joints", None), ("joints", 0), ("joints", 1)),
        ("mesh", 1),
    ]


def test_left_hands_and_joints_that_are_not_known(tmp_path: Path) -> None:
    write_pack(snapshots.Snapshots(snapshots.make_snapshots(tmp_path / "data")), tmp_path / "pack.h5", codec=PNG)
    pack = Pack(tmp_path / "pack.h5")
    rows = pack.indices("studio", "test")
    predictions = Predictions(
        model="a",
        split="studio",
        subset="test",
        pack=pack.info.digest,
        ids=pack.ids(rows),
        joints=pack.array("joints", rows).astype(np.float32),
    )
    one = SavedEvaluation(folder=tmp_path, report={}, predictions=predictions)
    hands = sample_hands([one], pack, np.zeros((1, 3), int), [0, 1])
    assert [hands[i].left for i in (0, 1)] == [False, True]
    unknown = [4, 8, 20]
    assert np.flatnonzero((hands[0].truth.joints == UNKNOWN).all(1)).tolist() == unknown
    assert (hands[0].predicted[0].joints != UNKNOWN).all()
    assert (hands[1].truth.joints != UNKNOWN).all()
    assert hands[0].truth.verts is None
    # The crop of the left hand shows it as it is in the frame, where the joints were drawn.
    true, predicted = (decode(panel.jpeg) for panel in hands[1].panels)
    np.testing.assert_array_equal(true, predicted)


def test_evaluations_in_an_order_of_their_own(made: types.ModuleType, mini_pack: Pack, mini_hand: HandModel) -> None:
    first = made.made_evaluations(mini_pack)[0]
    ids, joints = first.predictions.ids, first.predictions.joints
    turned = replace(first, predictions=replace(first.predictions, ids=ids[::-1], joints=joints[::-1]))
    faces = mini_hand.faces.numpy()
    before, after = (sample_hands([one], mini_pack, faces, [i])[i] for one, i in ((first, 20), (turned, 3)))
    assert before.panels == after.panels
    np.testing.assert_array_equal(before.truth.joints, after.truth.joints)


def test_another_pack_is_refused(made: types.ModuleType, mini_pack: Pack, mini_hand: HandModel) -> None:
    first = made.made_evaluations(mini_pack)[0]
    other = replace(first, predictions=replace(first.predictions, pack="another"))
    with pytest.raises(HmrError, match=r"are not of .*mini\.h5 \(its digest is another\). Give theirs with data"):
        sample_hands([other], mini_pack, mini_hand.faces.numpy(), [0])


def test_without_a_pack_the_page_has_all_but_pictures(made: types.ModuleType) -> None:
    text = comparison_page(same_samples(made, 4, ["a", "b"]), NOTHING, None, None, "")
    found = Tags(text)
    assert NO_PICTURES in text
    assert not found.named("img")
    assert found.data["hands"] == {}
    assert found.data["no_picture"] == NO_PICTURES


def test_one_evaluation_alone_is_compared_with_none(made: types.ModuleType) -> None:
    text = comparison_page(same_samples(made, 4, ["a"]), NOTHING, None, None, "")
    assert '<h2 id="samples">' in text
    assert '<h2 id="differences">' not in text
    assert '<h2 id="points">' not in text
    assert "★" not in text


def test_what_all_are_held_against_is_there_once(made: types.ModuleType) -> None:
    same = {"mpjpe_mm": 8.14, "pa_mpjpe_mm": 6.0}
    references = [
        *(Reference(of=name, label="published", values=same) for name in ("a", "b")),
        *(
            Reference(of=name, label="mean pose", values={"mpjpe_mm": value})
            for name, value in (("a", 1.0), ("b", 2.0))
        ),
    ]
    comparison = replace(same_samples(made, 4, ["a", "b"]), references=references)
    table = references_table(comparison)
    heads = re.findall(r'<td class="text">([^<]*)</td>', table)
    assert heads == ["published", "a: mean pose", "b: mean pose"]
    assert table.count("8.14") == 2, "as it is shown, and as it sorts"


def test_what_is_no_number_is_none(made: types.ModuleType) -> None:
    comparison = same_samples(made, 3, ["a"])
    comparison.errors_mm["mpjpe_mm"]["a"][:] = [float("nan"), None, 1.23456]
    data = Tags(comparison_page(comparison, NOTHING, None, None, "")).data
    assert data["errors"]["mpjpe_mm"] == [[None, None, 1.23]]


def test_the_chosen_samples_are_the_worst_the_best_and_the_most_different(made: types.ModuleType) -> None:
    comparison = same_samples(made, 100, ["a", "b"])
    comparison.errors_mm["mpjpe_mm"]["a"][99] = None  # the worst, if it were known
    groups = choose_groups(comparison, 4)
    assert groups.worst == list(range(98, 82, -1))
    assert groups.best == list(range(16))
    assert groups.differing == list(range(98, 82, -1)), "12 mm of both is at sample 12"
    comparison.errors_mm["mpjpe_mm"]["a"][50:] = [40.0] * 50
    comparison.errors_mm["mpjpe_mm"]["b"][50] = 80.0
    differing = choose_groups(comparison, 4).differing
    assert differing[:3] == [50, 49, 48], "not by the mean error, which is 26 mm of 51, too"
    assert choose_groups(same_samples(made, 100, ["a"]), 2).differing == []


def test_few_samples_are_in_several_groups_and_once_on_the_page(made: types.ModuleType) -> None:
    groups = choose_groups(same_samples(made, 3, ["a", "b"]), 4)
    assert (groups.worst, groups.best, groups.differing) == ([2, 1, 0], [0, 1, 2], [0, 1, 2])
    assert groups.samples == [2, 1, 0]


@pytest.mark.parametrize("panels", [2, 4, 21, 1000])
def test_the_pictures_are_bounded_whatever_is_compared(made: types.ModuleType, panels: int) -> None:
    samples = choose_groups(same_samples(made, 200, ["a", "b"]), panels).samples
    assert len(samples) * panels <= max(MOST_PICTURES, 3 * panels)


def test_the_list_is_bounded_and_has_all_with_pictures() -> None:
    assert choose_listed(MOST_LISTED, [3]) == list(range(MOST_LISTED))
    listed = choose_listed(123_456, [0, 77_777, 77_778])
    assert MOST_LISTED <= len(listed) <= MOST_LISTED + 3
    assert {0, 77_777, 77_778} <= set(listed)
    assert listed == sorted(set(listed))
    steps = np.diff([sample for sample in listed if sample not in (77_777, 77_778)])
    assert steps.max() < 40, "at even distances"


def test_a_page_of_many_samples_stays_below_25_mb(made: types.ModuleType) -> None:
    """With pictures of 15 kB, as a crop of noise has, and Plotly's 5 MB."""
    names = ["a", "b", "c", "d"]
    comparison = same_samples(made, 30_000, names)
    groups = choose_groups(comparison, 9)
    verts = np.full((778, 3), 123, dtype=np.int16)
    one = Points(joints=verts[:21], verts=verts)
    panels = [Panel(kind="joints", evaluation=i % 4, jpeg=bytes(15_000)) for i in range(9)]
    hands = SampleHands(labels={}, left=False, panels=panels, truth=one, predicted=[one] * 4)
    page = comparison_page(comparison, groups, dict.fromkeys(groups.samples, hands), verts.astype(int), "x" * 5_000_000)
    assert 10e6 < len(page.encode()) < 25e6
    assert "Of 30,000 samples, the list and the points above have 10," in page


def test_a_missing_plotly_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmr_core.optional_packages.find_spec", lambda name: None)
    text = re.escape('Plotly, which draws the page\'s charts, is not installed. Run: pip install "hmr-core[report]"')
    with pytest.raises(HmrError, match=text):
        plotly_js.plotly_js()


def test_plotly_is_read_from_its_package() -> None:
    text = plotly_js.plotly_js()
    assert "plotly.js v" in text[:200]
    assert "</script" not in text


def test_the_groups_are_of_the_first_metric(made: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "MOST_A_GROUP", 1)
    comparison = same_samples(made, 10, ["a"])
    comparison.errors_mm["pa_mpjpe_mm"]["a"][4] = 100.0
    assert choose_groups(comparison, 1).worst == [9]
