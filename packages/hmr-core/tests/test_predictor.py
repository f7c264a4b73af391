"""From a photo to hands: with a model that knows where the joints are, all else must come out."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from hmr_core.data.crops import warp
from hmr_core.errors import HmrError, UsageError
from hmr_core.geometry.camera import project, to_uvd
from hmr_core.hand.fit.lm import LmSolver
from hmr_core.hand.fit.lm_config import LmConfig
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.source import packaged_hand
from hmr_core.inference.boxes import Square
from hmr_core.inference.crops import Look, crop_looks
from hmr_core.inference.load import load
from hmr_core.inference.model_predictor import ModelPredictor
from hmr_core.inference.predictor import draw
from hmr_core.inference.solving import LoadedSolver
from hmr_core.nn.model import Inputs, PoseModel, Prediction, Targets
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.recipes import load_recipe
from hmr_core.weights.checkpoint_record import CheckpointRecord
from hmr_core.weights.checkpoints import Checkpoint, save_checkpoint

WIDTH, HEIGHT = 320, 240
CAMERA = np.array([[400.0, 0, 150], [0, 410, 125], [0, 0, 1]])
IMAGE = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
ROOT = 9


class Oracle(PoseModel):
    """Says of every picture where the joints of a true hand are, as far as the crop's camera sees it."""

    def __init__(self, rotations: Tensor, betas: Tensor, place: Tensor, gives: str = "uvd") -> None:
        super().__init__()
        self.rotations, self.betas, self.gives = rotations, betas, gives
        posed = HandLayer(packaged_hand().model)(rotations, betas, centre=ROOT)
        self.joints, self.verts = posed.joints + place, posed.verts + place

    def forward(self, inputs: Inputs) -> Prediction:
        assert inputs.image is not None
        assert inputs.intrinsics is not None
        count, size = len(inputs.image), inputs.image.shape[-1]
        joints, verts = self.joints.expand(count, -1, -1), self.verts.expand(count, -1, -1)
        uvd, verts_uvd = (to_uvd(points, joints[:, ROOT], inputs.intrinsics, size) for points in (joints, verts))
        made: dict[str, Tensor] = {}
        if "uvd" in self.gives:
            made["joints_uvd"] = uvd
        if "mesh" in self.gives:
            made["verts_uvd"] = verts_uvd
        if "rotations" in self.gives:
            made |= {"rotations": self.rotations.expand(count, -1, -1), "betas": self.betas.expand(count, -1)}
        return Prediction(**made)

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        raise NotImplementedError


@pytest.fixture(scope="module")
def truth() -> Oracle:
    """A bent right hand, 0.55 m away, with the mean shape."""
    generator = torch.Generator().manual_seed(0)
    rotations = 0.15 * torch.randn(1, 16, 3, generator=generator)
    rotations[0, 0] = torch.tensor([1.4, 0.3, 0.2])
    return Oracle(rotations, torch.zeros(1, 10), torch.tensor([0.01, -0.02, 0.55]))


@pytest.fixture
def predictor(small_spec: ModelSpec) -> Callable[..., ModelPredictor]:
    """Makes a predictor of a model, with lm or without a solver."""

    def make(model: PoseModel, *, solver: bool = False) -> ModelPredictor:
        recipe, layer = load_recipe(small_spec, "tiny"), HandLayer(packaged_hand().model)
        lm = LmSolver(LmConfig(noise_mm=1), HandLayer(layer.model))
        loaded = LoadedSolver(
            name="lm", config=LmConfig(), protocol="best", checkpoint=None, digest=None, solver=lm
        )  # fmt: skip
        return ModelPredictor(
            spec=small_spec,
            checkpoint=Checkpoint(path=Path("x"), model=model, recipe=recipe, record=None, digest=""),
            hand_model=packaged_hand(),
            layer=layer,
            solver=loaded if solver else None,
            device=torch.device("cpu"),
        )

    return make


