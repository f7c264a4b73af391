"""The folder of a video's results: what is in it, and how far an unfinished one is.

video.json says what was asked and found, hands.jsonl has the hands, hands.npz the same as arrays, STEM.mp4 shows them.
While a video is worked on, state.json says, every now and then, from where the work can go on: after how many bytes of
hands.jsonl, and with what in memory. What was written after that is made again, the same.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2

from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.files import read_bytes
from hmr_core.inference.video.state import read_state, state_text
from hmr_core.staging import append_text, check_folder_writable, write_text

FORMAT = "hmr-video/1"


class Kind(NamedTuple):
    """A kind of video: the ending of its name, its codec, and which part of OpenCV writes it."""

    ending: str
    codec: str
    backend: int


KINDS = (Kind(".mp4", "mp4v", cv2.CAP_FFMPEG), Kind(".avi", "MJPG", cv2.CAP_OPENCV_MJPEG))
"""The kinds of the video with the hands drawn over it; the first that can be written is."""

RECORD, LINES, ARRAYS, STATE = "video.json", "hands.jsonl", "hands.npz", "state.json"


@dataclass(frozen=True)
class VideoFolder:
    """The folder of one video's results. stem: of the names of its overlay."""

    path: Path
    stem: str

    @property
    def lines(self) -> Path:
        """The file of lines."""
        return self.path / LINES

    @property
    def arrays(self) -> Path:
        """The file of arrays."""
        return self.path / ARRAYS

    def check(self, *, resume: bool) -> None:
        """HmrError for a folder that cannot be written, or holds something other than this video's results, or, unless
        they are to be gone on with, these.
        """
        if not self.path.exists():
            check_folder_writable(self.path)
            return
        if not self.path.is_dir():
            raise HmrError(f"{self.path} is a file, and results are a folder.", "Choose another ", Option("out"), ".")
        own = {RECORD, LINES, ARRAYS, STATE, *(f"{self.stem}{kind.ending}" for kind in KINDS)}
        there = sorted(path.name for path in self.path.iterdir() if not _is_leftover(path.name))
        record = self.record()
        if foreign := [name for name in there if name not in own or record is None]:
            raise HmrError(
                f"{self.path} holds something other than this video's hands ({foreign[0]}), so it is left alone.",
                "Choose another ",
                Option("out"),
                ".",
            )
        if record is not None and not resume:
            how_far = "whole" if record.get("finished") else "unfinished"
            raise HmrError(
                f"{self.path} holds the hands of {record.get('file')} already, {how_far}; they are left alone.",
                "Choose another ",
                Option("out"),
                *(() if record.get("finished") else (", or go on with them by ", Option("resume"))),
                ".",
            )

    def record(self) -> dict[str, Any] | None:
        """What video.json has; None where there is none of ours."""
        try:
            values: dict[str, Any] = json.loads(read_bytes(self.path / RECORD))
            return values if values["format"] == FORMAT else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write_record(self, values: Mapping[str, Any]) -> None:
        """Write video.json."""
        write_text(self.path / RECORD, json.dumps({"format": FORMAT, **values}, indent=2) + "\n")

    def begin(self, asked: Mapping[str, Any], *, resume: bool) -> dict[str, Any] | None:
        """Make ready for lines: the state to go on from, with the lines that it is for; None for a new beginning.

        asked: all that the hands depend on. Raises UsageError where an unfinished one was asked for something else.
        """
        record = self.record()
        if record is not None and resume:
            _check_asked(self.path, record.get("asked"), asked)
            if record.get("finished"):
                return None
            state = self._state()
            if state is not None:
                os.truncate(self.lines, state["bytes"])
                return state
        self.path.mkdir(parents=True, exist_ok=True)
        self.lines.unlink(missing_ok=True)
        (self.path / STATE).unlink(missing_ok=True)
        return None

    def add(self, line: str) -> None:
        """Write a line, whole, at the end of hands.jsonl."""
        append_text(self.lines, line)

    def save_state(self, values: Mapping[str, Any]) -> None:
        """Write from where work can go on; the lines are on the disk before."""
        size = 0
        if self.lines.exists():
            with self.lines.open("rb") as file:
                os.fsync(file.fileno())
                size = file.seek(0, os.SEEK_END)
        write_text(self.path / STATE, state_text({**values, "bytes": size}))

    def finish(self) -> None:
        """Nothing is to go on from here."""
        (self.path / STATE).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what there is of a video that gave nothing."""
        for name in (RECORD, LINES, ARRAYS, STATE, *(f"{self.stem}{kind.ending}" for kind in KINDS)):
            (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder and keep it to this process.

        HmrError where it cannot be made, and where another process writes into it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            raise HmrError(
                f"the folder {self.path} cannot be made: {error.strerror}.", "Choose another ", Option("out"), "."
            ) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise HmrError(
                    f"another process writes into {self.path}.", "Choose another ", Option("out"), "."
                ) from None
            except OSError:  # a file system that locks no folders
                pass
            yield
        finally:
            os.close(descriptor)
            with suppress(OSError):  # of a video that gave nothing; it is empty then
                self.path.rmdir()

    def _state(self) -> dict[str, Any] | None:
        """The state to go on from; None where there is none yet, or its lines are gone."""
        try:
            state = read_state((self.path / STATE).read_text(encoding="utf-8"))
            size = self.lines.stat().st_size if self.lines.exists() else 0
            return state if size >= state["bytes"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


def _check_asked(folder: Path, before: object, now: Mapping[str, Any]) -> None:
    now = json.loads(json.dumps(now))
    before = before if isinstance(before, dict) else {}
    for key in sorted({*before, *now}):
        if before.get(key) != now.get(key):
            raise UsageError(
                f"{folder} was begun with {key} {json.dumps(before.get(key))}, and now it is "
                f"{json.dumps(now.get(key))}.",
                "To go on, ask for the same; for something else choose another ",
                Option("out"),
                ".",
            )


def _is_leftover(name: str) -> bool:
    """Whether a name is that of a file in the making, which a killed process may have left."""
    return name.startswith(".") and name.endswith((".part", ".old"))
