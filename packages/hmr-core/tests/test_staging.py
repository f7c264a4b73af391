"""Files and folders that are whole or not there."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from hmr_core.errors import HmrError
from hmr_core.hand.model import save_hand_model
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.staging import (
    append_text,
    check_file_writable,
    check_folder_writable,
    clear_leftovers,
    staged_file,
    staged_folder,
    write_text,
)


def test_a_folder_appears_at_the_end_and_replaces_the_older_one(tmp_path: Path) -> None:
    for text in ("first", "second"):
        with staged_folder(tmp_path / "deep/out") as part:
            (part / text).write_text(text)
            assert not (tmp_path / "deep/out" / text).exists()
        assert [path.name for path in (tmp_path / "deep/out").iterdir()] == [text]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_there_is_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").write_text("old")

    def work() -> None:
        with staged_folder(tmp_path / "out") as part:
            (part / "new").write_text("half of it")
            raise error

    with pytest.raises(error):
        work()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["out", "out/old"]


def test_a_replacement_that_fails_brings_the_older_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").write_text("old")
    rename = Path.rename

    def fail_for_part(self: Path, target: Path) -> Path:
        if self.name.endswith(".part"):
            raise OSError("the disk went away")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_part)
    with pytest.raises(OSError, match="the disk went away"), staged_folder(tmp_path / "out") as part:
        (part / "new").write_text("new")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["out", "out/old"]


def test_a_place_that_cannot_be_written_is_an_error_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for target in (tmp_path / "file", tmp_path / "file/inside"):
        with pytest.raises(HmrError, match=r"cannot be written: .*\. Choose another\."), staged_folder(target):
            pytest.fail("the block ran")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_text_is_replaced_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "one")
    with (tmp_path / "a").open() as reader:
        write_text(tmp_path / "a", "two")
        assert reader.read() == "one"
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "two")]


def test_a_file_appears_at_the_end_and_replaces_the_older_one(tmp_path: Path) -> None:
    target = tmp_path / "deep/out"
    for text in ("first", "second"):
        before = target.read_text() if target.exists() else None
        with staged_file(target) as part:
            part.write_text(text)
            assert (target.read_text() if target.exists() else None) == before
        assert target.read_text() == text
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_after_an_error_the_file_is_what_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "out"
    target.write_text("old")

    def work() -> None:
        with staged_file(target) as part:
            part.write_text("half of it")
            raise error

    with pytest.raises(error):
        work()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for target, reason in ((tmp_path / "file/out", "file is a file"), (tmp_path, "is a folder")):
        text = rf"the file {target} cannot be written: .*({reason}).*\. Choose another\."
        with pytest.raises(HmrError, match=text), staged_file(target):
            pytest.fail("the block was entered")


def test_what_cannot_be_written_is_told_before_and_nothing_is_left_of_the_question(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for check, target, reason in (
        (check_file_writable, tmp_path / "file/out", "file is a file"),
        (check_file_writable, tmp_path, "is a folder"),
        (check_file_writable, tmp_path / ("x" * 300) / "out", "File name too long"),
        (check_folder_writable, tmp_path / "file", "is a file"),
        (check_folder_writable, Path.cwd(), "this process works in it"),
    ):
        with pytest.raises(HmrError, match=rf"cannot be written: .*{reason}\. Choose another\."):
            check(target)
    check_file_writable(tmp_path / "file")
    check_file_writable(tmp_path / "new/deep/out")
    check_folder_writable(tmp_path / "new/deep")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


KILLED = """
import os, signal, sys
from pathlib import Path
from hmr_core import staging

target = Path(sys.argv[2])
if sys.argv[1] == "between the renames":
    rename = Path.rename
    def rename_or_die(self, to):
        if self.name.endswith(".part"):
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, to)
    Path.rename = rename_or_die
with (staging.staged_file if sys.argv[1] == "in a file" else staging.staged_folder)(target) as part:
    (part if sys.argv[1] == "in a file" else part / "new").write_text("half of it")
    if sys.argv[1] != "between the renames":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def kill(when: str, target: Path) -> None:
    """A process that is killed while it writes the target."""
    assert subprocess.run([sys.executable, "-c", KILLED, when, str(target)], check=False).returncode == -signal.SIGKILL