def box_of(points: Tensor) -> tuple[float, ...]:
    pixels = project(points[0].double(), torch.from_numpy(CAMERA)).numpy()
    low, high = pixels.min(0), pixels.max(0)
    return (*low.tolist(), *(high - low + 1).tolist())


def test_a_true_prediction_gives_the_true_hand_at_its_true_depth(
    truth: Oracle, predictor: Callable[..., ModelPredictor]
) -> None:
    (hand,) = predictor(truth)(IMAGE, boxes=[box_of(truth.verts)], intrinsics=CAMERA)
    # The fingertips are on the skin, so that their bones change a little with the pose: 0.2 % of the depth.
    assert hand.joints[0, 2] == pytest.approx(float(truth.joints[0, 0, 2]), rel=0.005)
    np.testing.assert_allclose(hand.joints - hand.joints[0], truth.joints[0] - truth.joints[0, 0], atol=1e-3)
    pixels = project(truth.joints[0].double(), torch.from_numpy(CAMERA))
    np.testing.assert_allclose(hand.joints_px, pixels, atol=0.01)
    assert (hand.side, hand.score, hand.intrinsics_from, hand.depth_from) == ("right", 1.0, "given", "hand size")
    assert hand.box == pytest.approx(box_of(truth.verts))
    assert hand.verts is hand.faces is hand.rotations is hand.betas is hand.confidence is None


