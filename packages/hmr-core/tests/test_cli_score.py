"""`hmr score` as its user runs it, after `hmr train` and `hmr eval`, with a small model and the made-up data set."""

from __future__ import annotations

import json
import platform
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hmr_core.evaluation.predictions import MEANINGS, SHAPES, read_predictions, write_predictions
from hmr_core.pictures import read_picture


def test_train_eval_and_score_leave_what_they_promise(hmr: Any, trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {"config.json", "metrics.jsonl", "train.log", "checkpoints"}
    log = (trained / "train.log").read_text()
    assert "small, sp0, recipe tiny: 57 samples to train on, 15 to validate on" in log
    assert "epoch 1/1: loss" in log
    assert "finished after epoch 1" in log

    status, out, err = hmr("eval", "small", "--ckpt", str(trained), "--split", "default", "--device", "cpu")
    assert status == 0, err
    folder = Path("eval/small-sp0-test")
    assert {path.name for path in folder.iterdir()} == {"report.json", "predictions.h5", "contact_sheet.png"}
    report = json.loads((folder / "report.json").read_text())
    assert report["split"] == "sp0"
    command = f"hmr eval small --ckpt {trained} --split default --device cpu"
    assert (report["started"]["command"], report["started"]["host"]) == (command, platform.node())
    assert out.splitlines()[0] == "small on sp0 test, 24 samples"
    rows = [line.split("  ")[0] for line in out.splitlines()]
    assert {"small (this)", "mean pose of train", "published, on OakInk-Image"} <= set(rows)
    mpjpe = report["intervals"]["mpjpe_mm"]
    assert mpjpe["low"] < report["metrics"]["mpjpe_mm"] < mpjpe["high"]
    assert (mpjpe["cluster"], mpjpe["clusters"]) == ("sequence", 5)
    assert set(report["intervals"]) == {name for name, value in report["metrics"].items() if value is not None}
    (interval,) = (line for line in out.splitlines() if "interval" in line)
    assert interval.startswith(f"  95 % interval, 5 sequences  {mpjpe['low']:.2f} to {mpjpe['high']:.2f}  ")
    assert "  -  " in interval  # of the mesh
    assert f"{report['metrics']['mpjpe_mm']:.2f}" in out
    assert "note: this model predicts joints only" in out
    picture = read_picture(folder / "contact_sheet.png")
    assert picture.shape[1] == 2304
    assert len({tuple(color) for color in picture[::7, ::7].reshape(-1, 3)}) > 500  # images, not a blank sheet

    status, out, _ = hmr("score", str(folder), "--json")
    assert status == 0
    assert json.loads(out)["metrics"] == report["metrics"]
    assert json.loads(out)["aligned"] == report["aligned"]
    assert json.loads(out)["errors"] == report["errors"]
    assert json.loads(out)["intervals"] == report["intervals"]


def test_scoring_says_what_the_figures_lack_and_which_pack_they_are_of(hmr: Any, trained: Path) -> None:
    assert hmr("eval", "small", "--ckpt", str(trained), "--split", "sp0", "--out", "out")[0] == 0
    status, out, _ = hmr("score", "out/predictions.h5")
    assert status == 0
    assert [line for line in out.splitlines() if line.startswith("note: ")] == [
        "note: this model predicts joints only and no solver was given, so there is no mesh metric: "
        "`hmr eval --solver lm` makes one"
    ]
    write_predictions(Path("out/predictions.h5"), replace(read_predictions(Path("out/predictions.h5")), pack="another"))
    status, out, _ = hmr("score", "out/predictions.h5")
    assert status == 0
    assert "note: the predictions were made on another pack than " in out


def test_scoring_says_what_goes_with_which_file(hmr: Any, trained: Path) -> None:
    assert hmr("eval", "small", "--ckpt", str(trained), "--split", "sp0", "--out", "out")[0] == 0
    assert hmr("score", "out", "--split", "sp0") == (
        2, "", "error: out/predictions.h5 says itself that it is of sp0. Leave --split out.\n",
    )  # fmt: skip
    Path("pred.json").write_text("[[], []]")
    status, _, err = hmr("score", "pred.json")
    assert status == 1
    assert err.startswith("error: pred.json is a .json file, as the authors of ")
    assert " is of oakink, whose authors take no such files. Name the pack that it is of with --data; " in err
    Path("empty").mkdir()
    status, _, err = hmr("score", "empty")
    assert (status, err.startswith("error: empty has no predictions: none of predictions.h5")) == (1, True)
    assert "or a folder that `hmr eval` left, or one that it wrote with --submission." in err


def test_a_file_of_one_s_own_is_written_and_scored_as_the_page_says(hmr: Any, mini_pack_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs/predictions.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (command,) = re.findall(r"^hmr (score .*)$", page, flags=re.MULTILINE)
    Path("data").mkdir()
    shutil.copy(mini_pack_path, "data/oakink.h5")
    exec(compile(program, "docs/predictions.md", "exec"), {})
    status, out, err = hmr(*command.split(), "--json")
    assert status == 0, err
    scored = json.loads(out)
    assert (scored["model"], scored["samples"]) == ("mine", 24)
    assert scored["metrics"]["mpjpe_mm"] == pytest.approx(10 * 3**0.5, rel=1e-4)
    assert scored["missing"] == ["the file has no verts, so there is no mesh metric"]
    assert scored["notes"] == ["mine.h5 has no digest, so that nobody can tell whether it is as it was written"]
    for name in (*SHAPES, *MEANINGS):
        assert f"`{name}`" in page
    for meaning in MEANINGS.values():
        assert f"`{meaning}`" in page
