"""Crops and ground truth against recorded outputs; augmentation as a pure function."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from hmr_core.data import image_dataset as module
from hmr_core.data.augment import Augmentation, Occlusion, draw
from hmr_core.data.batch import Key
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.loading import Loader, epoch_order, split_batches
from hmr_core.data.pack.reader import Pack
from hmr_core.data.targets import AnnotatedHands, read_hands
from hmr_core.errors import HmrError, UsageError
from hmr_core.nn.model import Prediction, Targets
from hmr_core.plugins.recipes import AugmentConfig, DataConfig

GOLDEN = Path(__file__).parent / "data/golden"
OFF = AugmentConfig(scale=0, rotation_deg=0, color=0, occlusion_probability=0)
CASES = json.loads((GOLDEN / "transform.json").read_text())


def hands(pack: Pack, augment: AugmentConfig | None = None, **changes: Any) -> ImageDataset:
    options: dict[str, Any] = {"image_size": 64, "root_joint": 9, "data": DataConfig(), "augment": augment, **changes}
    return ImageDataset(pack, **options)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"case{c['case']}")
def test_batches_match_the_recorded_transform(
    case: dict[str, Any], mini_pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden = np.load(GOLDEN / f"transform_{case['case']}.npz")
    rows = mini_pack.indices(case["split"], case["subset"])
    row = int(rows[case["index"]])
    assert mini_pack.ids([row]) == [case["sample"]]
    drawn = Augmentation(
        np.array([case["scale_factor"]]),
        np.deg2rad([case["rotation_deg"]]),
        np.array([case["color_factors_rgb"]], dtype=np.float64),
        [None],
    )
    monkeypatch.setattr(module, "draw", lambda *args: drawn)
    augment = None if case["subset"] == "test" else AugmentConfig()
    data = hands(mini_pack, augment, image_size=case["image_size"], root_joint=case["center_idx"])
    made = data.batch([Key(0, row)])
    assert made.image is not None
    targets = made.targets
    computed = {
        "target_joints_uvd": targets.joints_uvd,
        "target_verts_uvd": targets.verts_uvd,
        "target_joints_vis": targets.joints_vis,
        "target_verts_vis": targets.verts_vis,
        "target_joints_3d": targets.joints,
        "target_verts_3d": targets.verts[:, ::11],
        "target_root_joint": targets.root,
        "target_cam_intr": targets.intrinsics,
    }
    for name, value in computed.items():
        torch.testing.assert_close(
            value[0], torch.from_numpy(golden[name]), rtol=1e-4, atol=5e-4, msg=lambda m, n=name: f"{n}: {m}"
        )
    recorded = cv2.imread(str(GOLDEN / f"transform_{case['case']}.png"))[..., ::-1].astype(int)
    difference = np.abs(made.image[0].numpy().astype(int) - recorded)
    assert difference.max() <= (2 if cv2.__version__.startswith("5") else 3)
    assert difference.mean() < 0.1


def test_augmentation_depends_on_seed_epoch_and_id_alone(mini_pack: Pack) -> None:
    ids = mini_pack.ids(np.arange(96))
    config = AugmentConfig(occlusion_probability=0.5)
    whole = draw(config, 1, 2, ids)
    alone = draw(config, 1, 2, ids[40:41])
    np.testing.assert_array_equal(whole.scale[40:41], alone.scale)
    np.testing.assert_array_equal(whole.angle[40:41], alone.angle)
    np.testing.assert_array_equal(whole.color[40:41], alone.color)
    for other in (draw(config, 2, 2, ids), draw(config, 1, 3, ids)):
        assert (whole.angle != other.angle).all()


def test_augmentation_has_the_published_distribution() -> None:
    drawn = draw(AugmentConfig(), 0, 0, [f"sample {i}" for i in range(20000)])
    angle = np.rad2deg(drawn.angle)
    assert np.abs(angle).max() == pytest.approx(120)
    assert np.mean(np.abs(angle) > 119.999) == pytest.approx(0.0455, abs=0.005)  # beyond two standard deviations
    assert np.std(angle[np.abs(angle) < 119.999]) == pytest.approx(60 * 0.8796, rel=0.02)  # a normal cut at two
    assert drawn.scale.min() == pytest.approx(0.875)
    assert drawn.scale.max() == pytest.approx(1.125)
    assert np.mean((drawn.scale > 0.8751) & (drawn.scale < 1.1249)) == pytest.approx(0.683, abs=0.01)
    assert drawn.color.min() >= 0.7
    assert drawn.color.max() <= 1.3
    assert drawn.color.std() == pytest.approx(0.6 / 12**0.5, rel=0.02)
    occlusions = [o for o in drawn.occlusion if o is not None]
    assert len(occlusions) / 20000 == pytest.approx(0.1, abs=0.01)
    areas = np.array([o.width * o.height for o in occlusions])
    assert areas.max() == pytest.approx(0.2, abs=0.002)
    assert areas.mean() == pytest.approx(0.1, abs=0.005)
    aspects = np.array([o.height / o.width for o in occlusions])
    assert aspects.min() >= 0.5
    assert aspects.max() <= 2
    assert all(0 <= o.left <= 1 - o.width and 0 <= o.top <= 1 - o.height for o in occlusions)


def test_rotation_probability_leaves_the_rest_upright() -> None:
    drawn = draw(AugmentConfig(rotation_probability=0.25), 0, 0, [str(i) for i in range(4000)])
    assert np.mean(drawn.angle != 0) == pytest.approx(0.25, abs=0.03)


def test_occlusion_paints_its_rectangle_and_nothing_else() -> None:
    window = np.zeros((100, 120, 3), np.uint8)
    Occlusion(0.25, 0.5, 0.5, 0.25, np.random.default_rng(0)).paint(window, (10.0, 0.0, 80.0))
    painted = np.argwhere(window.any(2))
    assert painted.min(0).tolist() == [40, 30]
    assert painted.max(0).tolist() == [59, 69]
    assert window[40:60, 30:70].std() == pytest.approx(255 / 12**0.5, rel=0.05)


@pytest.mark.parametrize("left_top", [(60.0, 10.0), (-60.0, 10.0), (10.0, 30.0), (10.0, -60.0)])
def test_occlusion_that_would_leave_the_frame_is_skipped(left_top: tuple[float, float]) -> None:
    window = np.zeros((100, 120, 3), np.uint8)
    Occlusion(0.5, 0.5, 0.4, 0.4, np.random.default_rng(0)).paint(window, (*left_top, 100.0))
    assert not window.any()


def test_occlusion_is_seen_in_the_crop_and_the_window_stays_as_it_was(mini_pack: Pack) -> None:
    keys = [Key(0, int(mini_pack.indices("sp0", "train")[0]))]
    occluded = hands(mini_pack, OFF.model_copy(update={"occlusion_probability": 1.0}), seed=4).batch(keys)
    plain = hands(mini_pack, OFF).batch(keys)
    changed = (occluded.image != plain.image).any(-1).float().mean()
    assert 0.001 < changed < 0.3
    assert torch.equal(hands(mini_pack, OFF).batch(keys).image, plain.image)


def test_without_augmentation_training_crops_are_evaluation_crops(mini_pack: Pack) -> None:
    keys = [Key(0, int(row)) for row in mini_pack.indices("sp0", "test")[:4]]
    off, none = hands(mini_pack, OFF).batch(keys), hands(mini_pack).batch(keys)
    assert torch.equal(off.image, none.image)
    assert torch.equal(off.targets.joints_uvd, none.targets.joints_uvd)


@pytest.fixture
def moved(mini_pack: Pack, monkeypatch: pytest.MonkeyPatch) -> Callable[[AugmentConfig | None, float], Targets]:
    """The targets of one sample whose hand is moved sideways in space, past the frame's edge if far enough."""

    def targets(augment: AugmentConfig | None, shift_m: float) -> Targets:
        def read(pack: Pack, rows: np.ndarray) -> AnnotatedHands:
            shift = torch.tensor([shift_m, 0.0, 0.0], dtype=torch.float64)
            annotated = read_hands(pack, rows)
            return replace(annotated, joints=annotated.joints + shift, verts=annotated.verts + shift)

        monkeypatch.setattr("hmr_core.data.image_dataset.read_hands", read)
        return hands(mini_pack, augment).batch([Key(0, 0)]).targets

    return targets


