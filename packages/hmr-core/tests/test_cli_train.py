"""`hmr train` as its user runs it, with a small model and the made-up data set, and mistakes of all three commands."""

from __future__ import annotations

import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hmr_core.data.pack.layout import read_layout
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.training.run_folder import locked
from hmr_core.weights.run_record import open_run


def test_a_finished_run_has_nothing_left_and_an_unfinished_one_goes_on(
    hmr: Any, trained: Path, more_epochs: Callable[[Path], None]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    status, out, err = hmr("train", "small", "--resume", str(trained))
    said = f"is finished: epoch 1 of 1 is done; to train longer: hmr train small --resume {trained} --epochs N"
    assert (status, err) == (0, f"note: {trained} {said}\n")
    (data,) = json.loads((trained / "config.json").read_text())["data"]
    assert out.splitlines() == [
        f"run: {trained}", f"next: hmr eval small --ckpt {trained} --split sp0 --data {data['path']}"
    ]  # fmt: skip
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before
    more_epochs(trained)
    status, out, err = hmr("train", "small", "--resume", str(trained), "--device", "cpu")
    assert status == 0, err
    assert "resumed after epoch 1" in err
    assert out.splitlines()[0] == "run: runs/small-sp0-tiny"


def test_resume_needs_the_run_alone_and_makes_it_longer(hmr: Any, trained: Path) -> None:
    status, out, err = hmr("train", "--resume", str(trained), "--epochs", "2", "--device", "cpu")
    assert status == 0, err
    assert "note: 2 epochs now, and 1 before" in err
    assert "resumed after epoch 1" in err
    assert out.splitlines()[0] == f"run: {trained}"
    status, _, err = hmr("train", "--resume", str(trained), "--epochs", "1")
    assert (status, err) == (
        2, f"error: {trained} has done 2 epochs already, so 1 leave nothing to do. Give more than 2.\n"
    )  # fmt: skip
    status, _, err = hmr("train", "--split", "sp0")
    assert (status, err.splitlines()[0]) == (2, "error: Missing argument 'MODEL'.")


def test_resume_or_start_starts_a_run_once(hmr: Any, trained: Path) -> None:
    command = ("train", "small", "--split", "sp0", "--recipe", "tiny", "--epochs", "1", "--resume-or-start")
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    status, out, err = hmr(*command)
    assert status == 0, err
    assert err.startswith(f"note: {trained} is finished: epoch 1 of 1 is done; ")
    assert out.splitlines()[0] == f"run: {trained}"
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("*")} == before
    status, _, err = hmr(*command, "--set", "train.seed=9")
    assert status == 1
    assert f"error: {trained} is another run than the one that is asked for: its recipe.train.seed is 3" in err
    status, _, err = hmr("train", "--resume", str(trained), "--resume-or-start")
    assert (status, "cannot be given with it: --resume-or-start." in err) == (2, True)


def test_resume_takes_nothing_else_that_the_run_decides(hmr: Any, trained: Path) -> None:
    status, _, err = hmr("train", "small", "--resume", str(trained), "--split", "sp1", "--set", "train.seed=3")
    assert status == 2
    assert "--resume takes these from the run, so they cannot be given with it: --split, --set." in err


def test_resume_on_another_pack_is_refused(
    hmr: Any, trained: Path, mini_tree: Path, more_epochs: Callable[[Path], None]
) -> None:
    more_epochs(trained)
    assert hmr("pack", "oakink", "--root", str(mini_tree), "--out", "other.h5", "--codec", "jpeg:50")[0] == 0
    status, _, err = hmr("train", "small", "--resume", str(trained), "--data", "other.h5")
    assert status == 1
    assert "other.h5 is not the pack that runs/small-sp0-tiny was trained on (its digest differs)" in err


def test_short_options_reach_the_recipe_and_the_last_lines_say_what_is_next(hmr: Any, mini_pack_path: Path) -> None:
    short = ("--epochs", "1", "--batch-size", "9", "--subset", "train+val")
    sets = ("--set", "train.epochs=5", "--set", "train.seed=8")  # the short ones win
    status, out, err = hmr("train", "small", "--split", "sp0", "--recipe", "tiny", "--device", "cpu", *short, *sets)
    assert status == 0, err
    recipe = json.loads(Path("runs/small-sp0-tiny/config.json").read_text())["recipe"]["train"]
    assert [recipe[key] for key in ("epochs", "batch_size", "subset", "seed")] == [1, 9, "train+val", 8]
    assert "note: trains on train+val, as published" in err
    assert "; val mpjpe_mm " in err
    assert out.splitlines() == [
        "run: runs/small-sp0-tiny",
        f"next: hmr eval small --ckpt runs/small-sp0-tiny --split sp0 --data {mini_pack_path}",
    ]


