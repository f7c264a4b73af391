"""Predictors and detectors of plugins: what a photo's hands are when a plugin says so, and what is refused of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy import ndarray
from pydantic import Field

from hmr_core import builtin
from hmr_core.config import Section
from hmr_core.errors import HmrError, UsageError
from hmr_core.geometry.mirror import mirror_points, mirror_rotations
from hmr_core.hand.layer import HandLayer
from hmr_core.inference.depth import bone_lengths, hand_size
from hmr_core.inference.load import load
from hmr_core.inference.photos import predict_photos
from hmr_core.inference.request import PhotoRequest
from hmr_core.plugins import DetectorSpec, ModelSpec, PredictorSpec
from hmr_core.plugins.photo_hands import Detection, FoundHand, InBox, Sought
from hmr_core.plugins.recipes import load_recipe
from hmr_core.weights.checkpoint_record import CheckpointRecord
from hmr_core.weights.checkpoints import save_checkpoint

WIDTH, HEIGHT = 160, 120
CAMERA = (150.0, 150.0, 79.5, 59.5)
BOX = (10.0, 20.0, 60.0, 50.0)


class Options(Section):
    """Of the toy: how sure it must be."""

    least: float = Field(default=0.5, ge=0, le=1, description="the least score of a hand")
    tiles: bool = Field(default=False, description="look at parts, too")


class Toy:
    """Sees a right hand in the left half of a picture that is not black, and a left one in the other half.

    A hand's distance is told by where it is sought: 100 over the width of its box.
    """

    root_joint = 0

    def __init__(self, options: Options, layer: HandLayer) -> None:
        self.options, self.layer = options, layer

    def detect(self, image: ndarray) -> list[Detection]:
        if not image.any():
            return []
        halves = (("right", 10.0, 0.9), ("left", 90.0, 0.6))
        return [
            Detection(box=(x, 20.0, 60.0, 50.0), side=side, score=score)
            for side, x, score in halves
            if score >= self.options.least
        ]

    def predict(self, image: ndarray, intrinsics: ndarray, sought: Sequence[Sought]) -> list[FoundHand | None]:
        return [self.hand(place) if image.any() else None for place in sought]

    def hand(self, place: Sought) -> FoundHand:
        if isinstance(place, InBox):
            width, side, score = place.box[2], place.side or "right", 0.8
        else:
            assert isinstance(place, Detection)
            width, side, score = place.box[2], place.side, place.score
        rotations = torch.full((1, 16, 3), 0.1)
        posed = self.layer(rotations, torch.zeros(1, 10))
        place_m = torch.tensor([0.0, 0.0, 60 / width])
        joints, verts = posed.joints[0] + place_m, posed.verts[0] + place_m
        right = FoundHand(
            side="right",
            score=score,
            joints=joints.numpy(),
            verts=verts.numpy(),
            rotations=rotations[0].numpy(),
            betas=np.zeros(10, np.float32),
            remarks=("It is a toy's.",),
        )
        if side == "right":
            return right
        return replace(
            right,
            side="left",
            joints=mirror_points(joints).numpy(),
            verts=mirror_points(verts).numpy(),
            rotations=mirror_rotations(rotations[0]).numpy(),
        )


def unchecked(record: Any, **changes: Any) -> Any:
    """A frozen record with changes, as a plugin may make it whose types nobody checks."""
    for name, value in changes.items():
        object.__setattr__(record, name, value)
    return record


def toy(options: Any, layer: HandLayer, device: torch.device) -> Toy:
    return Toy(options, layer)


def toy_detector(options: Any, device: torch.device) -> Toy:
    return Toy(options, None)  # type: ignore[arg-type]  # a detector has no use for it


@pytest.fixture
def plugins(fakes: Any, small_spec: ModelSpec, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Core, a small model, and the toy as a predictor and as a detector."""
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)
    return fakes.registry(
        fakes.FakeEntryPoint("core", lambda: builtin, fakes.FakeDist("hmr-core")),
        fakes.plugin(
            "toy",
            hmr_models=lambda: [small_spec],
            hmr_predictors=lambda: [PredictorSpec(name="toy", summary="a toy", config=Options, build=toy)],
            hmr_detectors=lambda: [DetectorSpec(name="toy", summary="a toy", config=Options, build=toy_detector)],
        ),
    )


@pytest.fixture
def image() -> ndarray:
    return np.full((HEIGHT, WIDTH, 3), 90, np.uint8)


@pytest.fixture
def checkpoint(small_spec: ModelSpec, tmp_path: Path) -> Path:
    torch.manual_seed(1)
    recipe = load_recipe(small_spec, "tiny")
    record = CheckpointRecord(model="small", recipe=recipe.model_dump(mode="json"))
    save_checkpoint(tmp_path / "run", small_spec.build(recipe.model), None, record)
    return tmp_path / "run"


