"""An evaluation from what a notebook asks for to its report."""

from __future__ import annotations

import json
import shutil
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, UsageError
from hmr_core.evaluation.predictions import read_predictions
from hmr_core.evaluation.request import EvaluationRequest
from hmr_core.evaluation.results import RESULTS
from hmr_core.evaluation.session import evaluate
from hmr_core.evaluation.session import run as run_evaluation
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.registry import Registry
from hmr_core.plugins.run import Run
from hmr_core.weights.checkpoint_folders import saved_checkpoints
from hmr_core.weights.checkpoint_record import read_record, record_validation, write_record
from hmr_core.weights.checkpoints import load_checkpoint


@pytest.fixture
def registry(small_spec: ModelSpec, fakes: Any) -> Registry:
    found: Registry = fakes.registry(fakes.plugin("small", hmr_models=lambda: [small_spec]))
    return found


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


def test_a_run_and_a_pack_are_enough(run: Run, registry: Registry, mini_pack: Pack, mini_pack_path: Path) -> None:
    report = evaluate(str(run.folder), data=str(mini_pack_path), device="cpu", registry=registry)
    assert (report["model"], report["split"], report["subset"], report["samples"]) == ("small", "sp0", "test", 24)
    assert report["errors"]["id"] == mini_pack.ids(mini_pack.indices("sp0", "test"))
    assert np.mean(report["errors"]["mpjpe_mm"]) == pytest.approx(report["metrics"]["mpjpe_mm"], abs=1e-4)
    assert report["started"]["command"] == (
        f"hmr.evaluate({str(run.folder)!r}, subset='test', data={str(mini_pack_path)!r}, protocol='published', "
        "hand_layer='own', batch_size=64, device='cpu')"
    )
    assert list(Path().iterdir()) == []  # nothing is written that was not asked for


def test_results_are_written_where_asked(run: Run, registry: Registry, mini_pack_path: Path) -> None:
    report = evaluate(run.folder, data=mini_pack_path, split="sp1", subset="val", out="results", registry=registry)
    assert {path.name for path in Path("results").iterdir()} == set(RESULTS)
    assert json.loads(Path("results/report.json").read_text()) == report
    predictions = read_predictions(Path("results/predictions.h5"))
    assert (predictions.split, predictions.subset) == ("sp1", "val")
    assert predictions.mpjpe_mm is not None
    np.testing.assert_allclose(predictions.mpjpe_mm, report["errors"]["mpjpe_mm"], atol=1e-4)