def test_a_run_finds_its_own_pack_from_anywhere_and_where_it_was_moved(
    hmr: Any, mini_pack_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more_epochs: Callable[[Path], None]
) -> None:
    shutil.copy(mini_pack_path, "mine.h5")
    monkeypatch.delenv("HMR_DATA")
    arguments = ("--split", "sp0", "--data", "mine.h5", "--epochs", "1", "--out", "run", "--device", "cpu")
    assert hmr("train", "small", *arguments)[0] == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    more_epochs(Path("../run"))
    status, _, err = hmr("train", "small", "--resume", "../run", "--device", "cpu")
    assert status == 0, err
    (tmp_path / "mine.h5").rename("moved.h5")
    more_epochs(Path("../run"))
    assert hmr("train", "small", "--resume", "../run", "--device", "cpu")[0] == 1
    status, _, err = hmr("train", "small", "--resume", "../run", "--device", "cpu", "--data", "moved.h5")
    assert status == 0, err


def test_a_run_that_is_being_trained_or_of_another_model_is_not_resumed(
    hmr: Any, trained: Path, more_epochs: Callable[[Path], None]
) -> None:
    more_epochs(trained)
    with locked(open_run(trained)):
        status, _, err = hmr("train", "small", "--resume", str(trained))
    assert (status, err.splitlines()[-1]) == (
        1,
        f"error: {trained} is being trained by another process. Wait for it, or stop it.",
    )
    status, _, err = hmr("train", "integral", "--resume", str(trained))
    assert status == 2
    assert f'is a run of "small", not of "integral": hmr train small --resume {trained}' in err


def test_a_second_run_of_a_name_says_where_it_is(hmr: Any, trained: Path) -> None:
    status, out, err = hmr("train", "small", "--split", "sp0", "--recipe", "tiny", "--epochs", "1", "--device", "cpu")
    assert (status, out.splitlines()[0]) == (0, f"run: {trained}-2"), err
    assert f"note: there is a run of that name already; this one is {trained}-2" in err


def test_the_folder_of_a_run_that_is_being_trained_is_refused_as_that(hmr: Any, trained: Path) -> None:
    with locked(open_run(trained)):
        status, _, err = hmr("train", "small", "--split", "sp0", "--recipe", "tiny", "--out", str(trained))
    assert (status, err) == (
        1,
        f"error: {trained} is being trained by another process. Wait for it, stop it, or choose another folder with "
        "--out.\n",
    )


def test_a_run_whose_pack_was_moved_asks_where_it_is(hmr: Any, mini_pack_path: Path) -> None:
    shutil.copy(mini_pack_path, "was.h5")
    train = ("train", "small", "--split", "sp0", "--recipe", "tiny", "--device", "cpu", "--out", "my run")
    assert hmr(*train, "--data", "was.h5")[0] == 0
    shutil.rmtree("my run/checkpoints/epoch-0003")
    Path("was.h5").rename("is.h5")
    status, _, err = hmr("train", "small", "--resume", "my run")
    was = Path("was.h5").resolve()
    assert (status, err) == (
        1,
        f"error: {was}, the pack that my run was trained with, is not there any more. Where it was moved, say where: "
        "hmr train small --resume 'my run' --data FILE\n",
    )
    status, _, err = hmr("train", "small", "--resume", "my run", "--data", "is.h5")
    assert status == 0, err


def test_tensorboard_is_refused_where_it_cannot_write(hmr: Any) -> None:
    pytest.importorskip("tensorboard")
    arguments = ("--split", "sp0", "--recipe", "tiny", "--device", "cpu", "--tensorboard", "--out", "r\udcfc")
    status, _, err = hmr("train", "small", *arguments)
    assert (status, "TensorBoard takes paths in UTF-8 alone" in err) == (1, True)
    assert list(Path().iterdir()) == []


