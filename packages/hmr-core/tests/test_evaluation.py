"""An evaluation's report: figures, notes, baseline."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hmr_core.data.batch import Key
from hmr_core.data.oakink import open_oakink
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.evaluation.baseline import baseline_joints, mean_pose_uvd
from hmr_core.evaluation.report import NO_MESH
from hmr_core.evaluation.scoring import score
from hmr_core.geometry.camera import to_uvd
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.recipes import override
from hmr_core.plugins.run import Run
from hmr_core.weights import checkpoints

CPU = torch.device("cpu")


def test_a_report_has_what_its_readers_rely_on(evaluation: Any, run: Run, mini_pack: Pack) -> None:
    report = evaluation.report
    assert (report["model"], report["split"], report["subset"], report["samples"]) == ("small", "sp0", "test", 24)
    assert report["protocol"] == "published"
    assert list(report["metrics"]) == ["mpjpe_mm", "pck_auc_0_50mm", "mpvpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm"]
    assert report["metrics"]["mpvpe_mm"] is None
    assert report["missing"] == [NO_MESH]
    assert set(report["aligned"]) == {"wrist", "mcp", "pa_rotation_only"}
    assert report["published"]["mpjpe_mm"] == 1.0
    assert report["baseline"]["subset"] == "train"
    assert report["checkpoint"]["epoch"] == 3
    assert report["pack"]["blake2b"] == mini_pack.info.digest
    assert report["versions"]["torch"] == torch.__version__
    assert report["synthetic"] is False
    assert json.loads(json.dumps(report)) == report


def test_the_published_figures_stand_beside_the_test_subset_only(
    run: Run, small_spec: ModelSpec, evaluate_on: Any, mini_pack: Pack
) -> None:
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)
    options: dict[str, Any] = {"split": "sp0", "device": CPU, "batch_size": 8, "workers": 0}
    assert evaluate_on(small_spec, checkpoint, mini_pack, subset="val", **options).report["published"] == {}


def test_a_model_other_than_the_published_one_says_so_beside_the_published_figures(
    run: Run, small_spec: ModelSpec, evaluate_on: Any, mini_pack: Pack
) -> None:
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)
    other = override(small_spec, checkpoint.recipe, ["data.bbox_expand=1.2", "train.epochs=7"])
    options: dict[str, Any] = {"split": "sp0", "device": CPU, "batch_size": 24, "workers": 0}

    def notes(subset: str) -> list[str]:
        changed = replace(checkpoint, recipe=other)
        return list(evaluate_on(small_spec, changed, mini_pack, subset=subset, **options).report["notes"])

    assert notes("test") == [
        "the published metrics are of the recipe published, and this model has data.bbox_expand=1.2"
    ]
    assert notes("val") == []  # where no published figures are shown


def test_figures_of_another_split_than_the_trained_one_say_so(
    run: Run, small_spec: ModelSpec, evaluate_on: Any, mini_pack: Pack
) -> None:
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)

    def notes(split: str, subset: str) -> list[str]:
        options: dict[str, Any] = {"device": CPU, "batch_size": 24, "workers": 0}
        report = evaluate_on(small_spec, checkpoint, mini_pack, split=split, subset=subset, **options).report
        assert report["checkpoint"]["trained_on"] == {"split": "sp0", "subset": "train"}
        return list(report["notes"])

    assert notes("sp0", "test") == notes("sp0", "val") == []
    assert notes("sp1", "test") == [
        "the checkpoint was trained on sp0: samples of sp1 test may be among its training ones"
    ]
    assert (
        notes("sp0", "train+val")
        == notes("sp0", "all")
        == ["the checkpoint was trained on train: these metrics are of samples seen in training"]
    )


def test_the_baseline_is_the_mean_pose_of_the_training_subset(evaluation: Any, mini_pack: Pack) -> None:
    """By a loop over samples, from the definitions."""
    dataset, rows = evaluation.dataset, mini_pack.indices("sp0", "train")
    total = sum(dataset.batch([Key(0, int(row))]).targets.joints_uvd[0].double() for row in rows)
    mean = mean_pose_uvd(dataset, rows)
    torch.testing.assert_close(mean, total / len(rows), atol=1e-6, rtol=0)
    test = mini_pack.indices("sp0", "test")[:3]
    joints = torch.from_numpy(baseline_joints(dataset, test, mean))
    targets = dataset.batch([Key(0, int(row)) for row in test]).targets
    again = to_uvd(joints, targets.root, targets.intrinsics, dataset.image_size)
    torch.testing.assert_close(again, mean.float().expand(3, -1, -1), atol=1e-5, rtol=0)
    assert math.isfinite(evaluation.report["baseline"]["metrics"]["mpjpe_mm"])


def test_a_pack_without_the_training_subset_has_no_baseline_and_says_why(
    run: Run, small_spec: ModelSpec, evaluate_on: Any, mini_tree: Path, tmp_path: Path
) -> None:
    write_pack(open_oakink(mini_tree), tmp_path / "test.h5", splits=["sp0"], subset="test", codec=codec_named("jpeg"))
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)
    options: dict[str, Any] = {"split": "sp0", "subset": "test", "device": CPU, "batch_size": 24, "workers": 0}
    report = evaluate_on(small_spec, checkpoint, Pack(tmp_path / "test.h5"), **options).report
    assert report["baseline"]["metrics"] is None
    assert 'has no subset "train" of sp0' in report["baseline"]["reason"]


def test_the_report_s_baseline_has_not_seen_the_scored_samples(evaluation: Any, mini_pack: Pack) -> None:
    mean = mean_pose_uvd(evaluation.dataset, mini_pack.indices("sp0", "train"))
    joints = baseline_joints(evaluation.dataset, evaluation.rows, mean)
    assert evaluation.report["baseline"]["metrics"] == score(mini_pack, evaluation.rows, joints, None).metrics


def test_an_evaluation_tells_of_each_batch_of_synthetic_data_and_of_another_pack(
    run: Run, small_spec: ModelSpec, evaluate_on: Any, mini_pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = checkpoints.load_checkpoint(run.folder, small_spec)
    assert checkpoint.record is not None
    other = replace(checkpoint, record=replace(checkpoint.record, data=[{"blake2b": "of another pack"}]))
    monkeypatch.setattr(mini_pack, "info", replace(mini_pack.info, release="synthetic 1"))
    done: list[int] = []
    options: dict[str, Any] = {"split": "sp0", "subset": "test", "device": CPU, "batch_size": 9, "workers": 0}
    report = evaluate_on(small_spec, other, mini_pack, on_batch=done.append, **options).report
    assert done == [9, 9, 6]
    assert report["synthetic"] is True
    assert report["notes"] == [f"the checkpoint was trained on another pack than this one, {mini_pack.path}"]
