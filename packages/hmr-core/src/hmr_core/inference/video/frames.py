"""Where the frames of a video come from: a file, a folder of pictures, a camera. One frame at a time is in memory."""

from __future__ import annotations

import math
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from hmr_core.errors import HmrError, UsageError
from hmr_core.file_kinds import BEGINNING, file_kind
from hmr_core.files import is_there, open_regular, utf8_name
from hmr_core.inference.exif import Lens
from hmr_core.inference.numbers import Number, number_between
from hmr_core.inference.photo import ENDINGS, is_video, read_photo
from hmr_core.wording import counted

USUAL_FPS = 30.0
"""Frames a second where a video or a camera does not tell them."""

FASTEST_FPS = 1000.0

_SHORTFALL = 0.02
"""A container's number of frames is an estimate. If more than this share of them is missing, the video was cut off."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A frame of a video: its number from 0, its time in seconds, its picture, upright, RGB, and its lens, if told."""

    index: int
    time_s: float
    image: UInt8[ndarray, "height width 3"]
    lens: Lens | None = None


@dataclass(kw_only=True, eq=False)
class Frames:
    """The frames of a video, to be gone through once.

    name: of the file, the folder or the camera. width, height: of all frames, pixels. fps: frames a second, on the
    average. count: how many frames there should be; None where nobody knows. endless: whether only a user ends it.
    trouble: what ended the video before its end, once it was gone through.
    """

    name: str
    width: int
    height: int
    fps: float
    count: int | None
    endless: bool = False
    trouble: HmrError | None = None
    source: Iterator[Frame] = field(repr=False)

    def __iter__(self) -> Iterator[Frame]:
        """Each frame. One of another size than the first ends the video: its camera is another."""
        done = 0
        try:
            for frame in self.source:
                height, width = frame.image.shape[:2]
                if (width, height) != (self.width, self.height):
                    self.trouble = HmrError(
                        f"{self.name}: frame {frame.index} has {width}x{height} pixels, and the frames before it have "
                        f"{self.width}x{self.height}. The video was taken to end there."
                    )
                    return
                yield frame
                done += 1
        except HmrError as error:
            self.trouble = error
            return
        if self.count is not None and self.count - done > max(2, _SHORTFALL * self.count):
            self.trouble = HmrError(
                f"{self.name} ends after {counted(done, 'frame')}, though it should have {self.count}: it is cut off "
                "or damaged."
            )


def is_video_file(path: Path) -> bool:
    """Whether a path names a video, by its first bytes or its name; a file that cannot be read has its name alone."""
    try:
        with open_regular(path) as file:
            return is_video(path, file.read(64))
    except OSError:
        return is_video(path)


def given_fps(fps: Number) -> float:
    """Frames a second; UsageError for a number that no video has."""
    return number_between(fps, 0.01, FASTEST_FPS, name="{} frames a second", valid=f"0.01 to {FASTEST_FPS:g}.")


@contextmanager
def video_file(path: Path) -> Iterator[Frames]:
    """The frames of a video file, turned upright as the file says, at their own times.

    Raises HmrError, naming the file, where it cannot be read, is no video, or has no frame.
    """
    with ExitStack() as opened:
        try:
            name = opened.enter_context(utf8_name(path))
            capture = opened.enter_context(_capture(str(name), cv2.CAP_FFMPEG))
            if capture is None:
                raise HmrError(f"{path} is not a video that can be decoded{_instead(path)}.")
        except OSError as error:  # of the video alone, and not of what is written while it is gone through
            raise HmrError(f"the video {path} cannot be read: {error.strerror or error}.") from error
        fps = _sensible_fps(capture.get(cv2.CAP_PROP_FPS))
        count = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        yield _frames(
            str(path),
            _decoded(capture, fps, str(path)),
            fps=fps,
            count=round(count) if math.isfinite(count) and 0 < count < 1e9 else None,
        )


@contextmanager
def frame_folder(folder: Path, fps: Number) -> Iterator[Frames]:
    """The photos of a folder as the frames of a video, by name, numbers in names by their value.

    Raises HmrError for a folder without photos, or whose first photo cannot be read.
    """
    rate = given_fps(fps)
    files = sorted((f for f in folder.iterdir() if f.suffix.lower() in ENDINGS and not f.is_dir()), key=_by_number)
    if not files:
        raise HmrError(f"the folder {folder} has no photos in it. Photos end in {', '.join(ENDINGS)}.")
    yield _frames(str(folder), _read(files, rate), fps=rate, count=len(files))