def test_a_box_of_the_joints_is_the_square_that_models_are_trained_with(
    truth: Oracle, predictor: Callable[..., ModelPredictor], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watched(looks: Any, **given: Any) -> Any:
        seen.append(looks[0].square)
        return crop_looks(looks, **given)

    monkeypatch.setattr("hmr_core.inference.model_predictor.crop_looks", watched)
    pixels = project(truth.joints[0].double(), torch.from_numpy(CAMERA)).numpy()
    wanted = [*(pixels.min(0) + pixels.max(0)) / 2, np.ptp(pixels, axis=0).max()]
    predictor(truth)(IMAGE, boxes=[box_of(truth.joints)], box_of="joints", intrinsics=CAMERA)
    assert len(seen) == 1
    np.testing.assert_allclose(seen[0], wanted, rtol=0.01)
    seen.clear()
    predictor(truth)(IMAGE, boxes=[box_of(truth.verts)], intrinsics=CAMERA)
    assert len(seen) == 3
    np.testing.assert_allclose(seen[2], wanted, rtol=0.03)  # as near as the fitted mesh is the true one
    assert abs(seen[0][1] - wanted[1]) > 2


def test_a_given_depth_is_the_root_joint_s(truth: Oracle, predictor: Callable[..., ModelPredictor]) -> None:
    depth = float(truth.joints[0, ROOT, 2])
    (hand,) = predictor(truth)(IMAGE, boxes=["whole"], intrinsics=CAMERA, depth=depth)
    np.testing.assert_allclose(hand.joints, truth.joints[0], atol=1e-5)
    assert hand.depth_from == "given"


def test_a_hand_size_scales_all(truth: Oracle, predictor: Callable[..., ModelPredictor]) -> None:
    make = predictor(truth, solver=True)
    (own,) = make(IMAGE, boxes=["whole"], intrinsics=CAMERA)
    (child,) = make(IMAGE, boxes=["whole"], intrinsics=CAMERA, hand_size=130)
    chain = [0, 9, 10, 11, 12]
    size = np.linalg.norm(np.diff(child.joints[chain], axis=0), axis=1).sum()
    assert size == pytest.approx(0.130, rel=0.02)
    assert own.verts is not None
    assert child.verts is not None
    ratio = child.joints[0, 2] / own.joints[0, 2]
    np.testing.assert_allclose(child.joints, own.joints * ratio, rtol=1e-4)
    np.testing.assert_allclose(child.verts, own.verts * ratio, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(child.joints_px, own.joints_px, atol=1e-2)


def test_the_solver_s_mesh_lies_on_the_joints_and_a_model_s_own_mesh_is_kept(
    truth: Oracle, predictor: Callable[..., ModelPredictor]
) -> None:
    boxes = [box_of(truth.verts)]
    (solved,) = predictor(truth, solver=True)(IMAGE, boxes=boxes, intrinsics=CAMERA)
    own = Oracle(truth.rotations, truth.betas, truth.joints[0, ROOT], "uvd mesh")
    (kept,) = predictor(own, solver=True)(IMAGE, boxes=boxes, intrinsics=CAMERA)
    for hand, tolerance in ((solved, 0.006), (kept, 0.002)):
        assert hand.verts is not None
        off = np.linalg.norm(hand.verts - hand.joints[0] - (truth.verts[0] - truth.joints[0, 0]).numpy(), axis=1)
        assert off.mean() < tolerance
        assert hand.faces is not None
    assert solved.rotations is not None
    assert kept.rotations is None


def test_rotations_are_posed_where_the_joints_are_or_fill_the_box(
    truth: Oracle, predictor: Callable[..., ModelPredictor]
) -> None:
    for gives, share in (("uvd rotations", 0.005), ("rotations", 0.06)):
        model = Oracle(truth.rotations, truth.betas, truth.joints[0, ROOT], gives)
        (hand,) = predictor(model)(IMAGE, boxes=[box_of(truth.verts)], intrinsics=CAMERA)
        assert hand.joints[0, 2] == pytest.approx(float(truth.joints[0, 0, 2]), rel=share), gives
        pixels = project(truth.joints[0].double(), torch.from_numpy(CAMERA))
        assert np.abs(hand.joints_px - pixels.numpy()).max() < 200 * share
        assert hand.verts is not None
        assert hand.betas is not None
        np.testing.assert_allclose(hand.rotations, truth.rotations[0])


def random_model(small_spec: ModelSpec) -> PoseModel:
    torch.manual_seed(1)
    model = small_spec.build(load_recipe(small_spec, "tiny").model)
    model.body[2].weight.data *= 4  # type: ignore[index, union-attr]  # so that it depends on the picture
    return model


def test_a_left_hand_is_the_mirrored_picture_s_right_one(
    small_spec: ModelSpec, predictor: Callable[..., ModelPredictor]
) -> None:
    make = predictor(random_model(small_spec), solver=True)
    boxes = [(40, 30, 120, 90), (100, 60, 110, 150)]
    mirrored_boxes = [(WIDTH - x - w, y, w, h) for x, y, w, h in boxes]
    camera = (400.0, 410.0, 150.0, 125.0)
    mirrored_camera = (400.0, 410.0, WIDTH - 1 - 150.0, 125.0)
    left = make(IMAGE, boxes=boxes, sides="left", intrinsics=camera)
    right = make(np.ascontiguousarray(IMAGE[:, ::-1]), boxes=mirrored_boxes, sides="right", intrinsics=mirrored_camera)
    others = make(IMAGE, boxes=boxes, sides="right", intrinsics=camera)
    for one, other, unlike, box in zip(left, right, others, boxes, strict=True):
        wanted = other.mirrored(WIDTH)
        assert one.side == wanted.side == "left"
        assert one.box == pytest.approx(box)
        for name in ("joints", "verts", "rotations", "betas"):
            np.testing.assert_allclose(getattr(one, name), getattr(wanted, name), atol=1e-4, err_msg=name)
        np.testing.assert_array_equal(one.faces, wanted.faces)
        np.testing.assert_allclose(one.joints_px, wanted.joints_px, atol=1e-2)
        np.testing.assert_allclose(one.intrinsics, CAMERA)
        assert np.abs(one.joints - unlike.joints).max() > 1e-3


def test_sides_of_their_own_and_a_hand_s_independence_of_the_others(
    small_spec: ModelSpec, predictor: Callable[..., ModelPredictor]
) -> None:
    make = predictor(random_model(small_spec))
    boxes = [(40, 30, 120, 90), (100, 60, 110, 150)]
    both = make(IMAGE, boxes=boxes, sides=["left", "right"])
    assert [hand.side for hand in both] == ["left", "right"]
    for box, side, hand in zip(boxes, ("left", "right"), both, strict=True):
        (alone,) = make(IMAGE, boxes=[box], sides=side)
        # The fit that tells the crop stops when a hand has settled, which rounding moves a little.
        np.testing.assert_allclose(alone.joints, hand.joints, atol=1e-3)


def test_drawn_hands_cover_the_hand_and_nothing_else(truth: Oracle, predictor: Callable[..., ModelPredictor]) -> None:
    hands = predictor(truth, solver=True)(IMAGE, boxes=[box_of(truth.verts)], intrinsics=CAMERA)
    picture = draw(IMAGE, hands)
    changed = (picture != IMAGE).any(-1)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels = project(truth.verts[0].double(), torch.from_numpy(CAMERA)).numpy().round().astype(int)
    for face in packaged_hand().model.faces.numpy():
        cv2.fillPoly(mask, [pixels[face]], 1)
    assert (changed & (mask == 1)).sum() / (changed | (mask == 1)).sum() > 0.85  # lm's mesh of the true joints
    # A large picture is drawn in bands, and without seams: the same is drawn as on a part of it.
    shifted = [replace(hands[0], intrinsics=np.array([[1.0, 0, 200], [0, 1, 400], [0, 0, 1]]) @ CAMERA)]
    large = draw(np.pad(IMAGE, ((400, 400), (200, 0), (0, 0))), shifted)
    np.testing.assert_array_equal(large[400:640, 200:], picture)
    bare = draw(IMAGE, [replace(hands[0], verts=None)])
    assert 0 < (bare != IMAGE).any(-1).sum() < changed.sum()


def test_a_prediction_that_is_not_finite_and_joints_that_are_no_hand_s_are_told(
    truth: Oracle, predictor: Callable[..., ModelPredictor]
) -> None:
    bad = Oracle(truth.rotations, truth.betas, truth.joints[0, ROOT])
    bad.joints = bad.joints.clone()
    bad.joints[0, 3] = torch.nan
    with pytest.raises(HmrError, match='what the model "small" predicted is not finite'):
        predictor(bad, solver=True)(IMAGE, intrinsics=CAMERA)
    bad.joints[:] = torch.tensor([0.0, 0.0, 0.5])
    with pytest.raises(HmrError, match=r"no mesh for hand 1: .* Without a solver there are its joints alone\."):
        predictor(bad, solver=True)(IMAGE, intrinsics=CAMERA)
    (hand,) = predictor(bad)(IMAGE, intrinsics=CAMERA)  # without a mesh there is a depth, if a poor one
    assert np.isfinite(hand.joints).all()


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"boxes": [(400, 10, 50, 50)]}, UsageError, "lies outside: the picture is 320x240 pixels"),
        ({"boxes": [(1, 1, 50, 50)] * 2, "sides": ["left"]}, UsageError, "1 sides for 2 boxes"),
        ({"depth": 0.5, "hand_size": 180}, UsageError, "Give one of them"),
        ({"fov": 60, "intrinsics": CAMERA}, UsageError, "Give one of them"),
        ({"box_of": "palm"}, UsageError, 'unknown kind of box "palm"'),
        ({"depth": 0}, UsageError, "a depth of 0 m; valid: 0.01 to 100 metres"),
        ({"depth": 640}, UsageError, "a depth of 640 m; valid: 0.01 to 100 metres"),
        ({"boxes": np.array([1, 1, 50, 50])}, UsageError, "valid: a list with a box for each hand"),
        ({"boxes": "whole"}, UsageError, "valid: a list with a box for each hand"),
        ({"hand_size": 0.18}, UsageError, "a hand's size of 0.18 mm; valid: 20 to 500 millimetres"),
    ],
)
def test_what_cannot_be_is_told(
    given: dict[str, Any], error: type[Exception], text: str, truth: Oracle, predictor: Callable[..., ModelPredictor]
) -> None:
    with pytest.raises(error, match=text):
        predictor(truth)(IMAGE, **given)


