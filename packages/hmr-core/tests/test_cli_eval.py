"""`hmr eval` as its user runs it, alone and after `hmr train`, with a small model and the made-up data set."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hmr_core.data.oakink import OakInkReader
from hmr_core.data.pack import writer
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.sample import Sample
from hmr_core.weights.checkpoints import load_checkpoint


def test_eval_takes_the_split_that_the_run_was_trained_on(hmr: Any, trained: Path) -> None:
    status, out, err = hmr("eval", "small", "--ckpt", f"{trained}:best", "--device", "cpu")
    assert status == 0, err
    assert out.splitlines()[0] == "small on sp0 test, 24 samples"
    assert f"checkpoint: {trained}/checkpoints/epoch-0001/model.safetensors, epoch 1" in out.splitlines()
    assert Path("eval/small-sp0-test/report.json").is_file()


def test_eval_needs_a_split_for_a_released_file(hmr: Any, trained: Path, small_spec: ModelSpec) -> None:
    torch.save(load_checkpoint(trained, small_spec).model.state_dict(), "Small.pth.tar")
    status, out, err = hmr("eval", "small", "--ckpt", "Small.pth.tar", "--device", "cpu")
    assert (status, out, err) == (
        2,
        "",
        "error: Small.pth.tar does not say which split it was trained on: it is a released file, or was made of one. "
        "Give --split (`hmr pack info` lists a pack's).\n",
    )
    assert hmr("eval", "small", "--ckpt", "Small.pth.tar", "--split", "sp0", "--device", "cpu")[0] == 0


def test_eval_as_json_prints_the_report_and_nothing_else(hmr: Any, trained: Path) -> None:
    status, out, err = hmr("eval", "small", "--ckpt", str(trained), "--device", "cpu", "--json")
    assert status == 0, err
    assert out == Path("eval/small-sp0-test/report.json").read_text()
    assert len(json.loads(out)["errors"]["mpjpe_mm"]) == 24


def test_data_that_would_mislead_are_not_used(
    hmr: Any, trained: Path, mini_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pack in millimetres, as another tool may have made it."""

    class Millimetres(OakInkReader):
        def read(self, sample_id: str) -> Sample:
            sample = super().read(sample_id)
            return replace(sample, joints=sample.joints * np.float32(1000), verts=sample.verts * np.float32(1000))

    assert hmr("eval", "small", "--ckpt", str(trained), "--split", "sp0", "--out", "out")[0] == 0
    monkeypatch.setattr(writer, "check_data_set", lambda *given: [])
    writer.write_pack(Millimetres(mini_tree), Path("mm.h5"), codec=codec_named("jpeg"), splits=["sp0"])
    monkeypatch.setenv("HMR_DATA", "mm.h5")
    for arguments in (
        ("train", "small", "--split", "sp0", "--recipe", "tiny", "--out", "run"),
        ("eval", "small", "--ckpt", str(trained), "--split", "sp0", "--out", "out2"),
        ("score", "out"),
    ):
        status, out, err = hmr(*arguments)
        assert (status, out) == (1, "")
        assert "error: mm.h5 is neither trained nor scored on, since every metric of it would be wrong: joints" in err
        assert "`hmr doctor --data mm.h5` says more." in err
    assert not Path("run").exists()
    assert not Path("out2").exists()


def test_evaluating_again_replaces_the_results(hmr: Any, trained: Path) -> None:
    arguments = ("eval", "small", "--ckpt", str(trained), "--split", "sp0", "--out", "out")
    assert hmr(*arguments)[0] == 0
    first = Path("out/report.json").stat().st_mtime_ns
    assert hmr(*arguments)[0] == 0
    assert Path("out/report.json").stat().st_mtime_ns > first
    assert [path.name for path in Path().glob(".out*")] == []
    status, _, err = hmr(*arguments, "--subset", "val")
    assert status == 1
    assert "out holds another evaluation (sp0 test; differing in: subset), which is left alone." in err
    assert json.loads(Path("out/report.json").read_text())["subset"] == "test"


def test_eval_leaves_other_people_s_folders_alone(hmr: Any, trained: Path) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.tex").write_text("all of it")
    status, _, err = hmr("eval", "small", "--ckpt", str(trained), "--split", "sp0", "--out", "mine")
    assert status == 1
    assert err.endswith(
        "error: mine holds something other than an evaluation, so it is left alone. Choose another --out.\n"
    )
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.tex"]


