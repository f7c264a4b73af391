"""A data set that knows the mesh and the pose of some samples only, that has boxes, labels and frame numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmr_core.data.augment import identity
from hmr_core.data.batch import Key
from hmr_core.data.crops import warp
from hmr_core.data.hand_model_check import comparable, hand_model_mismatch_mm
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.encode import stored_annotations
from hmr_core.data.pack.entry import check_pack
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.verify import verify_pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.data.targets import read_hands
from hmr_core.doctor import hand as doctor
from hmr_core.errors import HmrError
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.source import packaged_hand
from hmr_core.nn.known import known_l1
from hmr_core.plugins import DatasetSpec, ModelSpec
from hmr_core.plugins.sample import LABELS, Sample
from hmr_core.training.session import train

sys.path.append(str(Path(__file__).parent))  # packing workers import it, too
snapshots = import_module("snapshots")


def box_of(sample: Sample) -> np.ndarray:
    """The joints' box as x, y, width, height."""
    assert sample.joints_valid is not None
    pixels = sample.joints[sample.joints_valid].astype(np.float64) @ sample.intrinsics.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    low, high = pixels.min(0), pixels.max(0)
    return np.float32([*low, *(high - low)])


class Partial(snapshots.Snapshots):  # type: ignore[misc]  # imported by its name
    """Of every third sample the mesh is known, of every other one the pose; the wild ones have a wrist and a box."""

    def read(self, sample_id: str) -> Sample:
        sample = super().read(sample_id)
        number = int(sample_id[:2])
        generator = np.random.default_rng(number)
        known = np.asarray(sample.joints_valid).copy()
        if number >= 18:
            known[1:] = False
        return replace(
            sample,
            joints_valid=known,
            verts=np.float32(generator.normal(sample.joints[0], 0.02, (778, 3))),
            verts_valid=number % 3 == 0,
            rotations=np.float32(generator.normal(size=(16, 3))),
            betas=np.full(10, np.nan, np.float32) if number % 2 else np.float32(generator.normal(size=10)),
            pose_valid=number % 2 == 0,
            box_px=box_of(sample),
            labels={"sequence": f"s{number // 6}", "subject": "", "image": f"{number:02d}"},
            frame_number=number % 6,
        )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = snapshots.make_snapshots(tmp_path_factory.mktemp("partial") / "data")
    return made


@pytest.fixture(scope="module")
def pack(root: Path) -> Pack:
    write_pack(Partial(root), root.parent / "pack.h5", codec=codec_named("png"))
    return Pack(root.parent / "pack.h5")


def test_the_pack_keeps_what_is_known_and_zeros_for_the_rest(pack: Pack, root: Path) -> None:
    assert verify_pack(pack.path) == []
    assert pack.info.labels == ("sequence", "subject", "image")
    rows = np.arange(len(pack))
    ids = pack.ids(rows)
    numbers = np.array([int(sample_id[:2]) for sample_id in ids])
    assert (pack.verts_valid(rows) == (numbers % 3 == 0)).all()
    assert (pack.pose_valid(rows) == (numbers % 2 == 0)).all()
    assert pack.labels("sequence", rows) == [f"s{number // 6}" for number in numbers]
    assert pack.labels("subject", rows) == [""] * len(rows)
    assert (pack.array("frame_number", rows) == numbers % 6).all()
    reader = Partial(root)
    for row, sample_id in enumerate(ids):
        sample = reader.read(sample_id)
        np.testing.assert_array_equal(pack.array("box_px", [row])[0], sample.box_px)
        for name, known in (("verts", sample.verts_valid), ("rotations", sample.pose_valid)):
            expected = getattr(sample, name) if known else np.zeros_like(getattr(sample, name))
            np.testing.assert_array_equal(pack.array(name, [row])[0], expected)
    with pytest.raises(HmrError, match="needs label_view, which"):
        pack.labels("view", rows)
    assert check_pack(pack, "wild", "test") == []


def test_a_pack_without_masks_knows_all_or_nothing(mini_pack: Pack, root: Path) -> None:
    rows = np.arange(3)
    assert mini_pack.verts_valid(rows).all()
    assert mini_pack.pose_valid(rows).all()
    write_pack(snapshots.Snapshots(root), root.parent / "joints.h5", splits=["wild"], codec=codec_named("png"))
    joints_alone = Pack(root.parent / "joints.h5")
    assert not joints_alone.verts_valid(rows).any()
    assert not joints_alone.pose_valid(rows).any()
    assert joints_alone.info.labels == ()