def test_boxes_may_be_an_array_and_none_at_all(truth: Oracle, predictor: Callable[..., ModelPredictor]) -> None:
    boxes = [(10, 20, 150, 160), (30, 40, 120, 100)]
    listed, array = (predictor(truth)(IMAGE, boxes=given) for given in (boxes, np.array(boxes)))
    assert [hand.box for hand in array] == [hand.box for hand in listed] == boxes
    np.testing.assert_array_equal(array[1].joints, listed[1].joints)
    assert predictor(truth)(IMAGE, boxes=[]) == predictor(truth)(IMAGE, boxes=np.zeros((0, 4))) == []


def test_a_notebook_shows_a_predictor_and_a_hand_in_one_line(
    truth: Oracle, predictor: Callable[..., ModelPredictor]
) -> None:
    found = predictor(truth, solver=True)
    (hand,) = found(IMAGE, boxes=[(10, 20, 150, 160.5)], intrinsics=CAMERA, depth=0.5)
    depth = f"wrist {hand.joints[0, 2]:.3f} m away"
    assert repr(hand) == f"Hand(right, box 10, 20, 150, 160.5, {depth}, mesh of 778 vertices)"
    assert "\n" not in repr(found)
    assert repr(found).startswith("ModelPredictor(small, ")
    assert repr(found).endswith(", solver lm, cpu)")
    assert "no solver" in repr(predictor(truth))
    (jointed,) = predictor(truth)(IMAGE)
    assert repr(jointed).endswith(", no mesh)")