def test_a_hand_out_of_the_frame_counts_for_nothing_in_training_and_fully_elsewhere(
    moved: Callable[[AugmentConfig | None, float], Targets],
) -> None:
    assert moved(OFF, 0.0).joints_vis.sum() == 21
    assert moved(OFF, 5.0).joints_vis.sum() == 0
    # The frame does not concern vertices: they count as long as they are in the crop, which follows the hand.
    assert moved(OFF, 5.0).verts_vis.mean() > 0.9
    assert moved(None, 5.0).joints_vis.sum() == 21


def test_points_outside_the_crop_are_invisible_in_training(mini_pack: Pack) -> None:
    rows = mini_pack.indices("sp0", "train")
    tight = hands(mini_pack, OFF, data=DataConfig(bbox_expand=0.9))
    targets = tight.batch([Key(0, int(row)) for row in rows]).targets
    inside = ((targets.joints_uvd[..., :2] >= 0) & (targets.joints_uvd[..., :2] < 1)).all(-1)
    enough = inside.float().mean(1, keepdim=True) >= 0.3
    assert torch.equal(targets.joints_vis.bool(), inside & enough)
    assert 0 < targets.joints_vis.mean() < 1
    small = hands(mini_pack, OFF, data=DataConfig(bbox_expand=0.2)).batch([Key(0, int(row)) for row in rows]).targets
    few = ((small.joints_uvd[..., :2] >= 0) & (small.joints_uvd[..., :2] < 1)).all(-1).float().mean(1) < 0.3
    assert few.any()
    assert small.joints_vis[few].sum() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(mini_pack: Pack, workers: int) -> None:
    data = hands(mini_pack, AugmentConfig(), seed=7)
    batches = split_batches(epoch_order(mini_pack.indices("sp0", "train"), 7, 1)[:56], 8, epoch=1)
    cpu = torch.device("cpu")
    here = list(Loader(data, workers=0, device=cpu).load(batches))
    there = list(Loader(data, workers=workers, device=cpu).load(batches))
    assert len(here) == len(there) == 7
    for a, b in zip(here, there, strict=True):
        assert a.ids == b.ids
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.targets.joints_uvd, b.targets.joints_uvd)