def test_tensorboard_gets_the_losses_and_the_figures(hmr: Any) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    arguments = ("--split", "sp0", "--recipe", "tiny", "--device", "cpu", "--tensorboard")
    status, _, err = hmr("train", "small", *arguments)
    assert status == 0, err
    board = EventAccumulator("runs/small-sp0-tiny").Reload()
    measured = {"learning_rate", "gradient_norm", "samples_per_second", "data_wait"}
    assert {"loss/uvd", "loss/total", "val/mpjpe_mm", *measured} <= set(board.Tags()["scalars"])
    assert [event.step for event in board.Scalars("loss/total")] == [1, 7, 14, 20, 21]
    for name in ("val/mpjpe_mm", "epoch_loss/uvd", "epoch_loss/total"):
        assert [event.step for event in board.Scalars(name)] == [7, 14, 21]
    lines = [json.loads(line) for line in Path("runs/small-sp0-tiny/metrics.jsonl").read_text().splitlines()]
    written = [(line["kind"], line["step"]) for line in lines]
    assert written == [("step", 1), ("step", 7), ("epoch", 7), ("step", 14), ("epoch", 14), ("step", 20), ("step", 21),
                       ("epoch", 21)]  # fmt: skip
    means = [event.value for event in board.Scalars("epoch_loss/total")]
    assert means == pytest.approx([line["losses"]["total"] for line in lines if line["kind"] == "epoch"], rel=1e-5)


