"""A mistake that the arguments or the files alone show is told without importing torch, which takes seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

RUNS = """
    import contextlib, io, json, os, sys


    class NoTorch:
        def find_spec(self, name, path=None, target=None):
            if name == "torch":
                raise AssertionError("torch was imported")
            return None


    if sys.argv[1] == "without torch":
        sys.meta_path.insert(0, NoTorch())
    from hmr_core.cli.main import main

    answers = []
    for arguments in json.load(sys.stdin):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main(arguments)
        answers.append((status, out.getvalue(), err.getvalue()))
    print(json.dumps([answers, "torch" in sys.modules]))
"""
"""Runs command lines in a process of its own."""

TRAIN = ("train", "integral", "--split", "sp0")
PREDICT = ("predict", "integral", "--ckpt", "run")
EVAL = ("eval", "integral", "--split", "sp0", "--ckpt", "run")

MISTAKES: dict[str, tuple[tuple[str, ...], int, str]] = {
    "no command": (("trian",), 2, 'unknown command "trian". Did you mean "train"?'),
    "train: model": (("train", "integrel", "--split", "sp0"), 2, 'Did you mean "integral"?'),
    "train: no split": (("train", "integral"), 2, "has the splits sp0, sp1, sp2, sp0-ho. Choose one with --split"),
    "train: split": (("train", "integral", "--split", "sp7"), 2, 'has no split "sp7"'),
    "train: split in capitals": (
        ("train", "integral", "--split", "SP0"),
        2,
        'has no split "SP0". Did you mean "sp0"?',
    ),
    "train: subset": ((*TRAIN, "--subset", "test"), 2, "training takes train or train+val"),
    "train: recipe": ((*TRAIN, "--recipe", "tinny"), 2, 'Did you mean "tiny"?'),
    "train: option": (
        (*TRAIN, "--set", "train.epoch=3"),
        2,
        'Did you mean "train.epochs" or "train.freeze_epochs" or ',
    ),
    "train: option without --set": ((*TRAIN, "--lr", "1"), 2, 'Did you mean "train.learning_rate"?'),
    "train: value": ((*TRAIN, "--set", "train.epochs=ten"), 2, "train.epochs"),
    "train: processes": (
        (*TRAIN, "--batch-size", "4", "--gpus", "3", "--device", "cpu"),
        2,
        "a batch of 4 cannot be shared by 3 processes equally. Valid: 1, 2, 4.",
    ),
    "train: batch": ((*TRAIN, "--batch-size", "10000"), 1, "fewer than a batch of 10000. Use a smaller --batch-size"),
    "train: device": ((*TRAIN, "--device", "gpu"), 2, 'unknown device "gpu". Valid: cpu, cuda, cuda:N, mps.'),
    "train: data": ((*TRAIN, "--data", "no.h5"), 1, "no.h5"),
    "train: data is no pack": ((*TRAIN, "--data", "notes.txt"), 1, "notes.txt"),
    "train: split not packed": ((*TRAIN, "--data", "one.h5", "--subset", "train"), 2, "one.h5 has no split"),
    "train: out is a file": ((*TRAIN, "--out", "notes.txt"), 1, "notes.txt is a file"),
    "train: out is a run": ((*TRAIN, "--out", "run"), 1, "run is a run already"),
    "train: out is something else": ((*TRAIN, "--out", "folder"), 1, "folder exists, is not empty and is no run"),
    "train: hand model": (("train", "i2l", "--split", "sp0", "--hand-model", "no.npz"), 1, "no hand model at no.npz"),
    "train: hand model unused": ((*TRAIN, "--hand-model", "no.npz"), 2, "learns without a hand model"),
    "train: resume of nothing": (("train", "integral", "--resume", "no"), 1, "no is not a run"),
    "train: resume of another": (("train", "rle", "--resume", "run"), 2, 'a run of "integral"'),
    "train: resume with split": ((*TRAIN, "--resume", "run"), 2, "cannot be given with it: --split"),
    "train: resume of a finished run": (("train", "integral", "--resume", "run"), 0, "run is finished"),
    "runs: folder": (("runs", "notes.txt"), 1, "notes.txt is no folder of runs: it is a file"),
    "runs: one": (("runs", "run"), 0, "run"),
    "runs: all": (("runs", "."), 0, "run"),
    "eval: no ckpt": (("eval", "integral", "--split", "sp0"), 2, "needs its weights. Give --ckpt FILE"),
    "eval: ckpt": (("eval", "integral", "--split", "sp0", "--ckpt", "no"), 1, "no such checkpoint: no."),
    "eval: ckpt without one": (("eval", "integral", "--split", "sp0", "--ckpt", "folder"), 1, "has no checkpoint"),
    "eval: best of no run": (("eval", "integral", "--ckpt", "folder:best"), 1, "has no checkpoints of one"),
    "eval: best of a run": (("eval", "integral", "--ckpt", "run:best", "--data", "no.h5"), 1, "no.h5"),
    "eval: ckpt of another": (
        ("eval", "rle", "--split", "sp0", "--ckpt", "run"),
        1,
        'run is a checkpoint of the model "integral", not of "rle"',
    ),
    "eval: option": ((*EVAL, "--set", "data.nope=1"), 2, 'unknown option "data.nope"'),
    "eval: model": (("eval", "integrel", "--split", "sp0", "--ckpt", "run"), 2, 'Did you mean "integral"?'),
    "eval: split": (("eval", "integral", "--split", "sp7", "--ckpt", "run"), 2, 'has no split "sp7"'),
    "eval: subset": ((*EVAL, "--subset", "tests"), 2, 'has no subset "tests" of sp0'),
    "eval: device": ((*EVAL, "--device", "gpu"), 2, 'unknown device "gpu"'),
    "eval: data": ((*EVAL, "--data", "no.h5"), 1, "no.h5"),
    "eval: out": ((*EVAL, "--out", "folder"), 1, "holds something other than an evaluation"),
    "eval: solver": ((*EVAL, "--solver", "iknot"), 2, 'unknown solver "iknot"'),
    "eval: solver's ckpt": ((*EVAL, "--solver", "iknet", "--solver-ckpt", "no"), 1, "no such checkpoint: no."),
    "eval: hand model": ((*EVAL, "--hand-model", "no.npz"), 1, "no hand model at no.npz"),
    "score: file": (("score", "no.h5"), 1, "no.h5"),
    "score: folder": (("score", "folder"), 1, "folder has no predictions: none of predictions.h5, "),
    "score: no predictions": (("score", "notes.txt"), 1, "notes.txt"),
    "score: data": (("score", "predictions.h5", "--data", "no.h5"), 1, "no.h5"),
    "predict: model": (("predict", "integrel", "notes.txt", "--ckpt", "run"), 2, 'Did you mean "integral"?'),
    "predict: joints": (("predict", "iknet", "notes.txt", "--ckpt", "run"), 2, "is given joints, and a photo has none"),
    "predict: no photo": (("predict", "integral", "--ckpt", "run"), 2, "nothing to predict: give a FILE"),
    "predict: photo": ((*PREDICT, "no.png"), 1, "no such photo: no.png"),
    "predict: folder": ((*PREDICT, "folder"), 1, "the folder folder has no photos in it"),
    "predict: box": ((*PREDICT, "notes.txt", "--box", "1,2,3"), 2, '"1,2,3" is not x,y,width,height or whole'),
    "predict: sides": ((*PREDICT, "notes.txt", "--side", "left", "--side", "right"), 2, "2 sides for 1 boxes"),
    "predict: camera": ((*PREDICT, "notes.txt", "--intrinsics", "0,500,10,10"), 2, "are no camera's"),
    "predict: fov": ((*PREDICT, "notes.txt", "--fov", "190"), 2, "a field of view of 190 degrees"),
    "predict: both": ((*PREDICT, "notes.txt", "--depth", "1", "--hand-size", "190"), 2, "Give one of them"),
    "predict: ckpt": (("predict", "integral", "notes.txt", "--ckpt", "no"), 1, "no such checkpoint: no."),
    "predict: ckpt of another": (("predict", "rle", "notes.txt", "--ckpt", "run"), 1, 'not of "rle"'),
    "predict: solver": ((*PREDICT, "notes.txt", "--solver", "iknot"), 2, 'unknown solver "iknot"'),
    "predict: solver's ckpt": ((*PREDICT, "notes.txt", "--solver-ckpt", "run"), 2, "Leave --solver-ckpt out"),
    "predict: no solver's ckpt": (
        (*PREDICT, "notes.txt", "--solver", "iknet", "--solver-ckpt", "no"),
        1,
        "no such checkpoint: no.",
    ),
    "predict: no solver": (
        (*PREDICT, "notes.txt", "--solver", "none", "--solver-ckpt", "run"),
        2,
        "of no use without one. Leave --solver-ckpt out.",
    ),
    "predict: device": ((*PREDICT, "notes.txt", "--device", "gpu"), 2, 'unknown device "gpu"'),
    "predict: hand model": ((*PREDICT, "notes.txt", "--hand-model", "no.npz"), 1, "no hand model at no.npz"),
    "predict: out": ((*PREDICT, "notes.txt", "--out", "folder"), 1, "something other than predictions (thesis.tex)"),
    "ckpt show": (("ckpt", "show", "no"), 1, "no such checkpoint: no."),
    "ckpt convert": (("ckpt", "convert", "no", "--out", "new"), 1, "no such checkpoint: no."),
    "ckpt convert: out": (("ckpt", "convert", "notes.txt", "--out", "folder"), 1, "folder exists."),
    "mano import": (("mano", "import", "nothing.pkl", "--out", "hand.npz"), 1, "nothing.pkl"),
    "mano import: no MANO": (("mano", "import", "notes.txt", "--side", "right", "--out", "hand.npz"), 1, "notes.txt"),
    "mano import: out": (("mano", "import", "x.pkl", "--out", "hand.npy"), 2, "does not end in .npz"),
    "mano import: out exists": (("mano", "import", "x.pkl", "--out", "there.npz"), 1, "there.npz exists."),
    "pack: data set": (("pack", "oakimg", "--root", "x"), 2, 'Did you mean "oakink"?'),
    "pack: root": (("pack", "oakink", "--root", "no"), 1, "no"),
    "pack: root is no tree": (("pack", "oakink", "--root", "folder"), 1, "folder"),
    "pack: codec": (("pack", "oakink", "--root", "no", "--codec", "gif"), 2, "gif"),
    "pack: out": (("pack", "oakink", "--root", "tree", "--out", "one.h5"), 1, "one.h5 exists."),
    "pack verify": (("pack", "verify", "no.h5"), 1, "no.h5"),
    "pack info": (("pack", "info", "no.h5"), 1, "no.h5"),
    "pack info: no pack": (("pack", "info", "notes.txt"), 1, "notes.txt"),
    "synth: there": (("synth", "made"), 1, "made/OakInk exists already"),
    "synth: sequences": (("synth", "new", "--sequences", "2"), 2, "sequences 2: it must be 5 to"),
    "models": (("models", "integrel"), 2, 'Did you mean "integral"?'),
    "solvers": (("solvers", "iknot"), 2, "iknot"),
}


@pytest.fixture(scope="module")
def answers(mini_pack_path: Path, mini_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    """Runs command lines in a folder that has something of everything."""
    folder = tmp_path_factory.mktemp("quick")
    (folder / "notes.txt").write_text("all of it\n")
    (folder / "folder").mkdir()
    (folder / "folder/thesis.tex").write_text("")
    (folder / "made/OakInk").mkdir(parents=True)
    (folder / "there.npz").write_text("")
    (folder / "tree").symlink_to(mini_tree)
    environment = {**os.environ, "HMR_DATA": str(mini_pack_path)}

    def run(how: str, *command_lines: tuple[str, ...]) -> Any:
        command = [sys.executable, "-c", textwrap.dedent(RUNS), how]
        done = subprocess.run(
            command, input=json.dumps(command_lines), capture_output=True, text=True, cwd=folder, env=environment,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    prepared, _ = run(
        "with torch",
        ("pack", "oakink", "--root", str(mini_tree), "--split", "sp1", "--codec", "jpeg:50", "--out", "one.h5"),
        (*TRAIN, "--recipe", "tiny", "--epochs", "1", "--batch-size", "30", "--device", "cpu", "--out", "run"),
        (*EVAL, "--device", "cpu", "--out", "results"),
    )
    assert [status for status, _, _ in prepared] == [0, 0, 0], prepared
    (folder / "results/predictions.h5").rename(folder / "predictions.h5")
    return run


def test_simple_mistakes_are_answered_without_torch(answers: Callable[..., Any]) -> None:
    found, imported = answers("without torch", *(arguments for arguments, _, _ in MISTAKES.values()))
    wrong = {
        name: answer
        for (name, (_, status, text)), answer in zip(MISTAKES.items(), found, strict=True)
        if answer[0] != status or text not in answer[1] + answer[2]
    }
    assert wrong == {}
    assert not imported


def test_what_finds_an_import_of_torch_can_find_one(answers: Callable[..., Any]) -> None:
    ((status, _, err),), _ = answers("without torch", ("ckpt", "show", "run"))
    assert (status, "torch was imported" in err) == (1, True)