def test_each_epoch_has_its_own_order_of_the_same_rows() -> None:
    rows = np.arange(50, 80)
    first, second = epoch_order(rows, 0, 1), epoch_order(rows, 0, 2)
    assert sorted(first) == sorted(second) == rows.tolist()
    assert (first != second).any()
    np.testing.assert_array_equal(first, epoch_order(rows, 0, 1))


def test_images_become_rgb_from_minus_half_to_half(mini_pack: Pack) -> None:
    made = hands(mini_pack).batch([Key(0, 0)])
    assert made.image.dtype == torch.uint8
    image = made.inputs().image
    assert image is not None
    torch.testing.assert_close(image[0, :, 3, 5], made.image[0, 3, 5].float() / 255 - 0.5)
    assert image.is_contiguous(memory_format=torch.channels_last), "as the pixels came"


def test_augmentation_beyond_the_stored_windows_is_an_error_that_names_the_margin(mini_pack: Pack) -> None:
    with pytest.raises(HmrError, match=r"stores windows of 2\.705 times.*reach to 3\.182 times.*--margin 3\.182"):
        hands(mini_pack, AugmentConfig(), data=DataConfig(bbox_expand=2.0))
    # 3.11127 times: the margin that is told must be enough.
    with pytest.raises(HmrError, match=r"reach to 3\.111 times .*augment\.scale 0\.1, .*--margin 3\.112"):
        hands(mini_pack, AugmentConfig(scale=0.1), data=DataConfig(bbox_expand=2.0))