@contextmanager
def camera(number: int) -> Iterator[Frames]:
    """The frames of a camera of this machine, as they come. HmrError where it cannot be opened; it lists those there.

    Frames that come while one is worked on are left out, so that the next one is new.
    """
    with _capture(number, cv2.CAP_ANY) as capture:
        if capture is None:
            raise HmrError(f"camera {number} cannot be opened. {_cameras_there()}")
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        fps = _sensible_fps(capture.get(cv2.CAP_PROP_FPS))
        yield _frames(f"camera {number}", _watched(capture, number), fps=fps, count=None, endless=True)


def _frames(name: str, source: Iterator[Frame], *, fps: float, count: int | None, endless: bool = False) -> Frames:
    first = next(source, None)
    if first is None:
        raise HmrError(f"{name} gives no frame: there is no picture in it that can be decoded.")

    def whole() -> Iterator[Frame]:
        yield first
        yield from source

    height, width = first.image.shape[:2]
    return Frames(name=name, width=width, height=height, fps=fps, count=count, endless=endless, source=whole())


def _decoded(capture: Any, fps: float, name: str) -> Iterator[Frame]:
    """What decodes. Times go forward, whatever the file says."""
    index, last = 0, -math.inf
    while True:
        try:
            there, image = capture.read()
        except cv2.error as error:
            raise HmrError(f"{name} cannot be decoded after frame {index}: {' '.join(str(error).split())}.") from error
        if not there or image is None:
            return
        at = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if not (math.isfinite(at) and at > last):
            at = last + 1 / fps if index else 0.0
        yield Frame(index, at, _rgb(image))
        index, last = index + 1, at


def _read(files: Sequence[Path], fps: float) -> Iterator[Frame]:
    for index, file in enumerate(files):
        photo = read_photo(file)
        yield Frame(index, index / fps, photo.image, photo.lens)


def _watched(capture: Any, number: int) -> Iterator[Frame]:
    start, index = None, 0
    while True:
        there, image = capture.read()
        if not there or image is None:
            raise HmrError(f"camera {number} gives no {'more frames' if index else 'frame'}. Plug it in again.")
        now = time.monotonic()
        start = now if start is None else start
        yield Frame(index, now - start, _rgb(image))
        index += 1


def _rgb(image: ndarray) -> UInt8[ndarray, "height width 3"]:
    """OpenCV's frame as RGB."""
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


@contextmanager
def _capture(source: str | int, backend: int) -> Iterator[Any]:
    """OpenCV's capture of a source; None where it opens none. OpenCV's and FFmpeg's lines are kept from the screen."""
    with quiet_opencv():
        capture = cv2.VideoCapture(source, backend)
    try:
        yield capture if capture.isOpened() else None
    finally:
        capture.release()


_SILENT = 0
"""OpenCV's LOG_LEVEL_SILENT."""


@contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV's warnings from the screen for a moment, and FFmpeg's: what fails is told in our own words."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # OpenCV reads it once, when it first opens a video
    logging: Any = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2  # before OpenCV 5 they are cv2's own
    before = logging.getLogLevel()
    logging.setLogLevel(_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)


def _sensible_fps(fps: float) -> float:
    return float(fps) if math.isfinite(fps) and 0 < fps <= FASTEST_FPS else USUAL_FPS


def _by_number(file: Path) -> list[tuple[int, int, str]]:
    """A name's order: frame_9 comes before frame_10."""
    parts = re.findall(r"\d+|\D+", file.name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]


def _instead(path: Path) -> str:
    """What a file is instead of a video, behind "it is not a video"."""
    with open_regular(path) as file:
        begin = file.read(BEGINNING)
    kind = file_kind(begin)
    if kind:
        return f": it is {kind}"
    # The bytes alone tell a video here: any file may have a video's name.
    if is_video(Path("file"), begin):
        return ": it is damaged, cut off, or has no frame. Get it again"
    return ""


def _cameras_there() -> str:
    if not sys.platform.startswith("linux"):
        return "Choose one that is there, and let this program use it."
    there = sorted(path.name.removeprefix("video") for path in Path("/dev").glob("video*"))
    if not there:
        return "There is none: no /dev/video*."
    return f"There are: {', '.join(there)}."


def check_there(path: Path) -> None:
    """HmrError where there is nothing at a path."""
    if not is_there(path):
        raise HmrError(f"no such video: {path}.")


def check_camera(number: int) -> None:
    """UsageError for what is no camera's number."""
    if number < 0:
        raise UsageError(f"camera {number}; valid: 0 for the first camera, 1 for the second, and so on.")