@pytest.mark.parametrize("when", ["in a folder", "in a file"])
def test_what_a_killed_process_left_is_cleared_away_with_the_next_writing(tmp_path: Path, when: str) -> None:
    target = tmp_path / "out"
    kill(when, target)
    assert [path.name for path in tmp_path.iterdir()] != []
    if when == "in a file":
        write_text(target, "whole")
    else:
        with staged_folder(target) as part:
            (part / "new").write_text("whole")
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_was_set_aside_when_its_process_was_killed_comes_back(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").write_text("old")
    kill("between the renames", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    clear_leftovers(tmp_path / "out")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["out", "out/old"]


def test_a_folder_that_was_replaced_does_not_come_back(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / ".out.0123abcd.old").mkdir()  # by a process that was killed after its second rename
    clear_leftovers(tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_another_process_writes_is_left_alone(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "out") as part:
        (part / "mine").write_text("")
        with staged_folder(tmp_path / "out") as other:
            (other / "theirs").write_text("")
        assert (part / "mine").exists()
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["out", "out/mine"]


def test_where_nothing_can_be_locked_nothing_is_taken_for_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    (tmp_path / ".out.0123abcd.part").mkdir()
    write_text(tmp_path / "out", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.0123abcd.part", "out"]


def test_files_of_similar_names_are_no_leftovers(tmp_path: Path) -> None:
    names = [".out.part", ".out.x.0123abcd.part", ".out2.0123abcd.part", "out.0123abcd.part", ".oxt.0123abcd.old"]
    for name in names:
        (tmp_path / name).mkdir()
    write_text(tmp_path / "out", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*names, "out"])


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_the_umask_gives_the_permissions(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        with staged_folder(tmp_path / "folder") as part:
            (part / "own").touch(0o600)
            (part / "inner").mkdir()
            (part / "inner/all").write_text("")
        with staged_file(tmp_path / "file") as path:
            path.touch(0o600)
    finally:
        os.umask(before)
    modes = {str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    folders, files = 0o777 & ~umask, 0o666 & ~umask
    assert modes == {"folder": folders, "folder/own": files, "folder/inner": folders, "folder/inner/all": files,
                     "file": files}  # fmt: skip


def _save_safetensors(path: Path) -> None:
    save_file({"x": torch.zeros(10_000)}, path)


def _save_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(10_000)


def _save_text(path: Path) -> None:
    path.write_text("x" * 10_000)


def _save_hand(path: Path) -> None:
    save_hand_model(load_synthetic_hand(), path)


@pytest.mark.parametrize("save", [_save_safetensors, _save_hdf5, _save_text, _save_hand])
def test_a_full_disk_is_told_and_nothing_is_left(
    tmp_path: Path, files_up_to: Callable[[int], Any], save: Callable[[Path], None]
) -> None:
    target = tmp_path / "out"
    text = (
        f"{target} could not be written: File too large. Make room there, or choose another place. "
        "Nothing of it was left behind."
    )
    with files_up_to(1000), pytest.raises(HmrError, match=f"^{re.escape(text)}$"), staged_file(target) as part:
        save(part)
    with files_up_to(1000), pytest.raises(HmrError, match=f"^{re.escape(text)}$"), staged_folder(target) as folder:
        save(folder / "x")
    assert not any(tmp_path.iterdir())


def test_a_full_disk_is_told_of_what_was_asked_for(tmp_path: Path, files_up_to: Callable[[int], Any]) -> None:
    """And not of a part of it, which nobody named."""
    with files_up_to(1000), pytest.raises(HmrError, match=rf"^{tmp_path}/out could not be written: File too large"), \
            staged_folder(tmp_path / "out") as folder, staged_file(folder / "x.png") as part:  # fmt: skip
        _save_text(part)
    assert not any(tmp_path.iterdir())


def test_a_full_disk_is_told_of_a_file_that_grows(tmp_path: Path, files_up_to: Callable[[int], Any]) -> None:
    append_text(tmp_path / "log", "one\n")
    with (
        files_up_to(6),
        pytest.raises(HmrError, match=rf"^{tmp_path}/log could not be written to: File too large\. Make"),
    ):
        append_text(tmp_path / "log", "three\n")
    assert (tmp_path / "log").read_text().startswith("one\n")


def test_other_errors_in_the_block_are_left_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), staged_folder(tmp_path / "out"):
        (tmp_path / "nothing").read_bytes()
