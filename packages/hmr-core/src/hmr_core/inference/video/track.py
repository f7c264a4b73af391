"""`hmr.track`: the hands of a video, frame by frame, in a loop."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from pathlib import Path

from numpy import ndarray

from hmr_core.errors import Option, UsageError
from hmr_core.inference.numbers import Number, Numbers
from hmr_core.inference.predictor import Predictor
from hmr_core.inference.video.frames import Frame, Frames, check_there, frame_folder, given_fps, video_file
from hmr_core.inference.video.request import HANDS
from hmr_core.inference.video.smoothing import Smoothing
from hmr_core.inference.video.tracker import TrackedHand, Tracker


def track(
    predictor: Predictor,
    frames: Path | str | Iterable[ndarray],
    *,
    fps: Number | None = None,
    side: str | None = None,
    intrinsics: Numbers | None = None,
    fov: Number | None = None,
    hand_size: Number | None = None,
    hands: int = HANDS,
    smooth: bool | Smoothing = True,
) -> Iterator[tuple[int, float, list[TrackedHand]]]:
    """Go through a video: for each frame its number, its time in seconds, and its hands, as soon as it is seen.

    frames: a video's path, a folder of photos, or pictures (height, width, 3), uint8, RGB, one after another, however
    many. fps: frames a second, of a folder or of pictures; a video has its own times. The others are those of Tracker,
    whose `step` takes frames at times of their own, as a camera gives them.
    One frame is in memory at a time. Raises UsageError, before the first frame, for what cannot be, and HmrError where
    a video cannot be read or predicted on; of one that is cut off, after the last frame that is whole.
    """
    tracker = Tracker(
        predictor, side=side, intrinsics=intrinsics, fov=fov, hand_size=hand_size, hands=hands, smooth=smooth
    )
    return _tracked(tracker, _opened(frames, fps))


def _tracked(
    tracker: Tracker, opened: AbstractContextManager[Iterable[Frame]]
) -> Iterator[tuple[int, float, list[TrackedHand]]]:
    with opened as frames:
        for frame in frames:
            yield frame.index, frame.time_s, tracker.step(frame.image, frame.time_s)
        if isinstance(frames, Frames) and frames.trouble is not None:
            raise frames.trouble


def _opened(frames: Path | str | Iterable[ndarray], fps: Number | None) -> AbstractContextManager[Iterable[Frame]]:
    if isinstance(frames, Path | str):
        path = Path(frames)
        check_there(path)
        if not path.is_dir():
            if fps is not None:
                raise UsageError(f"{path} is a video, which has its own times.", "Leave ", Option("fps"), " out.")
            return video_file(path)
        if fps is None:
            raise UsageError(
                f"{path} is a folder, and its photos have no times.",
                "Say how many there are a second: ",
                Option("fps", 30),
                ".",
            )
        given_fps(fps)
        return frame_folder(path, fps)
    if not isinstance(frames, Iterable):
        raise UsageError(f"frames as {type(frames).__name__}; valid: a path, or pictures one after another.")
    if fps is None:
        raise UsageError(
            "pictures have no times.",
            "Say how many there are a second: ",
            Option("fps", 30),
            ". Tracker.step takes times.",
        )
    rate = given_fps(fps)
    return nullcontext(Frame(i, i / rate, image) for i, image in zip(count(), frames, strict=False))
