"""A run's folder: who may have it, what is in it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hmr_core.errors import HmrError, Option
from hmr_core.plugins.run import Run
from hmr_core.training.run_folder import check_free, default_folder, locked, new_run, resume_command
from hmr_core.training.run_metrics import drop_later_metrics, is_reported
from hmr_core.weights.run_record import open_run


def test_two_processes_do_not_train_one_run(run: Run) -> None:
    with locked(run), pytest.raises(HmrError, match=r"is being trained by another process\. Wait for it, or stop it"), \
            locked(run):  # fmt: skip
        pass
    with locked(run):
        pass


def test_one_who_looks_whether_a_run_is_trained_does_not_keep_it_from_being_trained(run: Run) -> None:
    with run.log.open("rb") as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        threading.Timer(0.2, fcntl.flock, (looked_at, fcntl.LOCK_UN)).start()
        with locked(run):
            pass


def test_a_line_of_metrics_that_was_cut_off_is_dropped(run: Run) -> None:
    path = run.folder / "metrics.jsonl"
    whole = path.read_text()
    path.write_text(whole + '{"kind": "step", "epo')
    drop_later_metrics(run, 3, 21)
    assert path.read_text() == whole
    drop_later_metrics(run, 1, 7)
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [1, 7, 7]
    assert is_reported(run, 1)
    assert not is_reported(run, 2)


def test_metrics_of_steps_within_an_epoch_are_kept(run: Run) -> None:
    drop_later_metrics(run, 1, 14)
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert [(line["kind"], line["step"]) for line in lines] == [("step", 1), ("step", 7), ("epoch", 7), ("step", 14)]


@pytest.mark.parametrize(
    "line",
    [b'{"k\xefnd": "epoch", "epoch": 1}', b'{"epoch": "two"}', b'{"epoch": 1' + b"0" * 400 + b"}", b"[" * 100_000],
    ids=["bytes", "text", "large", "deep"],
)
def test_a_damaged_line_of_metrics_is_dropped(run: Run, line: bytes) -> None:
    path = run.folder / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + line + b"\n")
    drop_later_metrics(run, 3, 21)
    assert path.read_bytes() == whole


def test_a_run_is_not_started_over_another(run: Run) -> None:
    refused = {
        run.folder: r"is a run already\. Go on with it by `hmr train small --resume",
        run.checkpoints: r"checkpoints exists, is not empty and is no run\. Choose another with out",
        run.folder / "metrics.jsonl/inside": r"the run's folder .* cannot be made: .*\. Choose another with out",
    }
    for folder, text in refused.items():
        with pytest.raises(HmrError, match=text), new_run(replace(run, folder=folder)):
            pytest.fail("it was begun")
    assert open_run(run.folder) == run


def begin(run: Run, said: str = "") -> None:
    """A run that ends by an error before its first checkpoint."""
    with contextlib.suppress(ZeroDivisionError), new_run(run):
        run.log.write_text(said)
        raise ZeroDivisionError


def test_a_run_that_ended_before_its_first_checkpoint_is_in_nobody_s_way(run: Run, tmp_path: Path) -> None:
    first, second = (replace(run, folder=tmp_path / "new", split=split) for split in ("sp0", "sp1"))
    begin(first)
    assert not first.folder.exists()  # nothing was said
    begin(first, said="that it started\n")
    with new_run(second):
        assert open_run(second.folder).split == "sp1"
        assert second.log.read_text() == "that it started\n"
        with pytest.raises(HmrError, match="is being trained by another process"), new_run(first):
            pytest.fail("it was begun")
    assert open_run(second.folder).split == "sp1"


def test_where_nothing_can_be_locked_runs_are_not_held(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    with locked(run), locked(run):
        pass


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HmrError, match=r"is not a run: .*config\.json cannot be read"):
        open_run(tmp_path)
    (tmp_path / "config.json").write_text('{"format": "hmr-run/9"}')
    with pytest.raises(HmrError, match=r"has format 'hmr-run/9'; this version of hmr reads 'hmr-run/1'"):
        open_run(tmp_path)


def test_a_run_whose_config_has_more_or_less_is_refused(run: Run) -> None:
    path = run.folder / "config.json"
    values = json.loads(path.read_text())
    for changed in ({**values, "new": 1}, {**values, "data": [{"path": "x.h5"}]}, {**values, "data": ["x.h5"]}):
        path.write_text(json.dumps(changed))
        with pytest.raises(HmrError, match=r"is not as `hmr train` writes it .*; the run cannot be resumed"):
            open_run(run.folder)
    for key in values.keys() - {"format"}:
        path.write_text(json.dumps({name: value for name, value in values.items() if name != key}))
        with pytest.raises(
            HmrError, match=rf'is not as `hmr train` writes it \(no "{key}"\); the run cannot be resumed'
        ):
            open_run(run.folder)


def test_default_folders_are_numbered(run: Run, tmp_path: Path) -> None:
    def name() -> str:
        return default_folder("integral-sp0-tiny", tmp_path).name

    assert name() == "integral-sp0-tiny"
    begun = replace(run, folder=tmp_path / "integral-sp0-tiny")
    with new_run(begun):
        assert name() == "integral-sp0-tiny-2"  # it is being trained
    assert name() == "integral-sp0-tiny"  # it has no checkpoint
    (begun.checkpoints / "epoch-0001").mkdir()
    assert name() == "integral-sp0-tiny-2"
    (tmp_path / "integral-sp0-tiny-2").mkdir()
    assert name() == "integral-sp0-tiny-3"


@pytest.mark.parametrize(
    ("key", "value", "how"),
    [
        ("recipe", [], '"recipe" is a list, and should be an object'),
        ("hand_model", "x", '"hand_model" is a str, and should be an object or null'),
        ("versions", [], '"versions" is a list, and should be an object'),
        ("tensorboard", "no", '"tensorboard" is a str, and should be true or false'),
        ("started", None, '"started" is a NoneType, and should be an object'),
    ],
)
def test_a_run_whose_config_is_damaged_is_refused(run: Run, key: str, value: object, how: str) -> None:
    path = run.folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(HmrError, match=f"^{path} was altered or damaged: {how}. Put back the file"):
        open_run(run.folder)


@pytest.mark.parametrize("name", ["train.log", "metrics.jsonl"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_in_a_run_is_told(run: Run, name: str, make: Callable[[Path], None]) -> None:
    path = run.folder / name
    path.unlink(missing_ok=True)
    make(path)
    use = {"train.log": locked(run).__enter__, "metrics.jsonl": lambda: drop_later_metrics(run, 3, 21)}[name]
    with pytest.raises(HmrError, match=rf"^{path} cannot be used: .*\. Move it away, and go on\.$"):
        use()


def test_a_run_that_cannot_be_written_to_says_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(HmrError, match=rf"^{run.log} cannot be written to: Read-only file system\. Copy"), locked(run):
        pass
    with pytest.raises(HmrError, match="is a run already"):
        check_free(run.folder, "small")


def test_the_command_that_goes_on_starts_as_many_processes(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = f"hmr train small --resume {run.folder}"
    assert resume_command(run) == alone
    assert resume_command(replace(run, processes=4), Option("device", "cpu")) == f"{alone} --gpus 4 --device cpu"
    for name, value in {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "job"}.items():
        monkeypatch.setenv(name, value)
    assert resume_command(replace(run, processes=4)) == (
        f"torchrun, as it was started, with -m hmr_core train --resume {run.folder}"
    )
