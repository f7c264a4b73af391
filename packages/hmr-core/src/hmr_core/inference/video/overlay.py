"""The video with its hands drawn over it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
from jaxtyping import UInt8
from numpy import ndarray

from hmr_core.inference.video.folder import KINDS, Kind
from hmr_core.inference.video.frames import quiet_opencv
from hmr_core.inference.video.tracker import TrackedHand
from hmr_core.staging import staged_file
from hmr_core.viz.hands import draw_hands

LONGEST_STILL_S = 2.0
"""So long a frame is shown at most, whatever the times of the frames say."""


class OverlayVideo:
    """Takes the frames of a video in their order. fps: of the video that is written."""

    def __init__(self, writer: Any, fps: float) -> None:
        self._writer, self._fps, self._written = writer, fps, 0

    def add(self, image: UInt8[ndarray, "height width 3"], hands: Sequence[TrackedHand], time_s: float) -> None:
        """Draw the hands of a frame, with their numbers and sides, and write it.

        Each frame is written, and those before a gap in time again, so that what is seen stays in time.
        """
        picture = draw_hands(image, hands, [f"{hand.track} {hand.side}" for hand in hands])
        frame = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        missing = round(time_s * self._fps) + 1 - self._written
        for _ in range(max(1, min(missing, round(LONGEST_STILL_S * self._fps)))):
            self._writer.write(frame)
            self._written += 1


@contextmanager
def overlay_video(
    folder: Path, stem: str, *, width: int, height: int, fps: float
) -> Iterator[tuple[str, OverlayVideo] | None]:
    """The name of a video in a folder, STEM.mp4, or STEM.avi where OpenCV writes no MP4, and what takes its frames.

    None where OpenCV writes neither. The file is there when the block ends, whole; an error leaves none.
    """
    kind = next((kind for kind in KINDS if _can_be_written(kind, width, height, fps)), None)
    if kind is None:
        yield None
        return
    with staged_file(folder / f"{stem}{kind.ending}") as part:
        made = part.with_name(f"video{kind.ending}")
        with _writer(kind, made, width, height, fps) as writer:
            yield part.name, OverlayVideo(writer, fps)
        made.rename(part)


def _can_be_written(kind: Kind, width: int, height: int, fps: float) -> bool:
    """Whether OpenCV writes videos of a kind here, of this size."""
    with (
        tempfile.TemporaryDirectory() as folder,
        _writer(kind, Path(folder) / f"video{kind.ending}", width, height, fps) as writer,
    ):
        return bool(writer.isOpened())


@contextmanager
def _writer(kind: Kind, path: Path, width: int, height: int, fps: float) -> Iterator[Any]:
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        # OpenCV takes names of UTF-8 alone.
        name = str(path) if _is_utf8(path) else f"/dev/fd/{descriptor}/{path.name}"
        with quiet_opencv():
            writer = cv2.VideoWriter(name, kind.backend, cv2.VideoWriter.fourcc(*kind.codec), fps, (width, height))
        try:
            yield writer
        finally:
            writer.release()
    finally:
        os.close(descriptor)


def _is_utf8(path: Path) -> bool:
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
