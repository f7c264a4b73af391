"""A data set that is not like OakInk is packed, verified, examined, trained on and evaluated."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmr_core import builtin
from hmr_core.cli.main import cli, main
from hmr_core.config import Section
from hmr_core.data.batch import Key
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.entry import check_pack
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.verify import verify_pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.data.sides import mirror_left
from hmr_core.data.targets import read_hands
from hmr_core.doctor import pack as doctor
from hmr_core.errors import HmrError, UsageError
from hmr_core.evaluation.baseline import mean_pose_uvd
from hmr_core.evaluation.predictions import read_predictions
from hmr_core.evaluation.session import evaluate
from hmr_core.hand.joints import SIDES
from hmr_core.inference.predictor import box_around
from hmr_core.metrics import known_mean, sample_errors
from hmr_core.plugins import ModelSpec, PredictorSpec
from hmr_core.plugins.photo_hands import Detection, FoundHand
from hmr_core.plugins.recipes import AugmentConfig
from hmr_core.training.session import train

sys.path.append(str(Path(__file__).parent))  # packing workers import it, too
snapshots = import_module("snapshots")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = snapshots.make_snapshots(tmp_path_factory.mktemp("snapshots") / "data")
    return made


@pytest.fixture(scope="module")
def pack(root: Path) -> Pack:
    write_pack(snapshots.Snapshots(root), root.parent / "pack.h5", codec=codec_named("png"))
    return Pack(root.parent / "pack.h5")


@pytest.fixture
def plugins(fakes: Any, small_spec: ModelSpec) -> Any:
    needy = replace(small_spec, name="needy", learns_from=("verts",))
    return fakes.registry(
        fakes.plugin("small", hmr_models=lambda: [small_spec, needy], hmr_datasets=lambda: [snapshots.SPEC])
    )


def test_the_pack_has_what_the_data_set_has(pack: Pack, root: Path) -> None:
    info = pack.info
    assert (info.dataset, info.release, info.samples) == ("snapshots", "synthetic snapshots", 48)
    assert info.arrays == ("joints", "joints_valid", "intrinsics", "side", "window_px", "frame_px")
    assert info.counts == {"studio": {"train": 12, "test": 6}, "wild": {"test": 6}, "pairs": {"right": 24, "left": 24}}
    assert info.aliases == {"indoor": "studio"}
    assert pack.frame_sizes() == {(256, 256): 24, (320, 240): 24}
    reader, rows = snapshots.Snapshots(root), np.arange(48)
    for row, sample_id in zip(rows.tolist(), pack.ids(rows), strict=True):
        sample = reader.read(sample_id)
        assert bool(pack.left([row])[0]) == (sample.side == "left")
        np.testing.assert_array_equal(pack.joints_valid([row])[0], sample.joints_valid)
        joints = pack.array("joints", [row])[0]
        np.testing.assert_array_equal(joints[sample.joints_valid], sample.joints[sample.joints_valid])
        assert not joints[~sample.joints_valid].any()
        window, frame = pack.window(row, verify=True), reader.read_image(sample)
        height, width = window.image.shape[:2]
        seen = frame[window.y_px : window.y_px + height, window.x_px : window.x_px + width]
        np.testing.assert_array_equal(window.image, seen)
    assert verify_pack(pack.path) == []
    with pytest.raises(UsageError, match=r'has no split "sp0"\. It has: studio \(indoor\), wild, pairs\..*snaps'):
        pack.indices("sp0", "test")
    with pytest.raises(UsageError, match=r'has no subset "train" of wild\. It has: test\.'):
        pack.indices("wild", "train")
    assert check_pack(pack, "indoor", "train") == []


def test_a_recipe_of_train_and_val_on_data_without_val_is_told_to_take_train(plugins: Any, pack: Pack) -> None:
    with pytest.raises(UsageError) as raised:
        train("small", split="studio", data=pack.path, set={"train.subset": "train+val"}, registry=plugins)
    assert str(raised.value) == (
        f'{pack.path} has no subset "train+val" of studio, which is what the recipe trains on. '
        "To train on train, use subset=train."
    )


def test_it_is_the_same_for_any_number_of_workers_and_after_a_stop(pack: Pack, root: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 10:
            raise KeyboardInterrupt

    reader, out = snapshots.Snapshots(root), tmp_path / "x.h5"
    with pytest.raises(KeyboardInterrupt):
        write_pack(reader, out, codec=codec_named("png"), on_progress=stop)
    write_pack(reader, out, codec=codec_named("png"), workers=2)
    assert out.read_bytes() == pack.path.read_bytes()


def test_the_doctor_says_what_it_has_and_nothing_is_wrong(pack: Pack) -> None:
    found = [
        *doctor.contents(pack, snapshots.SPEC),
        *doctor.split_lists(pack),
        *doctor.measured(pack, np.random.default_rng(0)),
    ]
    assert {finding.level for finding in found} <= {"ok", "note"}
    texts = [finding.text for finding in found]
    expected = (
        "annotations: no verts, rotations, betas; 95.2 % of the joints are known; 24 left hands; frames of 2 sizes"
    )
    assert expected in texts
    assert any(text.startswith("studio: train 12, test 6") for text in texts)


def test_commands_know_its_names(
    plugins: Any, pack: Pack, root: Path, tmp_path: Path, monkeypatch: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    make_context = cli.make_context
    monkeypatch.setattr(cli, "make_context", lambda *args, **options: make_context(*args, obj=plugins, **options))
    out = tmp_path / "wild.h5"
    assert main(["pack", "snapshots", "--root", str(root), "--split", "wild", "--out", str(out)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("next: hmr eval MODEL --ckpt RUN --split wild --data ")
    assert main(["pack", "info", str(pack.path)]) == 0
    shown = capsys.readouterr().out
    assert "data set snapshots: synthetic snapshots" in shown
    assert "samples  48, 24 left hands" in shown
    assert [line.split() for line in shown.splitlines() if line.startswith(("studio", "wild", "pairs"))] == [
        ["studio", "12", "6", "-", "-"],
        ["wild", "-", "6", "-", "-"],
        ["pairs", "-", "-", "24", "24"],
    ]
    assert main(["pack", "snapshots", "--root", str(root), "--split", "sp0"]) == 2
    assert "the data set synthetic snapshots has no split" in capsys.readouterr().err


@pytest.mark.parametrize("augment", [None, AugmentConfig()])
def test_a_left_hand_is_seen_as_its_mirror_image(pack: Pack, augment: AugmentConfig | None) -> None:
    """Of the same hand and frame, mirrored, a model sees the same to the last bit."""
    data = ImageDataset(pack, image_size=64, root_joint=9, augment=augment)
    right, left = (data.batch([Key(0, int(row)) for row in pack.indices("pairs", side)]) for side in ("right", "left"))
    if augment is None:
        assert right.image is not None
        assert left.image is not None
        assert torch.equal(right.image, left.image)
        for name, array in vars(right.targets).items():
            torch.testing.assert_close(getattr(left.targets, name), array, atol=1e-5, rtol=1e-5, msg=name)
    known = torch.from_numpy(pack.joints_valid(pack.indices("pairs", "left")))
    assert not left.targets.joints_vis[~known].any()
    assert not left.targets.verts_vis.any()
    assert bool(torch.isfinite(left.targets.joints_uvd).all())
    assert not {"verts", "verts_uvd", "verts_vis", "rotations", "betas"} & data[0].keys()


def test_mirroring_left_hands_twice_gives_them_again(pack: Pack) -> None:
    rows = np.arange(48)
    arrays = {"joints": torch.from_numpy(pack.array("joints", rows)), "rotations": torch.ones(48, 16, 3)}
    arrays["intrinsics"] = torch.from_numpy(pack.array("intrinsics", rows))
    once = mirror_left(pack, rows, arrays)
    left = torch.from_numpy(pack.left(rows))
    for name, array in mirror_left(pack, rows, once).items():
        torch.testing.assert_close(array, arrays[name])
        assert torch.equal(once[name][~left], arrays[name][~left])
        assert not torch.equal(once[name][left], arrays[name][left])


def test_boxes_are_of_the_known_joints(pack: Pack) -> None:
    rows = pack.indices("studio", "train")
    hands = read_hands(pack, rows)
    known = hands.joints_valid
    assert not bool(known.all())
    wrist = hands.joints[:, :1].expand(-1, 21, -1)
    assert torch.equal(hands.joints[~known], wrist[~known])


def test_joints_that_are_not_known_count_for_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    joints, predicted = (torch.rand(5, 21, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    known = torch.ones(5, 21, dtype=torch.bool)
    known[2, [4, 8]] = False
    errors, whole = sample_errors(predicted, joints, known=known), sample_errors(predicted, joints)
    moved = torch.where(known[..., None], predicted, predicted + 7)
    again = sample_errors(moved, joints, known=known)
    for name in ("joints", "wrist_joints", "mcp_joints", "pa_joints", "pa_joints_rotation"):
        torch.testing.assert_close(getattr(errors, name), getattr(again, name), equal_nan=True)
        others = [0, 1, 3, 4]
        torch.testing.assert_close(getattr(errors, name)[others], getattr(whole, name)[others])
    torch.testing.assert_close(known_mean(errors.joints, 1)[2], whole.joints[2, known[2]].mean())


def test_it_is_trained_on_and_evaluated(pack: Pack, plugins: Any, tmp_path: Path) -> None:
    options: dict[str, Any] = {"recipe": "tiny", "data": pack.path, "device": "cpu", "registry": plugins}
    settings = {"train.epochs": 1, "train.batch_size": 4}
    run = train("small", split="indoor", set=settings, out=tmp_path / "run", progress=False, **options)
    assert run.split == "studio"
    report = evaluate(run.folder, split="wild", data=pack.path, device="cpu", out=tmp_path / "eval", registry=plugins)
    assert (report["split"], report["samples"]) == ("wild", 6)
    assert report["metrics"]["mpjpe_mm"] > 0
    assert report["metrics"]["mpvpe_mm"] is None
    assert all(np.isfinite(report["errors"]["mpjpe_mm"]))
    assert {path.name for path in (tmp_path / "eval").iterdir()} == {
        "report.json",
        "predictions.h5",
        "contact_sheet.png",
    }
    # Of mirrored hands the errors are those of the hands.
    reports = [
        evaluate(run.folder, split="pairs", subset=side, data=pack.path, device="cpu", registry=plugins)
        for side in ("right", "left")
    ]
    errors = [np.array(found["errors"]["mpjpe_mm"]) for found in reports]
    np.testing.assert_allclose(errors[0], errors[1], rtol=1e-4)
    json.dumps(report)


def test_a_solver_s_meshes_of_left_hands_are_left_hands(
    pack: Pack, fakes: Any, small_spec: ModelSpec, trainer: Any, tmp_path: Path
) -> None:
    core = fakes.FakeEntryPoint("core", lambda: builtin, fakes.FakeDist("hmr-core"))
    plugins = fakes.registry(core, fakes.plugin("small", hmr_models=lambda: [small_spec]))
    run = trainer(tmp_path / "run", "train.epochs=1")
    found = []
    for side in ("right", "left"):
        report = evaluate(
            run.folder, split="pairs", subset=side, data=pack.path, solver="lm", device="cpu", out=tmp_path / side,
            registry=plugins,
        )  # fmt: skip
        assert report["metrics"]["mpvpe_mm"] is None
        assert report["hand_model"]["mismatch_mm"] is None
        assert any("so the hand model was not compared with it" in note for note in report["notes"])
        found.append(read_predictions(tmp_path / side / "predictions.h5"))
    right, left = found
    assert right.verts is not None
    assert left.verts is not None
    np.testing.assert_allclose(left.joints * [-1, 1, 1], right.joints, atol=1e-5)
    np.testing.assert_allclose(left.verts * [-1, 1, 1], right.verts, atol=1e-3)


def test_a_model_that_needs_a_mesh_is_refused_before_it_begins(pack: Pack, plugins: Any, tmp_path: Path) -> None:
    with pytest.raises(HmrError, match=r"^training needy needs verts, which .* \(synthetic snapshots\) lacks; it has"):
        train("needy", split="studio", recipe="tiny", data=pack.path, out=tmp_path / "run", registry=plugins)
    assert not (tmp_path / "run").exists()


def test_the_mean_pose_is_of_the_joints_that_are_known(pack: Pack) -> None:
    data = ImageDataset(pack, split="studio", subset="train", image_size=32)
    samples = [data[i] for i in range(len(data))]
    uvd = np.stack([sample["joints_uvd"].numpy() for sample in samples])
    known = np.stack([sample["joints_vis"].numpy() for sample in samples]) > 0
    assert not known.all()
    expected = np.stack([uvd[known[:, joint], joint].mean(0) for joint in range(21)])
    mean = mean_pose_uvd(data, pack.indices("studio", "train"))
    np.testing.assert_allclose(mean.numpy(), expected, atol=1e-5)


class Partial:
    """A predictor that knows most joints of a pack, each hand 1.2 times as large; of the rest it knows nothing."""

    root_joint = 9

    def __init__(self, pack: Pack) -> None:
        rows = np.arange(len(pack))
        self.joints, self.known, self.left = pack.array("joints", rows), pack.joints_valid(rows), pack.left(rows)

    def detect(self, image: np.ndarray) -> list[Detection]:
        return []

    def predict(self, image: np.ndarray, intrinsics: np.ndarray, sought: Any) -> list[FoundHand | None]:
        (place,) = sought
        for joints, known, left in zip(self.joints, self.known, self.left, strict=True):
            projected = joints[known].astype(np.float64) @ intrinsics.T
            pixels = projected[:, :2] / projected[:, 2:]
            if np.allclose(box_around(pixels), place.box, atol=1e-2):
                assert place.side == SIDES[int(left)]
                filled = np.where(known[:, None], joints, np.array([0.3, 0.2, 0.9], np.float32))
                return [FoundHand(side=place.side, score=1.0, joints=np.float32(1.2) * filled)]
        return [None]


@pytest.mark.parametrize(("split", "subset"), [("studio", "test"), ("wild", "test"), ("pairs", "left")])
def test_a_predictor_is_scored_on_left_hands_and_known_joints(fakes: Any, pack: Pack, split: str, subset: str) -> None:
    rows = pack.indices(split, subset)
    assert not pack.joints_valid(rows).all() or split == "pairs"
    spec = PredictorSpec(
        name="partial", summary="knows", config=Section, build=lambda options, layer, device: Partial(pack)
    )
    core = fakes.FakeEntryPoint("core", lambda: builtin, fakes.FakeDist("hmr-core"))
    plugins = fakes.registry(core, fakes.plugin("partial", hmr_predictors=lambda: [spec]))
    report = evaluate("partial", split=split, subset=subset, data=pack.path, device="cpu", registry=plugins)
    assert report["found"]["hands"] == report["samples"] == len(rows)
    assert report["metrics"]["mpjpe_mm"] == pytest.approx(0, abs=1e-3)
    assert report["metrics"]["mpvpe_mm"] is None


@pytest.mark.parametrize(("split", "instead"), [("studio", "train"), ("wild", "test itself")])
def test_the_mean_hand_stands_for_those_that_are_not_found(fakes: Any, pack: Pack, split: str, instead: str) -> None:
    class Blind(Partial):
        def predict(self, image: np.ndarray, intrinsics: np.ndarray, sought: Any) -> list[FoundHand | None]:
            return [None]

    spec = PredictorSpec(
        name="blind", summary="sees nothing", config=Section, build=lambda options, layer, device: Blind(pack)
    )
    core = fakes.FakeEntryPoint("core", lambda: builtin, fakes.FakeDist("hmr-core"))
    plugins = fakes.registry(core, fakes.plugin("blind", hmr_predictors=lambda: [spec]))
    report = evaluate("blind", split=split, data=pack.path, device="cpu", registry=plugins)
    assert report["found"]["otherwise"] is not None
    assert report["found"]["otherwise"].startswith(f"the mean hand of {instead}")
    assert np.isfinite(report["metrics"]["mpjpe_mm"])
    assert (report["baseline"]["metrics"] is None) == (split == "wild")
