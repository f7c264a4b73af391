"""`hmr runs`: what it tells of runs in every state, as text and as JSON."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hmr_core.cli.main import cli
from hmr_core.errors import HmrError
from hmr_core.plugins.run import Run
from hmr_core.training.run_folder import locked
from hmr_core.training.run_overview import find_runs, is_run, look_at
from hmr_core.weights.run_record import write_run


def hmr(*arguments: str) -> str:
    """What a command prints."""
    result = CliRunner().invoke(cli, ["runs", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture
def stopped(trainer: Any, tmp_path: Path) -> Run:
    """A run that was interrupted in its second epoch."""
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "stopped", stop_after=8)
    run = look_at(tmp_path / "stopped").run
    assert run is not None
    return run


def add_log(run: Run, line: str) -> None:
    with run.log.open("a") as log:
        log.write(f"2026-01-01 00:00:00 {line}\n")


def test_a_finished_run_and_an_interrupted_one(run: Run, stopped: Run) -> None:
    finished, other = look_at(run.folder), look_at(stopped.folder)
    assert (finished.state, finished.epochs_done, finished.epochs) == ("finished", 3, 3)
    assert (other.state, other.epochs_done, other.epochs) == ("interrupted", 1, 3)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    val = {line["epoch"]: line["val"]["mpjpe_mm"] for line in lines if line["kind"] == "epoch"}
    assert finished.best is not None
    assert finished.last is not None
    assert finished.best.epoch == min(val, key=lambda epoch: val[epoch])
    assert (finished.last.epoch, finished.last.mpjpe_mm) == (3, val[3])


def test_a_run_that_is_trained_now_is_said_so(stopped: Run) -> None:
    with locked(stopped):
        assert look_at(stopped.folder).state == "training"
    assert look_at(stopped.folder).state == "interrupted"


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("command: hmr train small --resume stopped", "killed"),
        ("stopped by an error (ZeroDivisionError) after epoch 1, 0:00:01", "failed"),
        ("stopped by an error after epoch 1, 2 days, 10:00:01", "failed"),
        ("finished after epoch 1, 0:00:01", "finished"),
        ("finished early (MPJPE on val was lowest at epoch 1, 20.000 mm) after epoch 1, 0:00:01", "finished"),
        ("pruned after epoch 1, 0:00:01", "stopped"),
        ("interrupted (SIGTERM) after epoch 1, 0:00:01", "interrupted"),
        ("checkpoint /tmp/x after epoch 1", "interrupted"),  # says nothing of an end
    ],
)
def test_the_last_end_in_the_log_counts(stopped: Run, line: str, state: str) -> None:
    add_log(stopped, line)
    assert look_at(stopped.folder).state == state


def test_a_run_without_a_log_was_killed(stopped: Run) -> None:
    stopped.log.unlink()
    assert look_at(stopped.folder).state == "killed"


def test_damaged_lines_of_metrics_cost_no_others(run: Run) -> None:
    whole = look_at(run.folder)
    with run.metrics.open("ab") as metrics:
        metrics.write(b'{"kind": "epoch", "val": 3, "epoch": 4}\n["val"]\n{"val\xef": {}}\n{"kind": "epoch", "epo')
    assert look_at(run.folder) == whole
    with run.metrics.open("ab") as metrics:
        metrics.write(b'\n{"kind": "epoch", "epoch": 4, "val": {"mpjpe_mm": 1' + b"0" * 400 + b"}}\n")
    assert look_at(run.folder).best == whole.best
    run.metrics.unlink()
    assert look_at(run.folder).last is None


def break_config(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def broken(folder: Path) -> None:
        path = folder / "config.json"
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))

    return broken


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"config\.json cannot be read"),
        (lambda folder: (folder / "config.json").write_text("{"), "is not valid JSON"),
        (break_config(lambda values: values["recipe"].clear()), r"its recipe has no train\.epochs"),
        (break_config(lambda values: values["recipe"]["train"].update(epochs="3")), r"its recipe has no train\.epochs"),
        (break_config(lambda values: values.update(started=None)), '"started" is a NoneType'),
        (break_config(lambda values: values.update(lengthened=[1])), '"lengthened" is not as `hmr train` writes it'),
        (break_config(lambda values: values["limits"].update(train=None)), '"limits" is not as `hmr train` writes it'),
    ],
)
def test_a_broken_run_says_why_and_is_not_fatal(
    run: Run, stopped: Run, damage: Callable[[Path], None], problem: str
) -> None:
    damage(run.folder)
    found = find_runs(run.folder.parent)
    assert [each.folder for each in found] == [stopped.folder, run.folder]  # the broken one last
    assert found[1].state == "broken"
    assert re.search(problem, found[1].problem or "")
    shown = hmr(str(run.folder.parent))
    assert re.search(rf"^broken: .*{problem}", shown, re.MULTILINE)
    assert "problem:" in hmr(str(run.folder))
    listed = json.loads(hmr(str(run.folder.parent), "--json"))
    assert [each["state"] for each in listed] == ["interrupted", "broken"]
    assert listed[1]["model"] is None


def test_what_a_run_says_of_its_start_may_be_anything(run: Run) -> None:
    write_run(replace(run, started={"commits": 3}))
    assert "finished" in hmr(str(run.folder.parent))
    assert "finished" in hmr(str(run.folder))


def test_runs_are_listed_as_a_table(run: Run, stopped: Run) -> None:
    began = {"commits": {"hmr-core": "0123456789abcdef-dirty", "folder": None}, "date": "2026-01-02T03:04:05+00:00"}
    write_run(replace(run, started={**began, "command": "hmr train small --split sp0"}))
    below = run.folder.parent / "sweep" / "one"
    shutil.copytree(stopped.folder, below)
    (run.folder.parent / "eval").mkdir()  # no run
    header, *rows = hmr(str(run.folder.parent)).splitlines()
    assert header.split()[:2] == ["run", "state"]
    first = re.split("  +", rows[0])
    assert first[:4] == ["finished", "finished", "small, sp0, tiny", "3/3"]
    assert re.fullmatch(r"\d+\.\d\d mm \([123]\)", first[4])
    assert re.fullmatch(r"\d+\.\d\d mm", first[5])
    assert first[6:] == ["2026-01-02 03:04", "01234567-dirty", "hmr train small --split sp0"]
    assert [row.split()[:2] for row in rows[1:]] == [["stopped", "interrupted"], ["sweep/one", "interrupted"]]


def test_one_run_is_shown_with_the_command_that_goes_on(run: Run, stopped: Run) -> None:
    shown = hmr(str(stopped.folder))
    for text in (
        "state:", "interrupted", "1/3", "epoch 1: mpjpe_mm", str(stopped.checkpoints / "epoch-0001"),
        f"hmr train small --resume {stopped.folder}",
    ):  # fmt: skip
        assert text in shown
    assert "not there any more" not in shown
    add_log(stopped, "step 9/21: loss 0.1")
    assert re.search("said last: +2026-01-01 00:00:00 step 9/21: loss 0.1", hmr(str(stopped.folder)))
    assert "said last" not in hmr(str(run.folder))
    assert "go on:" not in hmr(str(run.folder))
    write_run(replace(run, data=(replace(run.data[0], path=Path("/gone.h5")),)))
    assert "/gone.h5 (not there any more)" in hmr(str(run.folder))
    assert json.loads(hmr(str(run.folder), "--json"))["recipe"]["train"]["epochs"] == 3


def test_no_runs_are_no_error_and_say_how_one_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, ["runs"])
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == ("no runs in runs. `hmr train` makes them: hmr train integral --split sp0 --recipe tiny\n")
    assert hmr("--json") == "[]\n"
    (tmp_path / "file").touch()
    for name, text in (("file", "it is a file"), ("nothing", "it is not there")):
        error = CliRunner().invoke(cli, ["runs", name]).exception
        assert isinstance(error, HmrError)
        assert text in str(error)


def test_links_and_hidden_folders_are_not_looked_through(run: Run, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/up").symlink_to(tmp_path)
    shutil.copytree(run.folder, tmp_path / ".trash/run")
    (tmp_path / "link").symlink_to(run.folder)  # a run all the same
    assert [each.folder.name for each in find_runs(tmp_path)] == ["finished", "link"]
    assert not is_run(tmp_path)
