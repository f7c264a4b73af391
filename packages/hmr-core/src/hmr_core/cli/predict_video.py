"""`hmr predict` of videos, folders of frames and cameras."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hmr_core.errors import HmrError, UsageError
from hmr_core.inference.video.request import HANDS, MOST_HANDS, VideoRequest
from hmr_core.shell import flag
from hmr_core.wording import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from hmr_core.inference.predictor import Predictor
    from hmr_core.inference.request import PhotoRequest
    from hmr_core.inference.video.folder import VideoFolder
    from hmr_core.inference.video.frames import Frames
    from hmr_core.inference.video.session import VideoResult
    from hmr_core.interrupts import StopRequest


SHOWN = 12
"""So many hands are told of."""


@dataclass(frozen=True, kw_only=True)
class VideoOptions:
    """The options of videos, as they were given."""

    camera: int | None
    fps: float | None
    hands: int
    smooth: str
    smooth_sets: tuple[str, ...]
    resume: bool

    def given(self) -> list[str]:
        """The flags that were given a value of their own."""
        own = {
            "--camera": self.camera is not None,
            "--fps": self.fps is not None,
            "--hands": self.hands != HANDS,
            "--smooth": self.smooth != "on",
            "--smooth-set": bool(self.smooth_sets),
            "--resume": self.resume,
        }
        return [name for name, is_given in own.items() if is_given]


_OPTIONS = (
    click.option("--camera", type=int, metavar="N", help="Videos: watch a camera, 0 for the first, until Ctrl-C."),
    click.option(
        "--fps",
        type=float,
        metavar="N",
        help="Videos: take a folder's photos, by name, for the frames of a video, so many a second.",
    ),
    click.option(
        "--hands",
        type=click.IntRange(1, MOST_HANDS),
        default=HANDS,
        show_default=True,
        help="Videos: follow so many at most.",
    ),
    click.option(
        "--smooth",
        type=click.Choice(("on", "off")),
        default="on",
        show_default=True,
        help="Videos: smooth places and rotations in time.",
    ),
    click.option(
        "--smooth-set",
        "smooth_sets",
        multiple=True,
        metavar="KEY=VALUE",
        help="Videos: how. Cutoffs at rest in Hz: place_cutoff, depth_cutoff, rotation_cutoff; how they grow with the "
        "speed: place_beta, depth_beta, rotation_beta.",
    ),
    click.option("--resume", is_flag=True, help="Videos: go on with what is in the folder of the results."),
)


def video_options(command: Callable[..., int]) -> Callable[..., int]:
    """Give a command the options of videos, as one argument `video`."""

    @wraps(command)
    def with_video(**given: Any) -> int:
        names = VideoOptions.__dataclass_fields__
        video = VideoOptions(**{name: given.pop(name) for name in names})
        return command(video=video, **given)

    decorated: Callable[..., int] = with_video
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def wants_videos(files: Sequence[Path], video: VideoOptions) -> bool:
    """Whether videos are to be predicted, and not photos. UsageError where options and files do not go together."""
    from hmr_core.files import is_there
    from hmr_core.inference.video.frames import is_video_file

    if video.camera is not None:
        if files:
            raise UsageError("--camera and FILE... were both given. Give one of them.")
        if video.resume or video.fps is not None:
            raise UsageError(
                f"{'--resume' if video.resume else '--fps'} is for videos and folders: a camera's frames come once, at "
                "their own times."
            )
        return True
    if not files:
        raise UsageError("nothing to predict: give a FILE (a photo, a folder, a video), or --camera 0.")
    folders = [file for file in files if is_there(file) and file.is_dir()]
    if video.fps is not None and not folders:
        raise UsageError("--fps is for folders of frames: a video has its own times, and a photo has none.")
    are = [is_video_file(file) or (video.fps is not None and file in folders) for file in files]
    if all(are):
        return True
    given = video.given()
    if given:
        raise UsageError(
            f"{given[0]} is for videos, and {files[are.index(False)]} is none. Predict photos by themselves."
        )
    return False


def predict_videos(
    files: Sequence[Path],
    video: VideoOptions,
    request: PhotoRequest,
    out: Path,
    make: Callable[[], Predictor],
    *,
    pictures: bool,
) -> int:
    """Predict the hands of videos, of folders of frames, or of a camera, and tell of them.

    make: loads what predicts, once all that can be wrong before was looked at. pictures: whether to draw the hands over
    the videos.
    """
    from hmr_core.cli.main import current_command
    from hmr_core.inference.video.frames import check_there
    from hmr_core.inference.video.smoothing import smoothing_options
    from hmr_core.interrupts import Stopped, stop_requests
    from hmr_core.processes import place
    from hmr_core.provenance import provenance

    if video.smooth == "off" and video.smooth_sets:
        raise UsageError("--smooth-set says how to smooth, and --smooth off not to. Give one of them.")
    asked = VideoRequest(
        photo=request,
        hands=video.hands,
        smoothing=None if video.smooth == "off" else smoothing_options(video.smooth_sets),
        overlay=pictures,
    )
    sources = _sources(files, video, out)
    _check_any(lambda source: _check(source, check_there, resume=video.resume), sources)
    predictor = make()
    about = {**predictor.as_report(), "started": provenance(current_command())}
    results = []
    with stop_requests() as stop:
        for source in place().share_of(sources):
            result = _predict(predictor, source, asked, about, video.resume, stop)
            results.append(result)
            if result.stopped:
                break
            _tell(result, asked.overlay)
    failed = [result for result in results if result.error is not None]
    if failed and len(failed) == len(results) and not any(result.frames for result in results):
        assert failed[0].error is not None
        raise failed[0].error
    for result in failed:
        assert result.error is not None
        click.echo(f"error: {result.error.worded(flag)}", err=True)
    if results and results[-1].stopped:
        _tell(results[-1], asked.overlay)
        again = current_command()
        click.echo(f"interrupted; to go on: {again if video.resume else f'{again} --resume'}", err=True)
        raise Stopped(stop.number, told=True)
    click.echo(f"hand model: {predictor.hand_model.label}")
    return 1 if failed else 0


@dataclass(frozen=True, kw_only=True)
class _Source:
    """Where frames come from: its name, what opens it, what tells it from another, and the folder of its results."""

    name: str
    path: Path | None
    opened: Callable[[], AbstractContextManager[Frames]]
    identity: Mapping[str, Any]
    folder: VideoFolder


def _sources(files: Sequence[Path], video: VideoOptions, out: Path) -> list[_Source]:
    """The videos that are asked for. One has its results in the folder itself, each of several in one of its own."""
    from hmr_core.inference.photos import stems
    from hmr_core.inference.video.folder import VideoFolder
    from hmr_core.inference.video.frames import camera, check_camera, frame_folder, video_file

    if video.camera is not None:
        number = video.camera
        check_camera(number)
        return [
            _Source(
                name=f"camera {number}",
                path=None,
                opened=lambda: camera(number),
                identity={"camera": number},
                folder=VideoFolder(out, f"camera-{number}"),
            )
        ]
    unique = list(dict.fromkeys(files))
    sources = []
    for path, stem in zip(unique, stems(unique), strict=True):
        folder = VideoFolder(out if len(unique) == 1 else out / stem, stem)
        if path.is_dir():
            opened, identity = _folder_opener(path, video.fps, frame_folder), {"folder": path.name, "fps": video.fps}
        else:
            size = path.stat().st_size if path.is_file() else None
            opened, identity = _file_opener(path, video_file), {"file": path.name, "bytes": size}
        sources.append(_Source(name=str(path), path=path, opened=opened, identity=identity, folder=folder))
    return sources


def _folder_opener(path: Path, fps: float | None, opens: Any) -> Callable[[], AbstractContextManager[Frames]]:
    return lambda: opens(path, fps)


def _file_opener(path: Path, opens: Any) -> Callable[[], AbstractContextManager[Frames]]:
    return lambda: opens(path)


def _check(source: _Source, check_there: Callable[[Path], None], *, resume: bool) -> None:
    if source.path is not None:
        check_there(source.path)
    source.folder.check(resume=resume)


def _check_any(check: Callable[[_Source], None], sources: Sequence[_Source]) -> None:
    """Raise the first error where none of the videos can be worked on; where some can, each error is told later."""
    errors = []
    for source in sources:
        try:
            check(source)
        except HmrError as error:
            errors.append(error)
    if len(errors) == len(sources):
        raise errors[0]


def _predict(
    predictor: Predictor,
    source: _Source,
    asked: VideoRequest,
    about: Mapping[str, Any],
    resume: bool,
    stop: StopRequest,
) -> VideoResult:
    """One video, with its progress."""
    from hmr_core.cli.progress import progress
    from hmr_core.inference.video.session import predict_video

    with ExitStack() as shown:
        advance: list[Any] = []

        def on_open(frames: Frames, done: int) -> None:
            advance.append(shown.enter_context(progress(frames.name, frames.count, "frames", done=done)))

        return predict_video(
            predictor,
            source.opened,
            asked,
            source.folder,
            name=source.name,
            about=about,
            identity=source.identity,
            resume=resume,
            on_open=on_open,
            on_frame=lambda hands: advance[0](1, counted(hands, "hand")),
            stop=stop,
        )


def _tell(result: VideoResult, overlay: bool) -> None:
    """Say what was made of a video."""
    from hmr_core.inference.video.folder import ARRAYS, LINES, RECORD

    if not result.frames:
        return
    if result.done_before:
        click.echo(f"{result.name}: done before")
    tracks = [f"{track.track} {track.side} ({counted(track.frames, 'frame')})" for track in result.tracks]
    shown = ", ".join(tracks[:SHOWN]) + (f", and {len(tracks) - SHOWN} more" if len(tracks) > SHOWN else "")
    hands = f"{counted(len(tracks), 'hand')}: {shown}" if tracks else "no hand found"
    click.echo(f"{result.name}: {counted(result.frames, 'frame')}, {hands}")
    if overlay and result.overlay is None:
        click.echo("note: OpenCV writes no video here, so there is none with the hands drawn over it", err=True)
    elif result.overlay is not None and result.overlay.endswith(".avi"):
        click.echo("note: OpenCV writes no MP4 here: the video with the hands is Motion JPEG in an AVI file", err=True)
    written = [LINES, ARRAYS, RECORD, *([result.overlay] if result.overlay else [])]
    click.echo(f"written: {result.folder}/ with {', '.join(written)}")
