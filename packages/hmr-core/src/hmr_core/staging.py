"""Files and folders that are either whole or not there: they are written beside, synced to the disk, then renamed.

OUT is made in a folder `.OUT.TOKEN.part` beside it, which its process keeps locked; a folder OUT that is replaced is
`.OUT.TOKEN.old` for a moment. What a process that was killed left of these is cleared away when OUT is next written.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hmr_core.errors import HmrError


class FullDiskError(HmrError):
    """A target could not be written: the disk, a quota or a file size is used up. errno: says which of these."""

    def __init__(self, number: int, target: Path) -> None:
        self.errno = number  # of a part of a target, too, which is then told of the whole
        super().__init__(
            f"{target} could not be written: {os.strerror(number)}. Make room there, or choose another place. "
            "Nothing of it was left behind."
        )


def is_full_disk(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, says that the disk, a quota or a file size is used up."""
    return error is not None and (isinstance(error, FullDiskError) or is_full_disk(error.__cause__))


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder that takes the target's place when the block ends; an error or Ctrl-C leaves nothing.

    A folder that was at the target is replaced; it is as it was if the block, or the replacement, fails. Raises
    HmrError before the block when nothing can be written there, and in it when the disk is full.
    """
    target = target.resolve()
    with _folder_told(target):
        part, descriptor = _begin(target)
    try:
        with _full_disk_told(target):
            yield part
            _settle(part)
            _replace(part, target)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(descriptor)


@contextmanager
def staged_file(target: Path) -> Iterator[Path]:
    """Give a path to write to, which becomes the target when the block ends; an error or Ctrl-C leaves nothing.

    A file that was at the target is replaced, or is as it was after an error. Raises HmrError before the block when
    nothing can be written there, and in it when the disk is full.
    """
    with _file_told(target):
        part, descriptor = _begin(target)
    try:
        with _full_disk_told(target):
            yield part / target.name
            _settle(part)
            (part / target.name).replace(target)
            _sync(target.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
        os.close(descriptor)


def check_folder_writable(target: Path) -> None:
    """HmrError, as that of `staged_folder`, where a folder cannot be written: before the work whose results it takes.

    Nothing is left there, not even a parent that was not there before.
    """
    target = target.resolve()
    with _folder_told(target):
        _try(target)


def check_file_writable(target: Path) -> None:
    """As `check_folder_writable`, of a file: HmrError as that of `staged_file`."""
    with _file_told(target):
        _try(target)


def write_text(target: Path, text: str) -> None:
    """Write a file whole, in UTF-8: a reader sees the old text or the new, never a part."""
    with staged_file(target) as part:
        part.write_text(text, encoding="utf-8")


def append_text(path: Path, text: str) -> None:
    """Write at the end of a file, in UTF-8, all or nothing; HmrError naming the file when it cannot be written."""
    data = memoryview(text.encode("utf-8"))
    try:
        with path.open("ab", buffering=0) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                while data:
                    data = data[file.write(data) :]
            except OSError:
                file.truncate(before)  # a part would spoil what is written after it, when there is room again
                raise
    except FileNotFoundError as error:
        raise HmrError(f"{path} could not be written to: its folder was removed, or moved away.") from error
    except OSError as error:
        raise HmrError(f"{path} could not be written to: {error.strerror}. Make room there.") from error


def clear_leftovers(target: Path) -> None:
    """Remove what killed processes left beside a target, and bring back a folder that one of them had set aside.

    A running process locks what it is writing, which is left alone. Where nothing can be locked, nothing is removed.
    """
    left = re.compile(re.escape(f".{target.name}.") + r"([0-9a-f]{8})\.(part|old)")
    for token in {found[1] for path in target.parent.glob(".*") if (found := left.fullmatch(path.name))}:
        part, old = _beside(target, token, "part"), _beside(target, token, "old")
        with suppress(OSError), _locked(part):
            if old.exists() and not target.exists():  # killed between its two renames
                old.rename(target)
            shutil.rmtree(old, ignore_errors=True)
            shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _folder_told(target: Path) -> Iterator[None]:
    """HmrError for a target that can be no folder of results, and for an error of the system when one is begun."""
    try:
        if target.exists() and not target.is_dir():
            raise NotADirectoryError(f"{target} is a file")
        if Path.cwd().is_relative_to(target):  # which would be in no folder any more
            raise IsADirectoryError("this process works in it")
        yield
    except OSError as error:
        raise HmrError(f"the folder {target} cannot be written: {_why(error)}. Choose another.") from error


@contextmanager
def _file_told(target: Path) -> Iterator[None]:
    """HmrError for a target that can be no file, and for an error of the system when one is begun."""
    try:
        if target.is_dir():
            raise IsADirectoryError(f"{target} is a folder")
        yield
    except OSError as error:
        raise HmrError(f"the file {target} cannot be written: {_why(error)}. Choose another.") from error


def _why(error: OSError) -> str:
    """Why a target cannot be begun, without the name that it has meanwhile."""
    if isinstance(error, FileExistsError):  # where a parent is to be
        return f"{error.filename} is a file"
    return error.strerror or str(error)


def _try(target: Path) -> None:
    """Begin the target, or the first of its parents that is not there, and leave nothing of it."""
    while not target.parent.exists():
        target = target.parent
    part, descriptor = _begin(target)
    shutil.rmtree(part, ignore_errors=True)
    os.close(descriptor)


@contextmanager
def _full_disk_told(target: Path) -> Iterator[None]:
    """HmrError for a disk, a quota or a file size that is used up, as Python, HDF5 and safetensors say it."""
    try:
        yield
    except Exception as error:  # each library has a type of its own for it
        number = getattr(error, "errno", None) or next((n for n in _FULL if f"os error {n})" in str(error)), None)
        if number not in _FULL:
            raise
        raise FullDiskError(number, target) from error


_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _begin(target: Path) -> tuple[Path, int]:
    """An empty folder beside the target, and the open descriptor that keeps it locked."""
    target.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(target)
    while True:
        part = _beside(target, secrets.token_hex(4), "part")
        part.mkdir()
        with suppress(FileNotFoundError):
            descriptor = os.open(part, os.O_RDONLY)
            with suppress(OSError):  # a file system that locks no folders
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if part.exists():
                return part, descriptor
            os.close(descriptor)
        # Another process cleared it away, as a leftover, before it was locked.


def _beside(target: Path, token: str, kind: str) -> Path:
    return target.with_name(f".{target.name}.{token}.{kind}")


@contextmanager
def _locked(part: Path) -> Iterator[None]:
    """Keep a leftover to this process; OSError when another one has it. One that is not there is nobody's."""
    if not part.exists():
        yield
        return
    descriptor = os.open(part, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def _settle(part: Path) -> None:
    """Bring all that is in a folder to the disk, with the permissions that new files have by the umask."""
    by_umask = part.stat().st_mode & 0o666
    for path in part.rglob("*"):
        mode = path.stat().st_mode & 0o777
        if path.is_file() and mode != by_umask:  # safetensors makes files that nobody else can read
            path.chmod(by_umask)
        _sync(path)
    _sync(part)


def _replace(part: Path, target: Path) -> None:
    if not target.exists():
        part.rename(target)
    else:
        old = part.with_suffix(".old")
        target.rename(old)
        try:
            part.rename(target)
        except BaseException:
            old.rename(target)
            raise
        shutil.rmtree(old, ignore_errors=True)
    _sync(target.parent)


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