def batch_of(pack: Pack, ids: Sequence[str]) -> Any:
    row = {sample_id: row for row, sample_id in enumerate(pack.ids(range(len(pack))))}
    return ImageDataset(pack, image_size=64, verify=True).batch([Key(0, row[sample_id]) for sample_id in ids])


def test_what_is_not_known_counts_for_nothing(pack: Pack) -> None:
    targets = batch_of(pack, ["00-right", "01-left", "02-right"]).targets
    assert targets.verts_known.tolist() == [1, 0, 0]
    for points in (targets.joints_uvd, targets.verts_uvd, targets.joints, targets.verts):
        assert points.isfinite().all(), "a loss weighs what is not known by 0, and 0 times nan is nan"
    assert (targets.verts[..., 2] > 0).all(), "before the camera: I2L-MeshNet divides by it"
    assert targets.pose_known.tolist() == [1, 0, 1]
    assert targets.verts_vis.mean(1).tolist() == [1, 0, 0]
    assert targets.joints_known[0].sum() == 18
    assert torch.isfinite(targets.betas).all()


def from_whole_frame(pack: Pack, reader: Any, name: str) -> np.ndarray:
    """The crop of a sample as it is made without a pack's window."""
    sample, rows = reader.read(name), np.array([pack.ids(range(len(pack))).index(name)])
    frame, hands, crop = reader.read_image(sample), read_hands(pack, rows), np.empty((64, 64, 3), np.uint8)
    seen = np.ascontiguousarray(frame[:, ::-1]) if sample.side == "left" else frame
    affine = ImageDataset(pack, image_size=64).crops(hands.boxes(), hands.intrinsics, identity(1)).affine
    warp(seen, affine[0, :2].numpy(), np.ones(3), crop)
    return crop.astype(int)


def test_a_sample_with_a_box_alone_has_the_crop_of_the_box(pack: Pack, root: Path) -> None:
    """The box here is that of the joints, so that the crops are those of a data set that knows the joints."""
    write_pack(snapshots.Snapshots(root), root.parent / "known.h5", splits=["pairs"], codec=codec_named("png"))
    known = Pack(root.parent / "known.h5")
    for number in (19, 20, 22, 23):
        names = [f"{number}-right", f"{number}-left"]
        boxed, truth = batch_of(pack, names), batch_of(known, names)
        torch.testing.assert_close(boxed.intrinsics, truth.intrinsics, atol=2e-4, rtol=1e-5)
        for image, name in zip(boxed.image.numpy(), names, strict=True):
            assert np.abs(image.astype(int) - from_whole_frame(pack, Partial(root), name)).max() <= 1
        assert boxed.targets.joints_known.sum(1).tolist() == [1, 1]
        torch.testing.assert_close(boxed.targets.root, truth.targets.root)


def test_labels_frames_boxes_and_masks_are_checked(root: Path) -> None:
    sample = Partial(root).read("00-right")

    def refused(text: str, **changed: Any) -> None:
        wrong = copy(sample)
        vars(wrong).update(changed)  # as a plugin's reader may, whose types nobody checks
        with pytest.raises(HmrError, match=text):
            stored_annotations(wrong)

    refused(f"the label 'colour'; valid: texts by the names {', '.join(LABELS)}", labels={"colour": "red"})
    refused("the label subject 'Zoë'; valid: at most 64 printable ASCII characters", labels={"subject": "Zoë"})
    refused("the label subject", labels={"subject": "x" * 65})
    refused("the label subject 7", labels={"subject": 7})
    refused("labels that are None", labels=None)
    refused("the verts_valid 1; valid: True or False", verts_valid=1)
    refused("gave verts_valid and no verts", verts=None)
    refused("gave pose_valid and no betas", betas=None)
    refused(r"the box_px \[1.0, 2.0, 0.0, 4.0\]; valid: x, y, width, height above 0", box_px=np.float32([1, 2, 0, 4]))
    refused("gave frame_number that are no numbers to store", frame_number=1.5)
    hidden = np.asarray(sample.joints_valid) & (np.arange(21) != 9)
    refused(r"joint 9 \(middle.*\) is not known", joints_valid=hidden, box_px=None)
    refused(r"joint 0 \(wrist\) is not known", joints_valid=np.arange(21) > 0)
    assert "box_px" in stored_annotations(replace(sample, joints_valid=hidden))


