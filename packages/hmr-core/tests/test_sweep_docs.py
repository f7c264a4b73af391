"""docs/sweeps.md is right: its files are valid, its commands and its program run, its tables name every key."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from hmr_core.cli.main import main
from hmr_core.plugins.registry import discover
from hmr_core.sweep.definition import Pruning, Range, Sweep, read_sweep
from hmr_core.sweep.session import MOST_FAILURES, read_trials
from hmr_core.sweep.space import dimensions
from hmr_core.sweep.trial import MOST_STARTS

PAGE = (Path(__file__).parents[3] / "docs/sweeps.md").read_text(encoding="utf-8")
FILES = re.findall(r"```toml\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("text", FILES)
def test_its_files_are_valid(text: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(text)
    sweep = read_sweep(path)
    assert len(dimensions(sweep, discover().model(sweep.model), path)) == len(sweep.space)


def test_its_commands_and_its_program_run(
    tmp_path: Path, mini_pack_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The first file, but for its size, on the tests' data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HMR_DATA", raising=False)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/oakink.h5").symlink_to(mini_pack_path)
    small = FILES[0].replace("trials = 12", "trials = 2").replace("train.epochs = 5", "train.epochs = 1")
    assert small.count(" = 2\n") == small.count("epochs = 1\n") == 1
    (tmp_path / "sweep.toml").write_text(small.replace('["resnet18", "resnet34"]', '["resnet18"]'))
    commands = re.findall(r"^hmr (sweep sweep\.toml(?: --show)?)(?:  .*)?$", PAGE, flags=re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert main(shlex.split(command)) == 0, capfd.readouterr().err
        out = capfd.readouterr().out
        assert out.splitlines()[0].startswith("trial  state     train.learning_rate  train.batch_size  backbone.name")
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(compile(program, "docs/sweeps.md", "exec"), {})
    number, _, rest = capfd.readouterr().out.partition(" ")
    best = min(read_trials(Path("sweep.toml")).rows, key=lambda row: row.best or 0)
    assert int(number) == best.number
    assert float(rest.split()[0]) == best.best
    assert {path.name for path in (tmp_path / "sweeps/sweep").iterdir()} == {
        "trial-0000", "trial-0001", "study.db", "sweep.csv", ".locks",
    }  # fmt: skip


def keys(heading: str) -> list[str]:
    """The keys that a table names, by the heading of its first column."""
    rows = PAGE.partition(f"| {heading} | default |")[2].split("\n\n")[0].splitlines()[2:]
    return [key for row in rows for key in re.findall(r"`(\w+)`", row.split("|")[1])]


def test_its_tables_name_every_key() -> None:
    assert sorted(keys("key")) == sorted(Sweep.model_fields)
    assert sorted(keys("key of a range")) == sorted(Range.model_fields)
    assert sorted(keys("key of `prune`")) == sorted(Pruning.model_fields)


def test_its_numbers_are_the_code_s() -> None:
    assert (MOST_STARTS, MOST_FAILURES) == (3, 5)
    assert "begun three times from the same place" in PAGE
    assert "five failures in a row" in PAGE
    assert (Pruning().startup_trials, Pruning().percentile) == (5, 50)
    assert "Five trials run to their end before any is stopped" in PAGE
