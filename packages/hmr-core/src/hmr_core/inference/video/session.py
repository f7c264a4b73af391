"""One video from its frames to the files of its hands, which can be stopped and gone on with."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from hmr_core.errors import HmrError
from hmr_core.inference.photo import Photo
from hmr_core.inference.predictor import Predictor
from hmr_core.inference.video.arrays import TrackSummary, write_arrays
from hmr_core.inference.video.folder import VideoFolder
from hmr_core.inference.video.frames import Frame, Frames
from hmr_core.inference.video.lines import frame_line, hands_of_line, read_lines
from hmr_core.inference.video.overlay import OverlayVideo, overlay_video
from hmr_core.inference.video.request import VideoRequest
from hmr_core.inference.video.tracker import SettledFrame, VideoWork
from hmr_core.interrupts import StopRequest

STATE_EVERY = 50
"""Frames. So many are predicted again, at most, when a process was killed."""


@dataclass(kw_only=True)
class VideoResult:
    """What was made of a video.

    name: of the video. folder: of its files. frames: how many have their hands written. overlay: the name of the video
    with its hands; None where there is none. error: why it is not whole; what was done before is there.
    stopped: whether a signal ended it. done_before: whether it was whole already.
    """

    name: str
    folder: Path
    frames: int = 0
    tracks: list[TrackSummary] = field(default_factory=list)
    overlay: str | None = None
    error: HmrError | None = None
    stopped: bool = False
    done_before: bool = False


def predict_video(
    predictor: Predictor,
    opens: Callable[[], AbstractContextManager[Frames]],
    request: VideoRequest,
    folder: VideoFolder,
    *,
    name: str,
    about: Mapping[str, Any],
    identity: Mapping[str, Any],
    resume: bool = False,
    on_open: Callable[[Frames, int], None] = lambda frames, done: None,
    on_frame: Callable[[int], None] = lambda hands: None,
    stop: StopRequest | None = None,
) -> VideoResult:
    """Predict the hands of a video, and write them into its folder as it goes.

    opens: opens its frames. about: what video.json says besides. identity: what tells the video from another. resume:
    go on with what is there. on_open is told of the frames, and how many were done before; on_frame, how many hands
    each frame has. stop: when it asks to, the work is left in order.
    What fails is the result's error, and what was done before is kept.
    """
    result = VideoResult(name=name, folder=folder.path)
    try:
        folder.check(resume=resume)
        with opens() as frames, folder.locked():
            size = {"width": frames.width, "height": frames.height}
            asked = {"video": {**identity, **size}, "predictor": predictor.as_report(), **request.as_report()}
            record = folder.record()
            state = folder.begin(asked, resume=resume)
            if record is not None and record.get("finished"):
                _take_over(record, result)
                return result
            on_open(frames, state["frames"] if state else 0)
            work = _Work(
                predictor=predictor,
                frames=frames,
                request=request,
                folder=folder,
                result=result,
                record={"file": name, **size, "fps": frames.fps, **about, "asked": asked},
                state=state or {},
                on_frame=on_frame,
                stop=stop or StopRequest(),
            )
            work.to_the_end()
    except HmrError as error:
        result.error = result.error or error
    return result


@dataclass(kw_only=True)
class _Work:
    """A video, what is made of it, and how far it is."""

    predictor: Predictor
    frames: Frames
    request: VideoRequest
    folder: VideoFolder
    result: VideoResult
    record: dict[str, Any]
    state: dict[str, Any]
    on_frame: Callable[[int], None]
    stop: StopRequest
    work: VideoWork | None = None
    waiting: deque[Frame] = field(default_factory=deque)

    def to_the_end(self) -> None:
        """Go through the frames, until they end, or something ends them; then leave all in order."""
        result, frames = self.result, self.frames
        result.frames = self.state.get("lines", 0)
        made = (
            nullcontext()
            if not self.request.overlay
            else overlay_video(
                self.folder.path, self.folder.stem, width=frames.width, height=frames.height, fps=frames.fps
            )
        )
        with made as named:
            result.overlay, overlay = named or (None, None)
            try:
                self._go_through(overlay)
            except HmrError as error:
                result.error = HmrError(f"{result.name}: {error.message}", *error.remedy)
            else:
                result.error = frames.trouble
        finished = not result.stopped and (result.error is None or result.error is frames.trouble)
        if result.frames == 0:
            self.folder.clear()
            return
        assert self.work is not None
        summary = write_arrays(
            self.folder.lines, self.folder.arrays, intrinsics=self.work.camera.intrinsics, fps=frames.fps
        )
        result.tracks = list(summary.tracks.values())
        self._write_record(finished=finished)
        if finished:
            self.folder.finish()

    def _go_through(self, overlay: OverlayVideo | None) -> None:
        """Each frame: drawn by the line that it has already, or predicted."""
        begun = self.state.get("frames", 0)
        lines = read_lines(self.folder.lines) if self.result.frames else iter(())
        for frame in self.frames:
            work = self._work(frame)
            if overlay is not None:
                self.waiting.append(frame)
            if frame.index < begun:
                self._draw(overlay, islice(lines, 1))
            else:
                self._draw(overlay, self._written(work.settled(frame.image, frame.index, frame.time_s)))
                self.on_frame(work.seen)
                if (frame.index + 1) % STATE_EVERY == 0:
                    self._save(frame.index + 1)
            if self.stop.number and not self.frames.endless:
                self.result.stopped = True
                if frame.index >= begun:
                    self._save(frame.index + 1)
                return
            if self.stop.number:
                break
        if self.work is not None:
            self._draw(overlay, self._written(self.work.rest()))

    def _work(self, frame: Frame) -> VideoWork:
        """What predicts the frames; the first one makes it."""
        if self.work is None:
            photo = Photo(frame.image, frame.lens)
            self.work = VideoWork(self.predictor, photo, self.request)
            if self.state:
                self.work.restore(self.state["work"])
            camera = self.work.camera
            self.record |= {"intrinsics": camera.intrinsics.tolist(), "intrinsics_from": camera.intrinsics_from}
            self._write_record(finished=False)
        return self.work

    def _written(self, settled: Iterable[SettledFrame]) -> Iterator[dict[str, Any]]:
        """Write the lines of frames; gives what is in them."""
        for frame in settled:
            line = frame_line(frame)
            self.folder.add(line)
            self.result.frames += 1
            yield json.loads(line)

    def _draw(self, overlay: OverlayVideo | None, lines: Iterable[dict[str, Any]]) -> None:
        """Draw the frames that have lines. What is drawn is what the lines say, whenever it is drawn."""
        for line in lines:
            if overlay is not None:
                frame = self.waiting.popleft()
                overlay.add(frame.image, hands_of_line(line, self.predictor), frame.time_s)

    def _save(self, frames: int) -> None:
        assert self.work is not None
        if not self.frames.endless:
            self.folder.save_state({"frames": frames, "lines": self.result.frames, "work": self.work.state()})

    def _write_record(self, *, finished: bool) -> None:
        result = self.result
        self.folder.write_record(
            {
                **self.record,
                "frames": result.frames,
                "finished": finished,
                "error": None if result.error is None else str(result.error),
                "overlay": result.overlay,
                "tracks": [track.as_json() for track in result.tracks],
            }
        )


def _take_over(record: Mapping[str, Any], result: VideoResult) -> None:
    """A result of a video that was whole already."""
    result.done_before, result.frames, result.overlay = True, record["frames"], record["overlay"]
    result.tracks = [TrackSummary(**values) for values in record["tracks"]]