def test_eval_keeps_evaluations_that_lie_inside_an_older_one(hmr: Any, trained: Path) -> None:
    arguments = ("eval", "small", "--ckpt", str(trained), "--split", "sp0")
    assert hmr(*arguments, "--out", "eval")[0] == 0
    assert hmr(*arguments)[0] == 0  # in eval/small-sp0-test
    status, _, err = hmr(*arguments, "--out", "eval")
    assert status == 1
    assert "eval holds something other than an evaluation" in err
    assert Path("eval/small-sp0-test/report.json").is_file()


def test_a_failure_while_results_are_written_keeps_the_older_ones(
    hmr: Any, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("eval", "small", "--ckpt", str(trained), "--split", "sp0", "--out", "out")
    assert hmr(*arguments)[0] == 0
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}

    def full(*args: Any) -> None:
        raise HmrError("the picture could not be written")

    monkeypatch.setattr("hmr_core.pictures.write_png", full)
    status, _, err = hmr(*arguments)
    assert (status, err.splitlines()[-1]) == (1, "error: the picture could not be written")
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before
    assert list(Path().glob(".out*")) == []


def test_an_impossible_folder_is_known_before_anything_is_computed(
    hmr: Any, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmr_core.evaluation.session._loaded", lambda *given: pytest.fail("the model was loaded"))
    Path("file").write_text("")
    for out in ("file", "file/inside"):
        status, _, err = hmr("eval", "small", "--ckpt", str(trained), "--split", "sp0", "--out", out)
        assert status == 1
        assert "cannot be written" in err
        assert "Choose another." in err
    status, _, err = hmr("train", "small", "--split", "sp0", "--out", "file")
    assert (status, err) == (1, "error: file is a file, so it cannot be a run's folder. Choose another with --out.\n")


def test_ctrl_c_in_an_evaluation_writes_nothing(hmr: Any, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hmr_core.evaluation import evaluate as module

    def interrupted(*args: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "score", interrupted)
    status, _, err = hmr("eval", "small", "--ckpt", str(trained), "--split", "sp0", "--out", "out")
    assert status == 130
    assert err.endswith("interrupted\n")
    assert not Path("out").exists()
    assert list(Path().glob(".out*")) == []


def test_errors_say_that_the_environment_named_the_pack(
    hmr: Any, trained: Path, mini_pack_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = ("eval", "small", "--ckpt", str(trained), "--split", "sp0")
    monkeypatch.setenv("HMR_DATA", "old.h5")
    said = "(It is HMR_DATA that names old.h5; --data names another.)"
    for arguments in (evaluate, ("train", "small", "--split", "sp0", "--recipe", "tiny", "--device", "cpu")):
        status, _, err = hmr(*arguments)
        assert (status, err.splitlines()[-1].endswith(said)) == (1, True), err
        assert "there is no data file old.h5." in err
    assert "HMR_DATA" not in hmr(*evaluate, "--data", "old.h5")[2]
    assert "ok       HMR_DATA names the pack: old.h5" in hmr("doctor")[1]
    Path("old.h5").write_bytes(mini_pack_path.read_bytes()[:-1])
    status, _, err = hmr(*evaluate)
    assert (status, err.rstrip().endswith(said)) == (1, True), err  # whatever is wrong with it
    assert "HMR_DATA" not in hmr("score", "none")[2]  # what is not about the pack
    monkeypatch.setenv("HMR_DATA", "no")
    assert "HMR_DATA" not in hmr("score", "none")[2]
    monkeypatch.delenv("HMR_DATA")
    said = "(Neither --data nor HMR_DATA names a pack, so it is data/oakink.h5; --data names another.)"
    assert hmr("train", "small", "--split", "sp0", "--recipe", "tiny")[2].rstrip().endswith(said)


def test_eval_looks_where_the_run_s_pack_was(hmr: Any, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HMR_DATA", raising=False)
    evaluate = ("eval", "small", "--ckpt", str(trained), "--device", "cpu", "--out", "out", "--json")
    config = json.loads((trained / "config.json").read_text())
    own = config["data"][0]["path"]
    status, out, err = hmr(*evaluate)
    assert (status, json.loads(out)["pack"]["path"]) == (0, own), err
    monkeypatch.setenv("HMR_DATA", "other.h5")
    assert "there is no data file other.h5." in hmr(*evaluate)[2]
    monkeypatch.delenv("HMR_DATA")
    config["data"][0]["path"] = "/gone.h5"
    (trained / "config.json").write_text(json.dumps(config))
    status, _, err = hmr(*evaluate)
    assert (status, err.splitlines()[-1]) == (
        1,
        f"error: /gone.h5, the pack that {trained} was trained on, is not there any more, or is another one. Give "
        "--data.",
    )
    Path("data").mkdir()
    Path("data/oakink.h5").symlink_to(own)
    status, out, err = hmr(*evaluate)
    assert (status, json.loads(out)["pack"]["path"]) == (0, "data/oakink.h5"), err


def test_a_run_whose_newest_checkpoint_is_empty_goes_on_from_the_one_before(hmr: Any, trained: Path) -> None:
    (trained / "checkpoints/epoch-0002").mkdir()
    status, _, err = hmr("eval", "small", "--ckpt", str(trained))
    folder = trained / "checkpoints"
    assert (status, err) == (
        1,
        f"error: {folder}/epoch-0002 is the folder of a checkpoint, and its model.safetensors is not there. "
        f"Give --ckpt another of the run's: {folder}/epoch-0001.\n",
    )
    status, _, err = hmr("train", "small", "--resume", str(trained), "--device", "cpu")
    assert status == 0
    assert err.splitlines()[0].startswith(f"warning: {folder}/epoch-0002/model.safetensors has no model.json beside it")
    assert err.splitlines()[0].endswith("set aside as damaged-epoch-0002; the one before it is used.")


def test_hands_of_no_hands_size_are_told_of_in_training_and_evaluation(
    hmr: Any, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "3 of 57 annotated hands are of no hand's size"
    looked_at: list[str] = []

    def found(pack: Pack, split: str, subset: str) -> list[str]:
        looked_at.append(subset)
        return [text]

    for module in ("hmr_core.training.inputs", "hmr_core.evaluation.evaluate"):
        monkeypatch.setattr(f"{module}.check_pack", found)
    status, _, err = hmr("train", "small", "--split", "sp0", "--recipe", "tiny", "--epochs", "1", "--device", "cpu")
    assert (status, err.splitlines()[0]) == (0, f"warning: {text}")
    status, out, err = hmr("eval", "small", "--ckpt", str(trained), "--split", "sp0", "--device", "cpu", "--out", "e")
    assert status == 0, err
    assert f"note: {text}" in out
    assert text in json.loads(Path("e/report.json").read_text())["notes"]
    assert looked_at == ["train", "val", "test"]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_the_umask_gives_the_permissions_of_all_that_is_left(
    hmr: Any, mini_tree: Path, umask: int, tmp_path: Path
) -> None:
    before = os.umask(umask)
    try:
        assert hmr("pack", "oakink", "--root", str(mini_tree), "--out", "x.h5", "--codec", "jpeg:50")[0] == 0
        data = ("--split", "sp0", "--data", "x.h5", "--device", "cpu")
        assert hmr("train", "small", *data, "--recipe", "tiny", "--epochs", "1", "--out", "run")[0] == 0
        assert hmr("eval", "small", *data, "--ckpt", "run", "--out", "results")[0] == 0
    finally:
        os.umask(before)
    left = {str(path.relative_to(tmp_path)): path for path in tmp_path.rglob("*")}
    assert {"x.h5", "run/checkpoints/epoch-0001/model.safetensors", "results/predictions.h5"} <= set(left)
    for name, path in left.items():
        wanted = (0o777 if path.is_dir() else 0o666) & ~umask
        assert (name, oct(path.stat().st_mode & 0o777)) == (name, oct(wanted))


def test_more_workers_than_cores_are_told_in_a_line(hmr: Any, trained: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmr_core.cli.options.usable_cpus", lambda: 1)
    arguments = ("eval", "small", "--ckpt", str(trained), "--split", "sp0", "--device", "cpu", "--workers")
    note = (
        "note: --workers 2 is more than the 1 CPU core there are: more processes take more memory, and load no faster"
    )
    assert note in hmr(*arguments, "2")[2].splitlines()
    assert "more than" not in hmr(*arguments, "1")[2]