def test_tensorboard_shows_a_step_that_was_taken_twice_once(hmr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    arguments = ("--split", "sp0", "--recipe", "tiny", "--device", "cpu", "--tensorboard", "--out", "run")
    with monkeypatch.context() as patch:
        failing_step(patch, 3)
        assert hmr("train", "small", *arguments)[0] == 1
    assert hmr("train", "small", "--resume", "run", "--device", "cpu")[0] == 0
    board = EventAccumulator("run").Reload()
    assert [event.step for event in board.Scalars("loss/total")] == [1, 7, 14, 20, 21]


def failing_step(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let a training fail in one of its steps."""
    from hmr_core.training import loop as module

    def rate(config: Any, epoch: int, step: int, steps_per_epoch: int) -> float:
        if step == number:
            raise HmrError("the step failed")
        return 1e-3

    monkeypatch.setattr(module, "learning_rate", rate)


@pytest.mark.parametrize("out", [(), ("--out", "runs/small-sp0-tiny")])
def test_a_run_that_failed_in_its_first_step_does_not_refuse_the_next(
    hmr: Any, monkeypatch: pytest.MonkeyPatch, out: tuple[str, ...]
) -> None:
    arguments = ("train", "small", "--split", "sp0", "--recipe", "tiny", "--epochs", "1", "--device", "cpu", *out)
    with monkeypatch.context() as patch:
        failing_step(patch, 1)
        status, _, err = hmr(*arguments)
        assert (status, err.splitlines()[-1]) == (1, "error: the step failed")
    status, printed, err = hmr(*arguments)
    assert status == 0, err
    assert printed.splitlines()[0] == "run: runs/small-sp0-tiny"
    log = Path("runs/small-sp0-tiny/train.log").read_text()
    assert "stopped by an error after epoch 0" in log  # what is known of the failed one
    assert "finished after epoch 1" in log
    assert [path.name for path in Path("runs").iterdir()] == ["small-sp0-tiny"]


def test_a_resumed_run_says_where_its_pack_is_now(
    hmr: Any, trained: Path, mini_pack_path: Path, more_epochs: Callable[[Path], None]
) -> None:
    shutil.copy(mini_pack_path, "moved.h5")
    more_epochs(trained)
    status, out, err = hmr("train", "small", "--resume", str(trained), "--data", "moved.h5", "--device", "cpu")
    assert status == 0, err
    assert "data: moved.h5" in err.splitlines()
    assert out.splitlines()[-1].endswith("--data moved.h5")


def test_a_run_records_how_it_was_started(
    hmr: Any, monkeypatch: pytest.MonkeyPatch, more_epochs: Callable[[Path], None]
) -> None:
    for command in (("init", "-q"), ("add", "."), ("commit", "-q", "--allow-empty", "-m", "x")):
        identity = ("-c", "user.name=me", "-c", "user.email=me@example.com")
        subprocess.run(["git", *identity, *command], check=True, capture_output=True)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    arguments = ("--split", "sp0", "--recipe", "tiny", "--epochs", "1", "--device", "cpu", "--out", "räume/a run")
    status, _, err = hmr("train", "small", *arguments)
    assert status == 0, err
    command = "hmr train small --split sp0 --recipe tiny --epochs 1 --device cpu --out 'räume/a run'"
    config = json.loads(Path("räume/a run/config.json").read_text())
    started = config["started"]
    assert started["command"] == command
    assert (started["host"], started["folder"]) == (platform.node(), str(Path.cwd()))
    assert started["commits"]["folder"] == commit
    assert datetime.now().astimezone() - datetime.fromisoformat(started["date"]) < timedelta(minutes=10)
    assert f"command: {command}\n" in Path("räume/a run/train.log").read_text(encoding="utf-8")

    more_epochs(Path("räume/a run"))
    monkeypatch.setenv("PATH", "")  # without git
    assert hmr("train", "small", "--resume", "räume/a run", "--device", "cpu")[0] == 0
    assert json.loads(Path("räume/a run/config.json").read_text())["started"] == started
    log = Path("räume/a run/train.log").read_text(encoding="utf-8")
    assert "command: hmr train small --resume 'räume/a run' --device cpu\n" in log
    assert [line.count(commit) for line in log.splitlines() if "on " + platform.node() in line] == [1, 0]


def test_a_log_is_utf_8_whatever_the_locale(hmr: Any, mini_pack_path: Path) -> None:
    arguments = ("--split", "sp0", "--recipe", "tiny", "--epochs", "1", "--batch-size", "30", "--device", "cpu")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-m", "hmr_core", "train", "integral", *arguments, "--out", b"r\xc3\xa4ume-\xff"]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    (log,) = Path().glob("*/train.log")
    assert "--out 'räume-\\xff'\n" in log.read_text(encoding="utf-8")


def test_tensorboard_that_is_not_installed_is_an_error_before_the_run(
    hmr: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hmr_core.optional_packages.find_spec", lambda name: None)
    status, _, err = hmr("train", "small", "--split", "sp0", "--tensorboard")
    assert (status, err) == (1, 'error: TensorBoard is not installed. Run: pip install "hmr-core[tensorboard]"\n')
    assert list(Path().iterdir()) == []


BAD = {
    "no split": (("train", "small"), 2, "mini.h5 has the splits sp0, sp1, sp2, sp0-ho. Choose one with --split"),
    "unknown split": (("train", "small", "--split", "sp3"), 2, 'has no split "sp3". Did you mean "sp'),
    "unknown model": (("train", "smal", "--split", "sp0"), 2, 'Did you mean "small"?'),
    "not installed": (("train", "rle", "--split", "sp0"), 2, "pip install hmr-rle"),
    "misspelt set": (
        ("train", "small", "--split", "sp0", "--set", "train.epoch=3"),
        2,
        'unknown option "train.epoch". Did you mean "train.epochs" or "train.freeze_epochs" or '
        '"train.samples_per_epoch"? `hmr models small` lists what --set takes.',
    ),
    "an option of the recipe": (
        ("train", "small", "--split", "sp0", "--lr", "1"),
        2,
        'unknown option --lr. --set KEY=VALUE sets a value of the recipe. Did you mean "train.learning_rate"? `hmr '
        "models small` lists the keys.",
    ),
    "an option of the recipe by its name": (
        ("train", "small", "--image-size=32", "--split", "sp0"),
        2,
        'unknown option --image-size. --set KEY=VALUE sets a value of the recipe. Did you mean "image_size"?',
    ),
    "an option of nothing": (("train", "small", "--split", "sp0", "--qqq"), 2, "No such option"),
    "an option misspelt": (("train", "small", "--splitt", "sp0"), 2, "--split"),
    "an option of the recipe, without a model": (("train", "--lr", "1"), 2, "No such option"),
    "set of the wrong type": (
        ("train", "small", "--split", "sp0", "--set", "train.epochs=ten"),
        2,
        'train.epochs=ten: "ten" is not valid for train.epochs: Input should be a valid integer.',
    ),
    "test subset": (
        ("train", "small", "--split", "sp0", "--subset", "test"),
        2,
        'subset "test": training takes train or train+val, never another subset.',
    ),
    "too few samples": (
        ("train", "small", "--split", "sp0", "--batch-size", "100"),
        1,
        "sp0 train has 57 samples, fewer than a batch of 100. Use a smaller --batch-size.",
    ),
    "crops beyond the windows": (
        ("train", "small", "--split", "sp0", "--set", "data.bbox_expand=3"),
        1,
        "Pack again with `hmr pack oakink --root DIR --margin 4.773 --out FILE`, or lower them.",
    ),
    "no weights": (
        ("train", "integral", "--split", "sp0", "--set", "backbone.weights=no.pth", "--batch-size", "8"),
        1,
        "backbone.weights=no.pth: no such file.",
    ),
    "no data": (
        ("train", "small", "--split", "sp0", "--data", "no.h5"),
        1,
        "there is no data file no.h5. Make one: `hmr pack",
    ),
    "no checkpoint": (
        ("eval", "small", "--ckpt", "no", "--split", "sp0"),
        1,
        "no such checkpoint: no. --ckpt takes a run's folder",
    ),
    "unknown device": (
        ("train", "small", "--split", "sp0", "--device", "gpu"),
        2,
        'unknown device "gpu". Valid: cpu, cuda, cuda:N, mps.',
    ),
    "not a run": (("train", "small", "--resume", "."), 1, ". is not a run: config.json cannot be read (No such file"),
    "a folder for a pack": (
        ("train", "small", "--split", "sp0", "--data", "."),
        1,
        ". is a folder, not a pack. If it is a data set, pack it: `hmr pack NAME --root . --out FILE`",
    ),
    "no predictions": (("score", "no.h5"), 1, "no such file of predictions: no.h5."),
}


@pytest.mark.parametrize(("arguments", "status", "text"), BAD.values(), ids=BAD)
def test_bad_input_is_one_clear_error_and_leaves_nothing(
    hmr: Any, arguments: tuple[str, ...], status: int, text: str
) -> None:
    got, _, err = hmr(*arguments)
    assert got == status, err
    assert text in err
    assert "Traceback" not in err
    assert [path for path in Path().rglob("*") if path != Path("runs")] == []


def test_a_watcher_that_raises_is_told_of_once_and_training_goes_on(hmr: Any, fakes: Any) -> None:
    def broken(run: Any, event: Any) -> None:
        raise RuntimeError("disk of the dashboard is full")

    hmr.plugins.append(fakes.plugin("dashboard", hmr_on_event=broken))
    status, _, err = hmr("train", "small", "--split", "sp0", "--epochs", "1", "--device", "cpu")
    assert status == 0, err
    warning = 'warning: plugin "dashboard": hmr_on_event raised RuntimeError: disk of the dashboard is full'
    assert err.count(warning) == 1


def test_ctrl_c_in_training_says_how_to_go_on(tmp_path: Path, mini_pack_path: Path) -> None:
    """In a process of its own, as a user would: the run can be resumed afterwards."""
    environment = {**os.environ, "HMR_DATA": str(mini_pack_path)}
    command = [sys.executable, "-m", "hmr_core", "train", "integral", "--split", "sp0", "--recipe", "tiny"]
    process = subprocess.Popen(
        [*command, "--batch-size", "8", "--device", "cpu", "--out", str(tmp_path / "run")],
        env=environment, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # tests may run where Ctrl-C is ignored
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (tmp_path / "run/checkpoints/epoch-0001").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.rstrip().splitlines()[-1].endswith(f"hmr train integral --resume {tmp_path / 'run'} --device cpu")
    assert "Traceback" not in err


def test_a_model_of_images_takes_no_hand_model_in_training(hmr: Any) -> None:
    status, _, err = hmr("train", "small", "--split", "sp0", "--hand-model", "hand.npz")
    assert status == 2
    assert "small learns without a hand model. Leave out --hand-model." in err
    assert not Path("runs").exists()


def test_a_damaged_sample_is_named_in_training_that_verifies(hmr: Any, mini_pack_path: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copy(mini_pack_path, tmp_path / "damaged.h5"))
    row = int(Pack(damaged).indices("sp0", "train")[5])
    place = read_layout(damaged)[1]["samples/joints"]
    with damaged.open("r+b") as file:  # a joint moves by a millimetre or so: as good a number as another
        file.seek(place.offset + row * place.row_bytes + 1)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x80]))
    sample_id = Pack(damaged).ids([row])[0]
    arguments = ("train", "small", "--split", "sp0", "--recipe", "tiny", "--epochs", "1", "--device", "cpu")
    status, _, err = hmr(*arguments, "--data", str(damaged), "--out", "unnoticed")
    assert status == 0, err
    assert not open_run(Path("unnoticed")).verify
    status, _, err = hmr(*arguments, "--data", str(damaged), "--out", "run", "--verify")
    assert status == 1
    assert err.splitlines()[-1].startswith(f"error: the annotations of sample {sample_id} in {damaged} are damaged: ")

    status, _, err = hmr(*arguments, "--out", "whole", "--verify")
    assert status == 0, err
    assert open_run(Path("whole")).verify  # and so it is when it goes on
    status, _, err = hmr("train", "small", "--resume", "whole", "--verify")
    assert (status, err.splitlines()[0]) == (
        2,
        "error: --resume takes these from the run, so they cannot be given with it: --verify. "
        "To train on with other values, start a new run from its weights: --init whole.",
    )