def test_arrays_that_are_no_photo_are_told(truth: Oracle, predictor: Callable[..., ModelPredictor]) -> None:
    for image in (IMAGE[..., 0], IMAGE / 255, IMAGE[:0], np.zeros((4, 4, 4), np.uint8)):
        with pytest.raises(HmrError, match=r"valid: \(height, width, 3\) of uint8, RGB, or the path"):
            predictor(truth)(image)


def test_a_photo_s_file_is_read_with_its_camera(
    truth: Oracle, predictor: Callable[..., ModelPredictor], tmp_path: Path
) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), IMAGE[..., ::-1])
    (by_path,), (by_array,) = (predictor(truth)(image, fov=50) for image in (str(tmp_path / "x.png"), IMAGE))
    np.testing.assert_array_equal(by_path.joints, by_array.joints)
    (assumed,) = predictor(truth)(IMAGE)
    assert (by_path.intrinsics_from, assumed.intrinsics_from) == ("given", "assumed")


def crop_of(image: np.ndarray, square: Square) -> np.ndarray:
    images, _ = crop_looks([Look(image, CAMERA, square)], bbox_expand=1.0, image_size=32)
    crop: np.ndarray = images[0].numpy()
    return crop


def test_a_crop_is_the_one_of_training_and_a_large_one_is_smooth() -> None:
    square = Square(100.5, 90.0, 40.0)
    wanted = np.empty((32, 32, 3), np.uint8)
    scale = 32 / 40
    warp(IMAGE, np.array([[scale, 0, 16 - scale * 100.5], [0, scale, 16 - scale * 90]]), np.ones(3), wanted)
    np.testing.assert_array_equal(crop_of(IMAGE, square), wanted)
    # Stripes of one pixel are grey from afar; bilinear interpolation alone would give some of them.
    stripes = np.zeros((600, 900, 3), np.uint8)
    stripes[:, ::2] = 200
    assert np.abs(crop_of(stripes, Square(450.0, 300.0, 512.0)).astype(int) - 100).max() <= 13
    # A smooth picture is sampled in the same places.
    y, x = np.mgrid[:600, :900]
    smooth = np.stack([x / 4, y / 3, x * 0 + 9], axis=2).astype(np.float32)
    crop = crop_of(np.round(smooth).astype(np.uint8), Square(440.0, 310.0, 500.0)).astype(float)
    columns, rows = 440 + (np.arange(32) - 16) * 500 / 32, 310 + (np.arange(32) - 16) * 500 / 32
    np.testing.assert_allclose(crop[16, :, 0], columns / 4, atol=1.5)
    np.testing.assert_allclose(crop[:, 16, 1], rows / 3, atol=1.5)
    outside = crop_of(np.full((600, 900, 3), 200, np.uint8), Square(0.0, 0.0, 640.0))
    assert outside[0, 0, 0] == outside[31, 0, 0] == 0
    assert outside[20, 20, 0] == 200