def test_a_photo_s_hands_are_those_that_the_predictor_finds(plugins: Any, image: ndarray) -> None:
    hands = load("toy", registry=plugins)(image, intrinsics=CAMERA)
    assert [(hand.side, hand.score) for hand in hands] == [("right", 0.9), ("left", 0.6)]
    right, left = hands
    assert (right.intrinsics_from, right.depth_from, right.remarks) == ("given", "hand size", ("It is a toy's.",))
    # The box of a hand that was found is tight around its mesh, as the camera sees it.
    assert right.verts is not None
    pixels = right.verts[:, :2] / right.verts[:, 2:] * 150 + (79.5, 59.5)
    low, high = pixels.min(0), pixels.max(0)
    np.testing.assert_allclose(right.box, [*low, *(high - low + 1)], atol=1e-3)
    # A left hand's triangles are turned round, so that they look outwards.
    assert right.faces is not None
    assert left.faces is not None
    np.testing.assert_array_equal(left.faces, right.faces[:, [0, 2, 1]])
    np.testing.assert_allclose(left.joints, right.joints * [-1, 1, 1], atol=1e-6)


def test_boxes_and_sides_that_are_given_win(plugins: Any, image: ndarray) -> None:
    predictor = load("toy", registry=plugins)
    (hand,) = predictor(image, boxes=[BOX], sides="left")
    assert (hand.side, hand.score, hand.box) == ("left", 0.8, BOX)
    (hand,) = predictor(image, boxes=[BOX])
    assert hand.side == "right"  # as the predictor has it
    assert [hand.side for hand in predictor(image, sides="left")] == ["left", "left"]


def test_no_hand_is_an_empty_list_with_and_without_boxes(plugins: Any, image: ndarray) -> None:
    predictor = load("toy", registry=plugins)
    black = np.zeros_like(image)
    assert predictor(black) == predictor(black, boxes=[BOX, BOX]) == predictor(image, boxes=[]) == []


def test_a_depth_and_a_size_scale_all(plugins: Any, image: ndarray) -> None:
    predictor = load("toy", registry=plugins)
    plain, deep, large = (predictor(image, **given)[0] for given in ({}, {"depth": 0.7}, {"hand_size": 250}))
    assert (deep.joints[0, 2], deep.depth_from) == (pytest.approx(0.7), "given")
    size = float(hand_size(bone_lengths(predictor.layer, torch.zeros(1, 10))))  # type: ignore[attr-defined]
    for hand, scale in ((deep, 0.7 / plain.joints[0, 2]), (large, 0.25 / size)):
        np.testing.assert_allclose(hand.joints, plain.joints * scale, rtol=1e-5)
        assert hand.verts is not None
        assert plain.verts is not None
        np.testing.assert_allclose(hand.verts, plain.verts * scale, rtol=1e-5)
        np.testing.assert_allclose(hand.joints_px, plain.joints_px, atol=1e-3)


def test_its_options_are_checked_before_anything_is_made(plugins: Any, image: ndarray) -> None:
    assert len(load("toy", set={"least": 0.7}, registry=plugins)(image)) == 1
    with pytest.raises(
        UsageError, match=r'^unknown option "leest"\. Did you mean "least"\? `hmr predictors toy` lists'
    ):
        load("toy", set={"leest": 0.7}, registry=plugins)
    with pytest.raises(UsageError, match="Input should be less than or equal to 1"):
        load("toy", set={"least": 7}, registry=plugins)
    others: tuple[dict[str, Any], ...] = ({"detector": "toy"}, {"solver": "iknet"}, {"solver": None})
    for given in (*others, {"solver_ckpt": "weights"}):
        with pytest.raises(UsageError, match=r'^the predictor "toy" finds hands and makes meshes by itself'):
            load("toy", **given, registry=plugins)
    with pytest.raises(UsageError, match=r'^predictor "mediapipe" is not installed: pip install hmr-mediapipe$'):
        load("mediapipe", registry=plugins)


def test_a_path_is_told_from_a_name(plugins: Any, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkpoint.parent)
    checkpoint.rename("toy")
    for path in (Path("toy"), "./toy"):
        assert load(path, device="cpu", registry=plugins).name == "small"
    assert load("toy", registry=plugins).name == "toy"