def test_a_label_that_one_sample_lacks_is_refused(root: Path, tmp_path: Path) -> None:
    class Uneven(Partial):
        def read(self, sample_id: str) -> Sample:
            sample = super().read(sample_id)
            return replace(sample, labels={"sequence": "s"}) if sample_id.startswith("05") else sample

    with pytest.raises(HmrError, match=r"sample 05-.*: the reader gave no label_subject"):
        write_pack(Uneven(root), tmp_path / "x.h5", codec=codec_named("png"), workers=1)


@pytest.fixture
def needs(fakes: Any, small_spec: ModelSpec) -> Callable[..., Any]:
    def registry(*learns_from: str) -> Any:
        spec: ModelSpec = replace(small_spec, learns_from=learns_from)
        partial = DatasetSpec(name="snapshots", summary="made-up pictures", open=Partial)
        return fakes.registry(fakes.plugin("small", hmr_models=lambda: [spec], hmr_datasets=lambda: [partial]))

    return registry


def test_training_is_refused_where_no_sample_has_what_is_learnt(
    needs: Callable[..., Any], root: Path, tmp_path: Path
) -> None:
    class Nowhere(Partial):
        def read(self, sample_id: str) -> Sample:
            return replace(super().read(sample_id), verts_valid=False)

    write_pack(Nowhere(root), tmp_path / "x.h5", codec=codec_named("png"), workers=1)
    settings: Mapping[str, Any] = {"split": "studio", "data": tmp_path / "x.h5", "out": tmp_path / "run"}
    with pytest.raises(HmrError, match=r"needs verts, which no sample of studio train in .* has"):
        train("small", **settings, registry=needs("verts"))
    assert not (tmp_path / "run").exists()


def test_nothing_is_learnt_from_a_box(needs: Callable[..., Any], root: Path, tmp_path: Path) -> None:
    class Wild(Partial):
        def splits(self) -> Mapping[str, Sequence[str]]:
            return {"wild": ["train", "test"]}

        def split_ids(self, split: str, subset: str) -> list[str]:
            ids: list[str] = super().split_ids("wild", "test")
            return ids[:3] if subset == "train" else ids[3:]

    write_pack(Wild(root), tmp_path / "x.h5", codec=codec_named("png"), workers=1)
    with pytest.raises(HmrError, match=r"some samples of wild train in .* have a box and no joints"):
        train("small", split="wild", data=tmp_path / "x.h5", batch_size=2, out=tmp_path / "run", registry=needs())


def test_known_l1_is_the_mean_over_what_is_known() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(4, 21, 3, generator=generator), torch.randn(4, 21, 3, generator=generator)
    every = torch.ones(4, 21)
    assert torch.equal(known_l1(a, b, every), torch.nn.functional.l1_loss(a, b))
    assert torch.equal(known_l1(a, b, torch.ones(4)), torch.nn.functional.l1_loss(a, b))
    some = (torch.rand(4, 21, generator=generator) > 0.4).float()
    expected = (a - b).abs().numpy()[some.numpy().astype(bool)].mean()
    assert known_l1(a, b, some).item() == pytest.approx(expected, rel=1e-6)
    a.requires_grad_()
    known_l1(a, b, torch.tensor([1.0, 0, 0, 0])).backward()  # type: ignore[no-untyped-call]  # torch gives it no types
    assert a.grad is not None
    assert not a.grad[1:].any()
    assert a.grad[0].all()
    assert known_l1(a, b, torch.zeros(4)).item() == 0


def test_a_hand_model_is_compared_with_whole_annotations_alone(pack: Pack) -> None:
    rows = np.arange(len(pack))
    numbers = np.array([int(name[:2]) for name in pack.ids(rows)])
    whole = comparable(pack, rows)
    assert sorted(set(numbers[whole].tolist())) == [0, 6, 12]
    layer = HandLayer.load()
    assert hand_model_mismatch_mm(layer, pack, rows) == pytest.approx(hand_model_mismatch_mm(layer, pack, whole))
    others = rows[numbers % 6 == 1]
    with pytest.raises(HmrError, match=r"^of no sample in question .* has a mesh and rotations and betas"):
        hand_model_mismatch_mm(layer, pack, others)
    (finding,) = doctor.of_pack(packaged_hand(), pack, np.random.default_rng(0), given=False)
    assert finding.text.endswith(
        f"({len(whole)} samples); what poses hands (IKNet, solvers) refuses this pack without "
        "theirs, the rest does not need it"
    )