def test_a_batch_moves_and_is_pinned_as_a_whole(mini_pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    made = hands(mini_pack).batch([Key(0, 0)])
    moved = made.to("meta")
    assert {t.device.type for t in moved.tensors()} == {"meta"}
    pinned: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    made.pin_memory()
    assert {id(t) for t in pinned} == {id(t) for t in made.tensors()}


def test_copies_that_could_not_be_relied_on_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    prediction = Prediction(joints_uvd=torch.zeros(1, 21, 3), betas=torch.zeros(1, 10))
    monkeypatch.setattr(Tensor, "to", lambda tensor, device, *, non_blocking: asked.append(non_blocking) or tensor)
    prediction.to("cpu")
    assert asked == [False] * 2
    prediction.to(torch.device("cuda", 1))
    assert asked[2:] == [True] * 2
    prediction.to("mps")  # which may read memory that is another's by then
    assert asked[4:] == [False] * 2


# As a data set of torch.


def test_it_is_a_map_of_a_subset_s_samples(mini_pack: Pack) -> None:
    data = ImageDataset(mini_pack.path, split="sp0", subset="test", image_size=64, root_joint=9)
    rows = mini_pack.indices("sp0", "test")
    assert len(data) == len(rows) == 24
    batch = data.batch([Key(0, int(row)) for row in rows])
    samples = list(data)  # ends at the last one
    assert [sample["id"] for sample in samples] == mini_pack.ids(rows)
    assert batch.image is not None
    assert torch.equal(torch.stack([sample["image"] for sample in samples]), batch.image)
    assert samples[0]["image"].shape == (64, 64, 3)
    for name, array in vars(batch.targets).items():
        assert torch.equal(torch.stack([sample[name] for sample in samples]), array), name
    assert samples[0].keys() == {"id", "image", *vars(batch.targets)}
    assert data[-1]["id"] == data[np.int64(23)]["id"] == samples[-1]["id"]
    for outside in (24, -25):
        with pytest.raises(IndexError):
            data[outside]


def test_without_a_split_it_is_the_whole_pack(mini_pack: Pack) -> None:
    data = ImageDataset(str(mini_pack.path), image_size=8)
    assert len(data) == len(mini_pack) == 96
    assert data[95]["id"] == mini_pack.ids([95])[0]
    with pytest.raises(UsageError, match=r'has no subset "tests" of sp0\. Did you mean "test"'):
        ImageDataset(mini_pack, split="sp0", subset="tests")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_data_loader_of_torch_stacks_its_samples(mini_pack: Pack, workers: int) -> None:
    data = ImageDataset(mini_pack, split="sp0", subset="test", image_size=32)
    loader = torch.utils.data.DataLoader(data, batch_size=10, num_workers=workers)
    batches = list(loader)
    assert [len(batch["id"]) for batch in batches] == [10, 10, 4]
    assert [name for batch in batches for name in batch["id"]] == mini_pack.ids(mini_pack.indices("sp0", "test"))
    assert batches[0]["image"].shape == (10, 32, 32, 3)
    assert batches[0]["image"].dtype == torch.uint8
    shapes = {"joints": (21, 3), "verts": (778, 3), "joints_uvd": (21, 3), "verts_uvd": (778, 3), "intrinsics": (3, 3)}
    for name, shape in shapes.items():
        assert batches[2][name].shape == (4, *shape), name
    part = torch.utils.data.Subset(data, [3, 1])
    assert next(iter(torch.utils.data.DataLoader(part, batch_size=2)))["id"] == [data[3]["id"], data[1]["id"]]


def test_its_augmentation_is_that_of_its_epoch(mini_pack: Pack) -> None:
    data = ImageDataset(mini_pack, split="sp0", subset="train", image_size=32, augment=AugmentConfig(), seed=4)
    first = data[5]
    data.epoch = 2
    assert not torch.equal(data[5]["joints_uvd"], first["joints_uvd"])
    row = int(mini_pack.indices("sp0", "train")[5])
    assert torch.equal(data[5]["joints_uvd"], data.batch([Key(2, row)]).targets.joints_uvd[0])
    data.epoch = 0
    assert torch.equal(data[5]["image"], first["image"])


@pytest.mark.parametrize(
    ("name", "value"), [("image_size", 0), ("image_size", -5), ("root_joint", -1), ("root_joint", 21)]
)
def test_sizes_and_joints_that_cannot_be_are_told(name: str, value: int, mini_pack: Pack) -> None:
    with pytest.raises(UsageError, match=f"an? {name} of {value}; valid: "):
        ImageDataset(mini_pack, **{name: value})
