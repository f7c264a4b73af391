"""Going on with a run under other conditions: more epochs, other versions, a script that is started again."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from hmr_core.errors import HmrError, UsageError
from hmr_core.plugins import ModelSpec
from hmr_core.plugins.events import RunEnded, RunStarted, StepDone
from hmr_core.plugins.registry import Registry
from hmr_core.plugins.run import Run
from hmr_core.shell import flag
from hmr_core.training.asked_data import asked_packs
from hmr_core.training.lengthening import lengthen
from hmr_core.training.request import TrainingRequest
from hmr_core.training.resume import go_on, resume
from hmr_core.training.run_folder import is_finished
from hmr_core.training.session import start, train
from hmr_core.training.surroundings import commit_notes, version_notes
from hmr_core.weights.checkpoint_folders import saved_checkpoints
from hmr_core.weights.checkpoint_record import check_run, read_record, write_record
from hmr_core.weights.run_record import open_run, write_run


@pytest.fixture
def plugins(fakes: Any, small_spec: ModelSpec) -> Registry:
    registry: Registry = fakes.registry(fakes.plugin("small", hmr_models=lambda: [small_spec]))
    return registry


def figures(run: Run) -> list[dict[str, Any]]:
    times = ("seconds", "samples_per_second", "data_wait")
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in times} for line in lines]


@pytest.mark.parametrize("stop_after", [None, 10])
def test_a_lengthened_run_is_the_one_that_was_as_long_from_the_start(
    trainer: Any, plugins: Registry, tmp_path: Path, run: Run, stop_after: int | None
) -> None:
    """Be it lengthened when it was finished, or in its second epoch."""
    folder = tmp_path / "short"
    if stop_after is None:
        trainer(folder, "train.epochs=2")
    else:
        with pytest.raises(KeyboardInterrupt):
            trainer(folder, "train.epochs=2", stop_after=stop_after, checkpoint_every="4")
    first = open_run(folder)
    longer = resume(folder, epochs=3, device="cpu", workers=0, progress=False, registry=plugins)
    assert is_finished(longer)
    for name in ("model.safetensors", "optimizer.safetensors"):
        one, two = (saved_checkpoints(each.checkpoints)[-1] / name for each in (run, longer))
        assert one.read_bytes() == two.read_bytes()
    assert figures(run) == figures(longer)
    config = json.loads((folder / "config.json").read_text())
    assert config["recipe"]["train"]["epochs"] == 3
    assert config["started"] == first.started
    (change,) = config["lengthened"]
    assert change["command"] == f"hmr.resume({str(folder)!r}, epochs=3, device='cpu', workers=0)"
    done = 2 if stop_after is None else 1
    assert (change["from"], change["to"], change["at_epoch"]) == (2, 3, done)
    assert "note: 3 epochs now, and 2 before" in (folder / "train.log").read_text()
    assert "cosine" not in (folder / "train.log").read_text()


def test_a_run_is_lengthened_more_than_once_and_goes_on_when_it_is_asked_again(
    trainer: Any, plugins: Registry, tmp_path: Path
) -> None:
    trainer(tmp_path / "run", "train.epochs=1")
    options: Any = {"device": "cpu", "progress": False, "registry": plugins}
    resume(tmp_path / "run", epochs=2, **options)
    longer = resume(tmp_path / "run", epochs=3, **options)
    assert [change["to"] for change in open_run(longer.folder).lengthened] == [2, 3]
    told: list[str] = []
    go_on(tmp_path / "run", plugins, tell=told.append, epochs=3)  # as a job that was started again
    assert told == [
        f"note: {tmp_path / 'run'} is finished: epoch 3 of 3 is done; to train longer: hmr train small --resume "
        f"{tmp_path / 'run'} --epochs N"
    ]


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_run_is_not_lengthened_to_what_it_has_done(run: Run, plugins: Registry, epochs: int) -> None:
    before = (run.folder / "config.json").read_bytes()
    with pytest.raises(UsageError, match=rf"has done 3 epochs already, so {epochs} leave nothing to do\. Give more"):
        resume(run.folder, epochs=epochs, registry=plugins)
    assert (run.folder / "config.json").read_bytes() == before


@pytest.mark.slow
def test_the_cosine_of_a_lengthened_run_is_over_all_of_its_epochs(
    trainer: Any, plugins: Registry, tmp_path: Path
) -> None:
    cosine = ("train.schedule=cosine", "train.milestones=[]")
    trainer(tmp_path / "run", "train.epochs=2", *cosine)
    rates = {event.step: event.learning_rate for event in trainer.events if isinstance(event, StepDone)}
    events: list[Any] = []
    go_on(tmp_path / "run", plugins, [lambda run, event: events.append(event)], device="cpu", epochs=4)
    now = {event.step: event.learning_rate for event in events if isinstance(event, StepDone)}
    trainer(tmp_path / "long", "train.epochs=4", *cosine)
    long = {event.step: event.learning_rate for event in trainer.events if isinstance(event, StepDone)}
    assert now == {step: long[step] for step in range(15, 29)}
    assert isinstance(events[0], RunStarted)
    assert events[0].notes[:2] == (
        "4 epochs now, and 2 before",
        f"cosine is now over 4 epochs: the learning rate goes from {rates[14]:.3g} at step 14 to {long[15]:.3g}",
    )


def test_only_checkpoints_from_before_it_was_lengthened_may_have_fewer_epochs(run: Run) -> None:
    older, newest = saved_checkpoints(run.checkpoints)
    longer = lengthen(run, 5, 3, {"date": "2026-01-01", "command": "hmr"})
    write_run(longer)
    check_run(open_run(run.folder), newest / "model.safetensors")
    again = lengthen(longer, 9, 3, {"date": "2026-01-01", "command": "hmr"})
    check_run(again, older / "model.safetensors")
    record = read_record(newest / "model.safetensors")
    write_record(newest, replace(record, epoch=4))
    with pytest.raises(HmrError, match=r"says that recipe\.train\.epochs is 9, the checkpoint .* that it is 3"):
        check_run(again, newest / "model.safetensors")
    changed = {**record.recipe, "train": {**record.recipe["train"], "seed": 7}}
    write_record(newest, replace(record, recipe=changed))
    with pytest.raises(HmrError, match=r"says that recipe\.train\.seed is 3, the checkpoint .* that it is 7: one"):
        check_run(again, newest / "model.safetensors")


def test_versions_that_a_run_depends_on_are_told_when_they_changed() -> None:
    before = {"python": "3.11.1", "hmr-core": "0.1", "hmr-rle": "0.1", "hmr-small": "1", "torch": "2.12.0", "h5py": "3"}
    now = {"python": "3.11.1", "hmr-core": "0.2", "hmr-rle": "0.9", "hmr-small": "2", "torch": "2.13.0", "numpy": "2"}
    assert version_notes(before, now, "hmr-small") == [
        "hmr-core 0.2 now, 0.1 before: the steps may be others",
        "hmr-small 2 now, 1 before: the steps may be others",
        "torch 2.13.0 now, 2.12.0 before: the steps may differ in their last bits",
        "no h5py now, 3 before: the steps may differ in their last bits",
        "numpy 2 now, none before: the steps may differ in their last bits",
    ]
    assert version_notes(now, now, "hmr-small") == []
    assert commit_notes({"hmr-core": "abc", "folder": "x"}, {"hmr-core": "def-dirty", "folder": "y"}) == [
        "hmr's code is at commit def-dirty now, and was at abc when the run was started: the steps may be others"
    ]
    assert commit_notes({"hmr-core": "abc"}, {"hmr-core": "abc"}) == []
    assert commit_notes({"hmr-core": None}, {"hmr-core": "abc"}) == []  # an installed one before


def test_a_changed_version_is_said_once_on_screen_and_in_the_log(trainer: Any, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run", stop_after=10)
    (saved,) = saved_checkpoints(tmp_path / "run/checkpoints")
    record = read_record(saved / "model.safetensors")
    write_record(saved, replace(record, versions={**record.versions, "torch": "1.0"}))
    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path / "run", stop_after=17)
    text = f"torch {torch.__version__} now, 1.0 before: the steps may differ in their last bits"
    assert text in trainer.events[0].notes
    assert f"note: {text}" in (tmp_path / "run/train.log").read_text()
    trainer(tmp_path / "run")
    assert trainer.events[0].notes == ()


def request(pack: Path, out: Path | None, **changes: Any) -> TrainingRequest:
    values = {
        "model": "small",
        "split": "sp0",
        "recipe": "tiny",
        "data": asked_packs(pack),
        "device": "cpu",
        "out": out,
    }
    return TrainingRequest(**{**values, "resume_or_start": True, **changes})


def test_a_script_that_is_started_again_goes_on_with_its_run(
    plugins: Registry, mini_pack_path: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: Run, event: Any) -> None:
        events.append(event)
        if isinstance(event, StepDone) and event.step == stop_at:
            raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    events: list[Any] = []
    for stop_at, first in ((4, 1), (10, 1), (17, 8), (0, 15)):
        events.clear()
        if stop_at:
            with pytest.raises(KeyboardInterrupt):
                start(request(mini_pack_path, None), plugins, [stop])
        else:
            start(request(mini_pack_path, None), plugins, [stop])
        assert events[0].first_step == first
        assert isinstance(events[-1], RunEnded)
    again = Path("runs/small-sp0-tiny")
    assert [path.name for path in Path("runs").iterdir()] == [again.name]
    assert figures(run) == figures(open_run(again))
    told: list[str] = []
    assert start(request(mini_pack_path, None), plugins, tell=told.append).folder == again
    assert told[0].startswith("note: runs/small-sp0-tiny is finished: epoch 3 of 3 is done")


@pytest.mark.parametrize(
    ("changes", "what", "command"),
    [
        ({"split": "sp1"}, 'its split is "sp0", and not "sp1"', ""),
        ({"overrides": ("train.seed=4", "train.batch_size=4")},
         r"its recipe\.train\.batch_size is 8, and not 4 \(and 1 more: recipe\.train\.seed\)", ""),
        ({"epochs": 9}, r"its recipe\.train\.epochs is 3, and not 9", " --epochs 9"),
    ],
)  # fmt: skip
def test_another_run_than_the_one_that_is_asked_for_is_not_gone_on_with(
    plugins: Registry, mini_pack_path: Path, run: Run, changes: dict[str, Any], what: str, command: str
) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")}
    with pytest.raises(HmrError) as caught:
        start(request(mini_pack_path, run.folder, **changes), plugins)
    text = caught.value.worded(flag)
    assert text.startswith(f"{run.folder} is another run than the one that is asked for: its ")
    assert re.search(what, text), text
    assert f"by `hmr train small --resume {run.folder}{command}`, or choose another folder with --out." in text
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*")} == before


def test_a_run_without_a_checkpoint_is_in_no_other_s_way(plugins: Registry, mini_pack_path: Path, run: Run) -> None:
    for folder in saved_checkpoints(run.checkpoints):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    other = start(request(mini_pack_path, run.folder, overrides=("train.seed=4", "train.epochs=1")), plugins)
    assert open_run(run.folder).recipe["train"]["seed"] == 4
    assert is_finished(other)


def test_a_notebook_says_it_as_the_command_does(plugins: Registry, mini_pack_path: Path, run: Run) -> None:
    options: Any = {"device": "cpu", "progress": False, "registry": plugins}
    again = train(
        "small", split="sp0", recipe="tiny", data=mini_pack_path, out=run.folder, resume_or_start=True, **options
    )
    assert again.folder == run.folder


def test_processes_of_a_launch_that_are_started_again_go_on_with_their_run(
    plugins: Registry, mini_pack_path: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The very same request, without a word of resuming: by the launch that is in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-7")
    again = replace(request(mini_pack_path, None), resume_or_start=False, command="hmr train small")

    def stop(_: Run, event: Any) -> None:
        events.append(event)
        if isinstance(event, StepDone) and event.step == 10:
            raise KeyboardInterrupt

    events: list[Any] = []
    with pytest.raises(KeyboardInterrupt):
        start(again, plugins, [stop])
    assert open_run(Path("runs/small-sp0-tiny")).started["launch"] == "job-7"
    done = start(again, plugins, [lambda _, event: events.append(event)])
    assert (done.folder, events[-1].reason) == (Path("runs/small-sp0-tiny"), "finished")
    assert figures(done) == figures(run)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job-8")
    assert start(again, plugins).folder == Path("runs/small-sp0-tiny-2")
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    assert start(again, plugins).folder == Path("runs/small-sp0-tiny-3")
