"""The whole way in a folder with a name as bad as names get: spaces, brackets, a quote, and not even UTF-8.

Each command that is printed is run as it stands, by a shell, under the C locale.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow

NAME = "my [red] d'\udcfcta :cat:"
"""Its ü is of Latin-1: one byte that is no UTF-8."""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("any")
    try:
        (folder / NAME).mkdir()
    except OSError:
        assert sys.platform == "darwin"  # whose file systems take UTF-8 alone
        (folder / NAME.replace("\udcfc", "ü")).mkdir()
    return folder


def shell(work: Path, command: str, *, status: int = 0) -> str:
    """What a command prints, on stdout and stderr."""
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("HMR_", "PYTHON"))},
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "LC_ALL": "C",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        ["bash", "-c", os.fsencode(command)], cwd=work, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    out = os.fsdecode(done.stdout)
    assert done.returncode == status, out
    return out


def next_step(out: str) -> str:
    found = re.search(r"^next: (.*?)(   \(hmr models lists them\))?$", out, re.MULTILINE)
    assert found is not None, out
    return found[1]


def test_the_whole_way(work: Path) -> None:
    (name,) = (path.name for path in work.iterdir())
    given = name.replace("'", "'\\''")
    out = shell(work, f"hmr synth '{given}/demo' --frames 1 --sequences 5 --workers 1")
    out = shell(work, next_step(out) + " --workers 1")
    pack = f"{name}/demo/oakink.h5"
    assert f"{pack}: " in out
    train = next_step(out).replace("MODEL", "integral")
    run = f"{name}/run [/red]"
    out = shell(work, f"{train} --recipe tiny --epochs 1 --batch-size 4 --device cpu --out '{given}/run [/red]'")
    assert f"run: {run}\n" in out
    assert "epoch 1/1" in (work / run / "train.log").read_text(encoding="utf-8")

    evaluate = next_step(out)
    out = shell(work, evaluate + f" --out '{given}/ev'")
    assert f"written: {name}/ev/" in out
    assert (work / name / "ev/contact_sheet.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((work / name / "ev/report.json").read_text(encoding="utf-8"))["metrics"]
    scored = shell(work, f"hmr score '{given}/ev' --data '{given}/demo/oakink.h5' --json 2>/dev/null")
    assert json.loads(scored)["metrics"] == figures

    out = shell(work, f"hmr train integral --resume '{given}/run [/red]'")
    assert "is finished" in out
    shell(work, next_step(out))
    out = shell(work, f"hmr ckpt show '{given}/run [/red]'")
    use = re.search(r"^use: *(.*)$", out, re.MULTILINE)
    assert use is not None
    assert shell(work, f"{use[1]} --data '{given}/demo/oakink.h5' --out again").count("integral (this)") == 1
    shell(work, f"hmr doctor --root '{given}/demo/OakInk' --data '{given}/demo/oakink.h5'")


def test_errors_name_the_path_and_a_command_that_works(work: Path) -> None:
    (name,) = (path.name for path in work.iterdir() if path.name.startswith("my"))
    given = name.replace("'", "'\\''")
    out = shell(work, f"hmr pack info '{given}/none.h5'", status=1)
    assert f"there is no data file {name}/none.h5. Make one: `hmr pack NAME --root FOLDER --out '" in out
    make = re.search(r"then `(hmr pack oakink --root demo/OakInk .*?)`", out)
    assert make is not None
    assert "demo/OakInk is not a tree of OakInk-Image" in shell(work, make[1], status=1)
    state = {"layer1.0.conv1.weight": torch.zeros(2)}
    with (work / name / "weights.pth.tar").open("wb") as file:
        torch.save(state, file)
    assert "weights that are no released file" in shell(work, f"hmr ckpt show '{given}/weights.pth.tar'")