def test_the_pack_is_the_environment_s_where_none_is_given(
    run: Run, registry: Registry, mini_pack_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HMR_DATA", str(mini_pack_path))
    assert evaluate(run.folder, registry=registry)["pack"]["path"] == str(mini_pack_path)


def test_what_the_model_is_given_can_be_changed(run: Run, registry: Registry, mini_pack_path: Path) -> None:
    report = evaluate(run.folder, data=mini_pack_path, set={"data.bbox_expand": 1.5}, registry=registry)
    assert report["recipe"]["data"]["bbox_expand"] == 1.5
    assert "data.bbox_expand is 1.5, and 1.7 in the checkpoint's recipe" in report["notes"]
    with pytest.raises(UsageError, match="an evaluation can change what the model is given alone"):
        evaluate(run.folder, data=mini_pack_path, set={"train.epochs": 3}, registry=registry)


def test_a_mistake_is_an_error_before_anything_is_computed(
    run: Run, registry: Registry, mini_pack_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "hmr_core.evaluation.evaluate.evaluate", lambda *args, **options: pytest.fail("it was computed")
    )
    for options, text in (
        ({"subset": "tests"}, 'has no subset "tests" of sp0'),
        ({"split": "sp7"}, 'has no split "sp7"'),
        ({"model": "smal"}, 'Did you mean "small"'),
        ({"solver": "flot"}, 'unknown solver "flot"'),
        ({"protocol": "best"}, "there are options of a solver, and no solver. Leave out protocol=best"),
        ({"device": "gpu"}, 'unknown device "gpu"'),
    ):
        with pytest.raises(UsageError, match=text):
            evaluate(run.folder, data=mini_pack_path, registry=registry, **options)
    with pytest.raises(HmrError, match=r"there is no data file no\.h5"):
        evaluate(run.folder, data="no.h5", registry=registry)
    with pytest.raises(HmrError, match=r"no such checkpoint: nowhere\. ckpt takes a run's folder"):
        evaluate("nowhere", data=mini_pack_path, registry=registry)


def test_a_released_file_that_nobody_knows_says_neither_its_model_nor_its_split(
    run: Run, small_spec: ModelSpec, registry: Registry, mini_pack_path: Path
) -> None:
    torch.save(load_checkpoint(run.folder, small_spec).model.state_dict(), "Small.pth.tar")
    with pytest.raises(HmrError, match=r"^Small\.pth\.tar does not say of which model it is, .* Give model\."):
        evaluate("Small.pth.tar", data=mini_pack_path, registry=registry)
    with pytest.raises(UsageError, match=r"^Small\.pth\.tar does not say which split it was trained on: it is"):
        evaluate("Small.pth.tar", model="small", data=mini_pack_path, registry=registry)
    report = evaluate("Small.pth.tar", model="small", split="sp0", data=mini_pack_path, registry=registry)
    assert report["samples"] == 24


@pytest.fixture
def two(run: Run) -> tuple[Path, Path]:
    """The run's best checkpoint on val and its last one, which is worse."""
    (last,) = saved_checkpoints(run.checkpoints)[-1:]
    best = run.checkpoints / "epoch-0001"
    shutil.rmtree(best, ignore_errors=True)
    shutil.copytree(last, best)
    for folder, epoch, mpjpe_mm in ((best, 1, 9.5), (last, 3, 10.25)):
        write_record(folder, replace(read_record(folder / "model.safetensors"), epoch=epoch))
        record_validation(folder, {"mpjpe_mm": mpjpe_mm})
    return best, last


def test_a_better_checkpoint_on_val_is_named(
    run: Run, two: tuple[Path, Path], registry: Registry, mini_pack_path: Path
) -> None:
    best, last = two
    told = (
        f"epoch 1 of this run was better on val, with an MPJPE of 9.50 mm and not 10.25 mm; its checkpoint is "
        f"{run.folder}:best"
    )
    for ckpt, weights, notes in (
        (run.folder, last, [told]),
        (f"{run.folder}:last", last, [told]),
        (f"{run.folder}:best", best, []),
    ):
        report = evaluate(ckpt, data=mini_pack_path, registry=registry)
        assert report["checkpoint"]["path"] == str(weights / "model.safetensors")
        assert report["checkpoint"]["epoch"] == (1 if weights == best else 3)
        assert report["notes"] == notes


def test_work_is_told_of_and_warnings_are_given(
    run: Run, registry: Registry, mini_pack_path: Path, mini_hand_path: Path
) -> None:
    shown: list[Any] = []

    @contextmanager
    def progress(what: str, total: int, unit: str) -> Any:
        shown.append((what, total, unit))
        yield shown.append

    warnings: list[HmrError] = []
    request = EvaluationRequest(
        ckpt=run.folder, data=mini_pack_path, hand_model=mini_hand_path, batch_size=16, parent=Path("eval")
    )
    evaluation = run_evaluation(request, registry, progress=progress, warn=warnings.append)
    assert shown == [("small on sp0 test", 24, "images"), 16, 8, ("scoring", 24, "samples"), 0, 24, 0]
    assert evaluation.folder == Path("eval/small-sp0-test")
    assert [str(warning) for warning in warnings] == [
        "the hand model was of no use: the model predicts joints only, and no solver was given. Leave hand_model out."
    ]
