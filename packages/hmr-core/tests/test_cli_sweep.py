"""`hmr sweep`, as it is typed: a whole sweep, one whose process is killed, what is printed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hmr_core.sweep.session import read_trials

SWEEP = """
model = "small"
split = "sp0"
recipe = "tiny"
method = "grid"
[set]
train.epochs = 1
[space]
broken_after = [-1, 2]
"""

KILLED = """
model = "integral"
split = "sp0"
recipe = "tiny"
trials = 2
[set]
train.epochs = 2
train.batch_size = 8
[space]
train.learning_rate = { low = 1e-4, high = 1e-2, log = true }
"""


def test_a_sweep_ends_with_its_table_and_what_to_run_next(hmr: Any) -> None:
    Path("mine.toml").write_text(SWEEP)
    status, out, err = hmr("sweep", "mine.toml", "--device", "cpu")
    assert status == 0, err
    table, (failed, best, again, following) = out.splitlines()[:3], out.splitlines()[3:]
    assert table[0].split() == [
        "trial", "state", "broken_after", "best", "mpjpe_mm", "epoch", "epochs", "folder",
    ]  # fmt: skip
    rows = read_trials(Path("mine.toml")).rows
    (good,) = [row for row in rows if row.state == "finished"]
    assert table[1].split() == [str(good.number), "finished", "-1", f"{good.best:.3f}", "1", "1", str(good.folder)]
    assert table[2].split()[1:] == ["failed", "2", "-", "-", "0", f"sweeps/mine/trial-{1 - good.number:04d}"]
    assert failed.startswith(f"trial {1 - good.number} failed: the loss is not finite at step 3")
    assert best == f"best: trial {good.number}, {good.folder}"
    assert again == (
        "the same anew: hmr train small --split sp0 --recipe tiny --set train.epochs=1 --set broken_after=-1"
    )
    assert following == f"next: hmr eval small --ckpt {good.folder}:best --split sp0"
    assert "epoch 1/1: loss" in err  # the runs' own lines
    assert hmr("sweep", "mine.toml", "--show")[1] == out
    for line in (again, following):
        status, _, err = hmr(*line.partition(": hmr ")[2].split(), "--device", "cpu")
        assert status == 0, err


def test_the_best_trial_of_a_mixture_is_scored_on_each_pack(hmr: Any, mini_pack_path: Path) -> None:
    packs = [f"{mini_pack_path}:sp0", f"{mini_pack_path}:sp1=0.25"]
    space = "broken_after = [-1, 2]"
    text = SWEEP.replace('split = "sp0"', f'data = ["{packs[0]}", "{packs[1]}"]').replace(space, "broken_after = [-1]")
    Path("mixed.toml").write_text(text)
    status, out, err = hmr("sweep", "mixed.toml", "--device", "cpu")
    assert status == 0, err
    again, *following = out.splitlines()[-3:]
    assert again == (
        f"the same anew: hmr train small --recipe tiny --set train.epochs=1 --set broken_after=-1 --data {packs[0]} "
        f"--data {packs[1]}"
    )
    scoring = "next: hmr eval small --ckpt sweeps/mixed/trial-0000:best --split"
    assert following == [f"{scoring} {split} --data {mini_pack_path}" for split in ("sp0", "sp1")]
    for line in (again, *following):
        status, _, err = hmr(*line.partition(": hmr ")[2].split(), "--device", "cpu")
        assert status == 0, err


def test_ctrl_c_says_how_to_go_on(hmr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    Path("a file.toml").write_text(SWEEP)
    monkeypatch.setattr("hmr_core.sweep.trial.start", interrupted)
    status, out, err = hmr("sweep", "a file.toml", "--out", "here")
    assert (status, out) == (130, "")
    assert err.splitlines()[-3:] == ["to go on with the sweep: hmr sweep 'a file.toml' --out here", "", "interrupted"]
    status, out, _ = hmr("sweep", "a file.toml", "--out", "here", "--show")
    assert "to go on with what was cut off: hmr sweep 'a file.toml' --out here" in out


def test_what_is_wrong_with_a_file_is_one_line(hmr: Any) -> None:
    Path("mine.toml").write_text(SWEEP.replace("broken_after", "broken"))
    status, _, err = hmr("sweep", "mine.toml")
    assert status == 2
    assert err.startswith('error: mine.toml: unknown option "broken". Did you mean "broken_after"? `hmr models small`')
    assert "--set" in err
    status, _, err = hmr("sweep", "mine.toml", "--show")
    assert (status, err) == (
        1,
        'error: there is no study "mine" in sweeps/mine/study.db yet: the sweep was not begun.\n',
    )


@pytest.mark.slow
def test_a_sweep_whose_process_was_killed_goes_on(
    start_hmr: Callable[..., subprocess.Popen[str]], hmr: Any, tmp_path: Path
) -> None:
    Path("sweep.toml").write_text(KILLED)
    first = tmp_path / "sweeps/sweep/trial-0000"

    def in_its_second_epoch() -> bool:
        return len(list(first.glob("checkpoints/epoch-*"))) > 0

    process = start_hmr("sweep", "sweep.toml", "--device", "cpu", "--workers", "0", until=in_its_second_epoch)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (row,) = read_trials(Path("sweep.toml")).rows
    assert row.state == "cut off"
    status, out, err = hmr("sweep", "sweep.toml", "--device", "cpu")
    assert status == 0, err
    assert "resumed after epoch 1" in (first / "train.log").read_text()
    assert [(row.state, row.epochs) for row in read_trials(Path("sweep.toml")).rows] == [("finished", 2)] * 2
    assert out.count("sweeps/sweep/trial-") == 4  # two rows, and the best one


def test_showing_trials_and_mistakes_need_no_torch(tmp_path: Path, mini_pack_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(KILLED.replace("learning_rate", "learning_rat"))
    code = (
        "import sys\nfrom hmr_core.cli.main import main\n"
        "statuses = [main(['--help']), main(['sweep', 'sweep.toml', '--show']), main(['sweep', 'sweep.toml'])]\n"
        "print(statuses, 'torch' in sys.modules, 'optuna' in sys.modules)"
    )
    environ = {**os.environ, "HMR_DATA": str(mini_pack_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path, env=environ
    )
    assert done.stdout.splitlines()[-1] == "[0, 1, 2] False True"


def test_help_imports_no_optuna() -> None:
    code = "import sys\nfrom hmr_core.cli.main import main\nmain(['--help'])\nprint('optuna' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