@pytest.mark.parametrize(
    ("gives", "text"),
    [
        ([], r'^the predictor "toy" gave 0 of them for 2 hands; valid: a list with one for each\.$'),
        (None, "gave NoneType for 2 hands"),
        (["hand", None], r"gave str; valid: FoundHand or None\.$"),
        ({"joints": np.zeros((21, 2), np.float32)}, r"gave joints as float32 \(21, 2\); valid: a NumPy array, float32"),
        ({"joints": np.zeros((21, 3))}, r"gave joints as float64 \(21, 3\)"),
        ({"verts": np.full((778, 3), np.nan, np.float32)}, r"gave verts that are not finite\.$"),
        ({"betas": [0.0] * 10}, "gave betas as list"),
        ({"joints": np.zeros((21, 3), np.float32)}, r"gave a hand that is not before the camera\.$"),
        ({"verts": np.full((778, 3), -1, np.float32)}, r"gave a hand that is not before the camera\.$"),
        ({"side": "Right"}, r"a hand of the side 'Right'; valid: right, left\.$"),
    ],
)  # fmt: skip
def test_what_is_no_hand_is_refused(
    gives: Any, text: str, plugins: Any, image: ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = load("toy", registry=plugins)
    made = Toy.predict

    def wrong(self: Toy, *args: Any) -> Any:
        return [unchecked(hand, **gives) for hand in made(self, *args)] if isinstance(gives, dict) else gives

    monkeypatch.setattr(Toy, "predict", wrong)
    with pytest.raises(HmrError, match=text):
        predictor(image)


@pytest.mark.parametrize(
    ("gives", "text"),
    [
        (("no", "list"), r'^the detector "toy" gave tuple; valid: a list of Detection\.$'),
        ([BOX], "gave list; valid: a list of Detection"),
        ({"box": (1.0, 2.0, 0.0, 4.0)}, r"gave the box \(1.0, 2.0, 0.0, 4.0\) with the score 0.9; valid:"),
        ({"box": (1, 2, 3)}, r"gave the box \(1, 2, 3\)"),
        ({"score": float("nan")}, "with the score nan"),
        ({"side": "both"}, "a hand of the side 'both'"),
    ],
)
def test_what_is_no_detection_is_refused(
    gives: Any, text: str, plugins: Any, checkpoint: Path, image: ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = load(checkpoint, detector="toy", solver=None, device="cpu", registry=plugins)
    made = Toy.detect

    def wrong(self: Toy, image: ndarray) -> Any:
        return [unchecked(hand, **gives) for hand in made(self, image)] if isinstance(gives, dict) else gives

    monkeypatch.setattr(Toy, "detect", wrong)
    with pytest.raises(HmrError, match=text):
        predictor(image)


def test_a_plugin_that_fails_is_named(plugins: Any, image: ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = load("toy", registry=plugins)

    def fails(*args: Any) -> Any:
        raise KeyError("palm")

    monkeypatch.setattr(Toy, "detect", fails)
    with pytest.raises(HmrError, match=r'the predictor "toy".*on a photo.*KeyError'):
        predictor(image)


def test_a_model_is_told_by_a_detector_where_to_look(plugins: Any, checkpoint: Path, image: ndarray) -> None:
    seeing = load(checkpoint, detector="toy", solver=None, device="cpu", registry=plugins)
    found = seeing(image, intrinsics=CAMERA)
    assert [(hand.side, hand.score) for hand in found] == [("right", 0.9), ("left", 0.6)]
    told = seeing(image, boxes=[(10, 20, 60, 50), (90, 20, 60, 50)], sides=["right", "left"], intrinsics=CAMERA)
    for one, other in zip(found, told, strict=True):
        np.testing.assert_allclose(one.joints, other.joints, atol=1e-6)
    assert seeing.as_report()["detector"] == {"name": "toy", "options": {"least": 0.5, "tiles": False}}
    sure = load(
        checkpoint, detector="toy", detector_set={"least": 0.7}, solver=None, device="cpu", registry=plugins
    )  # fmt: skip
    assert len(sure(image)) == 1
    with pytest.raises(UsageError, match="options of a detector are of no use without one"):
        load(checkpoint, detector_set={"least": 0.7}, registry=plugins)
    with pytest.raises(UsageError, match=r"a model's options are in its checkpoint"):
        load(checkpoint, set={"least": 0.7}, registry=plugins)


def test_a_photo_without_hands_is_no_failure(plugins: Any, image: ndarray, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), image)
    cv2.imwrite(str(tmp_path / "b.png"), np.zeros_like(image))
    predictor = load("toy", registry=plugins)
    results = predict_photos(
        predictor, [tmp_path / "a.png", tmp_path / "b.png"], PhotoRequest(), tmp_path / "hands", about={}
    )
    assert results is not None
    assert [(len(result.hands), result.error) for result in results] == [(2, None), (0, None)]
    assert {path.name for path in (tmp_path / "hands").iterdir()} == {
        "a.png",
        "a-1.obj",
        "a-2.obj",
        "b.png",
        "hands.json",
    }
