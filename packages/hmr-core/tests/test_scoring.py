"""Scoring predictions again, from their file."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hmr_core import metrics
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.evaluation.evaluate import write_evaluation
from hmr_core.evaluation.predictions import read_predictions
from hmr_core.evaluation.scoring import rescore, score


def test_scoring_the_file_again_gives_the_same_figures(evaluation: Any, tmp_path: Path, mini_pack: Pack) -> None:
    write_evaluation(tmp_path, evaluation)
    predictions = read_predictions(tmp_path / "predictions.h5")
    assert rescore(tmp_path, mini_pack, predictions).metrics == evaluation.report["metrics"]
    order = np.random.default_rng(0).permutation(24)  # the order of the file does not matter
    shuffled = replace(
        predictions, ids=[predictions.ids[i] for i in order], joints=np.ascontiguousarray(predictions.joints[order])
    )
    figures = rescore(tmp_path, mini_pack, shuffled).metrics
    assert figures["mpjpe_mm"] == pytest.approx(evaluation.report["metrics"]["mpjpe_mm"], rel=1e-12)
    with h5py.File(tmp_path / "predictions.h5") as file:
        assert file.attrs["units"] == "metres"
        assert file["joints"].shape == (24, 21, 3)
        for name in ("mpjpe_mm", "pa_mpjpe_mm"):
            assert file[name][:].mean() == pytest.approx(evaluation.report["metrics"][name])
            np.testing.assert_allclose(file[name], evaluation.report["errors"][name], atol=1e-4)
        assert evaluation.report["errors"]["id"] == predictions.ids
        assert (evaluation.report["errors"]["mpvpe_mm"], "mpvpe_mm" in file) == (None, False)
        assert "verts" not in file


def test_further_metrics_are_those_of_the_functions(mini_pack: Pack) -> None:
    rows, random = mini_pack.indices("sp0", "test"), np.random.default_rng(0)
    true, true_verts = mini_pack.array("joints", rows), mini_pack.array("verts", rows)
    joints = true + random.normal(scale=0.01, size=true.shape).astype(np.float32)
    verts = true_verts + random.normal(scale=0.004, size=true_verts.shape).astype(np.float32)
    more = score(mini_pack, rows, joints, verts, further=True).more
    errors = metrics.errors(joints, true)
    f, pa_f = (metrics.f_scores(verts, true_verts, aligned=aligned).mean(0) for aligned in (False, True))
    assert more["auc_0_50mm"] == pytest.approx(metrics.auc(errors.joints_mm))
    assert more["auc_20_50mm"] == pytest.approx(metrics.auc(errors.joints_mm, low_mm=20))
    assert more["pa_auc_0_50mm"] > more["auc_0_50mm"]
    assert (more["f_5mm"], more["f_15mm"]) == pytest.approx(tuple(f))
    assert (more["pa_f_5mm"], more["pa_f_15mm"]) == pytest.approx(tuple(pa_f))
    assert more["scale_mpjpe_mm"] == pytest.approx(metrics.scale_errors_mm(joints, true).mean())
    assert more["scale_root_mpjpe_mm"] == pytest.approx(metrics.scale_root_errors_mm(joints, true).mean())
    pixels = [
        (camera @ hand.T).T[:, :2] / hand[:, 2:]
        for points in (joints, true)
        for camera, hand in zip(mini_pack.array("intrinsics", rows).astype(float), points.astype(float), strict=True)
    ]
    pred_px, true_px = np.array(pixels[: len(rows)]), np.array(pixels[len(rows) :])
    box_px = np.ptp(true_px, axis=1).max(1)
    within = metrics.pck_px(pred_px, true_px, box_px).mean(0)
    assert [more[f"pck_box_{share}"] for share in (5, 10, 15)] == pytest.approx(list(within))
    assert 0.05 < within[0] < within[1] < within[2]
    without = score(mini_pack, rows, joints, None, further=True).more
    assert [name for name, value in without.items() if value is None] == ["f_5mm", "f_15mm", "pa_f_5mm", "pa_f_15mm"]
    assert score(mini_pack, rows, joints, verts).more == {}


def test_predictions_of_other_samples_are_refused(evaluation: Any, tmp_path: Path, mini_pack: Pack) -> None:
    predictions = replace(evaluation.predictions, mpjpe_mm=None, pa_mpjpe_mm=None)
    path = tmp_path / "predictions.h5"
    with pytest.raises(HmrError, match=r"does not cover sp0 test of .*: it lacks .* \(1 missing, 0 unknown\)"):
        rescore(path, mini_pack, replace(predictions, ids=predictions.ids[1:], joints=predictions.joints[1:]))
    with pytest.raises(HmrError, match=r"it has nobody, which is not in it"):
        rescore(
            path,
            mini_pack,
            replace(predictions, ids=[*predictions.ids, "nobody"], joints=np.tile(predictions.joints[:1], (25, 1, 1))),
        )
    with pytest.raises(HmrError, match=r"has 1 samples twice; each of sp0 test must be there once"):
        rescore(path, mini_pack, replace(predictions, ids=[*predictions.ids[:-1], predictions.ids[0]]))


def test_a_file_that_holds_no_predictions_is_refused(tmp_path: Path, mini_pack: Pack) -> None:
    with pytest.raises(HmrError, match=r"no such file of predictions"):
        read_predictions(tmp_path / "predictions.h5")
    with pytest.raises(HmrError, match=r"is not a file of predictions of format 'hmr-predictions/1'"):
        read_predictions(mini_pack.path)
    cut = tmp_path / "cut.h5"
    cut.write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(HmrError, match=r"cannot be read as predictions"):
        read_predictions(cut)


def test_points_that_cannot_be_aligned_name_the_sample(evaluation: Any, tmp_path: Path, mini_pack: Pack) -> None:
    joints = evaluation.predictions.joints.copy()
    joints[7] = 0.25
    name = evaluation.predictions.ids[7]
    with pytest.raises(
        HmrError, match=rf"PA error of sample {name}: the points of the prediction are all in one place"
    ):
        rescore(tmp_path, mini_pack, replace(evaluation.predictions, joints=joints))


def test_damaged_annotations_are_not_scored(evaluation: Any, mini_pack: Pack, tmp_path: Path) -> None:
    row = int(mini_pack.indices("sp0", "test")[5])
    shutil.copy(mini_pack.path, tmp_path / "bad.h5")
    with h5py.File(tmp_path / "bad.h5", "r+", locking=False) as file:
        file["samples/joints"][row, 3, 1] += 1e-4
    with pytest.raises(HmrError, match=rf"^the annotations of sample {mini_pack.ids([row])[0]} in .*bad\.h5"):
        rescore(tmp_path, Pack(tmp_path / "bad.h5"), evaluation.predictions)
