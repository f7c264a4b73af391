"""Files and folders that are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from hmr_core.errors import HmrError
from hmr_core.staging import staged_file, staged_folder, write_text


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
    for target, reason in ((tmp_path / "file/out", "File exists|Not a directory"), (tmp_path, "is a folder")):
        text = rf"the file {target} cannot be written: .*({reason}).*\. Choose another\."
        with pytest.raises(HmrError, match=text), staged_file(target):
            pytest.fail("the block was entered")
