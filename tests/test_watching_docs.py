"""docs/watching.md is right: its commands and its program run, and its table has every field of metrics.jsonl."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import get_args

import pytest

from hmr_core.cli.main import main
from hmr_core.training.run_overview import State

PAGE = (Path(__file__).parents[1] / "docs/watching.md").read_text(encoding="utf-8")
SHORT = ["--epochs", "1", "--device", "cpu"]
"""What makes the page's trainings short enough for a test."""


@pytest.fixture(scope="module")
def folder(mini_pack_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder in which the page's commands were typed."""
    for extra in ("tensorboard", "wandb"):
        pytest.importorskip(extra)
    folder = tmp_path_factory.mktemp("watching")
    (folder / "data").mkdir()
    (folder / "data/oakink.h5").symlink_to(mini_pack_path)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("HMR_DATA", "HMR_HAND_MODEL", "HMR_PLUGINS", "WANDB_MODE", "WANDB_PROJECT"):
            patch.delenv(name, raising=False)
        patch.chdir(folder)
        blocks = re.findall(r"^```(?:\w*)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
        commands = [shlex.split(line)[1:] for block in blocks for line in block.splitlines() if line.startswith("hmr ")]
        assert len(commands) == 4
        for command in commands:
            assert main([*command, *(SHORT if command[0] == "train" else [])]) == 0, command
    return folder


def test_what_the_page_names_is_there(folder: Path) -> None:
    run = folder / "runs/integral-sp0-tiny"
    assert list(run.glob("events.out.tfevents.*"))
    assert list(run.glob("wandb/offline-run-*"))
    assert (run / "wandb/id").is_file()
    assert (folder / "runs/profiled/profile/operators.txt").is_file()


def test_its_program_runs(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(compile(program, "docs/watching.md", "exec"), {})
    assert capsys.readouterr().out == "best after epoch 1\n"


def test_its_table_has_every_field(folder: Path) -> None:
    lines = (folder / "runs/integral-sp0-tiny/metrics.jsonl").read_text(encoding="utf-8").splitlines()
    written: dict[str, set[str]] = {}
    for values in map(json.loads, lines):
        written.setdefault(values["kind"], set()).update(values)
    listed = dict(re.findall(r"^\| `(\w+)` \| (both|step|epoch) \|", PAGE, flags=re.MULTILINE))
    assert written == {
        kind: {field for field, of in listed.items() if of in ("both", kind)} for kind in ("step", "epoch")
    }  # fmt: skip


def test_its_table_has_every_state() -> None:
    table = PAGE.partition("| state |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE)) == set(get_args(State))