@pytest.fixture
def checkpoint(small_spec: ModelSpec, tmp_path: Path) -> Path:
    model = random_model(small_spec)
    recipe = load_recipe(small_spec, "tiny")
    save_checkpoint(
        tmp_path / "run", model, None, CheckpointRecord(model="small", recipe=recipe.model_dump(mode="json"))
    )
    return tmp_path / "run"


def test_a_checkpoint_is_loaded_by_its_path_alone(
    checkpoint: Path, small_spec: ModelSpec, fakes: Any, predictor: Callable[..., ModelPredictor]
) -> None:
    from hmr_core import builtin

    core = fakes.FakeEntryPoint("core", lambda: builtin, fakes.FakeDist("hmr-core"))
    plugins = fakes.registry(fakes.plugin("small", hmr_models=lambda: [small_spec]), core)
    loaded = load(str(checkpoint), device="cpu", registry=plugins)
    assert (loaded.spec.name, loaded.hand_model.synthetic) == ("small", True)
    (hand,) = loaded(IMAGE, boxes=[(40, 30, 120, 90)])
    (wanted,) = predictor(random_model(small_spec))(IMAGE, boxes=[(40, 30, 120, 90)])
    np.testing.assert_allclose(hand.joints, wanted.joints, atol=1e-6)
    assert hand.verts is not None
    assert load(checkpoint, device="cpu", registry=plugins, solver=None)(IMAGE)[0].verts is None
    with pytest.raises(HmrError, match="no such checkpoint"):
        load("nothing", registry=plugins)
    (checkpoint / "model.json").rename(checkpoint / "elsewhere.json")
    with pytest.raises(HmrError, match=r"has no model\.json beside it"):
        load(checkpoint, registry=plugins)


def test_no_boxes_are_no_hands(truth: Oracle, predictor: Callable[..., ModelPredictor]) -> None:
    assert predictor(truth)(IMAGE, boxes=[]) == []
    assert predictor(truth)(IMAGE, boxes=np.zeros((0, 4))) == []


def test_boxes_may_be_an_array(truth: Oracle, predictor: Callable[..., ModelPredictor]) -> None:
    (hand,) = predictor(truth)(IMAGE, boxes=np.array([box_of(truth.verts)]), intrinsics=CAMERA)
    assert hand.box == pytest.approx(box_of(truth.verts))


def test_a_crop_takes_no_more_memory_than_its_picture_has() -> None:
    square = Square(WIDTH / 2, HEIGHT / 2, 4000.0)
    tracemalloc.start()
    crop = crop_of(IMAGE, square)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * IMAGE.nbytes
    assert crop[15:17, 15:17].all()  # the picture is in the middle of it
    assert not crop[:14].any()
    assert not crop_of(IMAGE, Square(-3000.0, 0.0, 4000.0)).any()
