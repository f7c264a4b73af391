"""Where frames come from: videos with times of their own, turned, cut off, or none; folders; cameras."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest

from hmr_core.errors import HmrError, UsageError
from hmr_core.inference.video.frames import (
    Frame,
    Frames,
    camera,
    check_camera,
    frame_folder,
    is_video_file,
    video_file,
)
from hmr_core.pictures import write_png

COUNT = 20


@pytest.fixture
def video(world: ModuleType, tmp_path: Path) -> Path:
    made: Path = world.write_video(tmp_path / "film.mp4", "still", COUNT)
    return made


def read(opened: AbstractContextManager[Frames]) -> tuple[Frames, list[Frame]]:
    with opened as frames:
        return frames, list(frames)


def test_a_video_gives_its_frames_in_order(world: ModuleType, video: Path) -> None:
    frames, seen = read(video_file(video))
    assert (frames.width, frames.height, frames.fps, frames.count) == (world.WIDTH, world.HEIGHT, 30, COUNT)
    assert [frame.index for frame in seen] == [world.read(frame.image)[1] for frame in seen] == list(range(COUNT))
    np.testing.assert_allclose([frame.time_s for frame in seen], np.arange(COUNT) / 30, atol=1e-3)
    assert frames.trouble is None
    true = world.picture("still", 3).astype(float)
    assert np.abs(seen[3].image[60:] - true[60:]).mean() < 4  # RGB, not BGR


def test_a_phone_s_video_is_turned_upright(video: Path) -> None:
    """A phone that is held upright stores its frames lying, with a matrix that turns them."""
    stored = bytearray(video.read_bytes())
    matrix = stored.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    stored[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    turned = video.with_name("turned.mp4")
    turned.write_bytes(stored)
    frames, seen = read(video_file(turned))
    assert (frames.width, frames.height) == (240, 320)
    upright = np.rot90(read(video_file(video))[1][0].image, -1)
    np.testing.assert_array_equal(seen[0].image, upright)


def test_times_are_those_of_the_frames(video: Path) -> None:
    """Half of the frames at 30 a second, half at 10."""
    stored = video.read_bytes()
    begin = stored.index(b"stts") - 4
    (size,) = struct.unpack(">I", stored[begin : begin + 4])
    entries, count, each = struct.unpack(">III", stored[begin + 12 : begin + 24])
    assert (size, entries, count) == (24, 1, COUNT)
    table = struct.pack(">I4sIIIIII", 32, b"stts", 0, 2, COUNT // 2, each, COUNT // 2, 3 * each)
    changed = bytearray(stored[:begin] + table + stored[begin + size :])
    duration = changed.index(b"elst") + 12  # of the part that is to be shown
    changed[duration : duration + 4] = struct.pack(">I", 10_000)
    for box in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        at = changed.index(box) - 4
        changed[at : at + 4] = struct.pack(">I", struct.unpack(">I", changed[at : at + 4])[0] + 8)
    video.write_bytes(changed)
    times = [frame.time_s for frame in read(video_file(video))[1]]
    np.testing.assert_allclose(np.diff(times), [1 / 30] * 10 + [1 / 10] * 9, atol=1e-3)


def test_what_decodes_of_a_video_that_was_cut_off_is_given(world: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 30, (320, 240))
    for image in world.pictures("still", COUNT):
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames, seen = read(video_file(path))
    assert 0 < len(seen) < COUNT
    assert f"ends after {len(seen)} frames, though it should have {COUNT}: it is cut off or damaged" in str(
        frames.trouble
    )


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"hello", r"bad\.mp4 is not a video that can be decoded\."),
        (b"", r"it is empty"),
        (b"\x89PNG\r\n", r"it is a picture \(PNG\)"),
        (b"\0\0\0\x1cftypisom\0\0\2\0isomiso2mp41", "it is damaged, cut off, or has no frame. Get it again"),
    ],
)
def test_what_is_no_video_is_told(content: bytes, text: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.mp4").write_bytes(content)
    with pytest.raises(HmrError, match=text):
        read(video_file(tmp_path / "bad.mp4"))
    assert capfd.readouterr() == ("", "")  # FFmpeg and OpenCV are kept quiet


def test_a_video_cut_off_before_its_index_or_without_frames_is_told(world: ModuleType, video: Path) -> None:
    zero = world.write_video(video.with_name("zero.mp4"), "still", 0)
    video.write_bytes(video.read_bytes()[:2000])
    for path in (zero, video):
        with pytest.raises(HmrError, match="it is damaged, cut off, or has no frame"):
            read(video_file(path))


def test_files_that_are_not_there_and_folders_are_told(tmp_path: Path) -> None:
    with pytest.raises(HmrError, match=r"gone\.mp4 cannot be read: No such file"):
        read(video_file(tmp_path / "gone.mp4"))
    with pytest.raises(HmrError, match="cannot be read: Is a directory"):
        read(video_file(tmp_path))


def test_what_fails_while_a_video_is_gone_through_is_no_fault_of_the_video(video: Path) -> None:
    with pytest.raises(OSError, match="No space left"), video_file(video):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_names_that_are_no_utf_8_are_opened(world: ModuleType, video: Path) -> None:
    other = video.with_name("film-\udce4.mp4")
    try:
        video.rename(other)
    except OSError:
        pytest.skip("this disk takes no such names")
    assert len(read(video_file(other))[1]) == COUNT


def test_a_folder_s_photos_are_frames_by_name_and_number(world: ModuleType, tmp_path: Path) -> None:
    for number in (10, 9, 1, 2):
        write_png(tmp_path / f"frame_{number}.png", world.picture("still", number))
    (tmp_path / "notes.txt").write_text("no photo")
    frames, seen = read(frame_folder(tmp_path, 25))
    assert [world.read(frame.image)[1] for frame in seen] == [1, 2, 9, 10]
    assert [frame.time_s for frame in seen] == [0, 0.04, 0.08, 0.12]
    assert (frames.count, frames.fps) == (4, 25)
    (tmp_path / "frame_9.png").write_bytes(b"torn")
    frames, seen = read(frame_folder(tmp_path, 25))
    assert len(seen) == 2
    assert "frame_9.png is not a photo" in str(frames.trouble)
    write_png(tmp_path / "frame_9.png", world.picture("still", 0)[:100])
    frames, seen = read(frame_folder(tmp_path, 25))
    assert len(seen) == 2
    assert "frame 2 has 320x100 pixels, and the frames before it have 320x240" in str(frames.trouble)
    with pytest.raises(UsageError, match=r"0 frames a second; valid: 0\.01 to 1000"):
        read(frame_folder(tmp_path, 0))
    (tmp_path / "empty").mkdir()
    with pytest.raises(HmrError, match="has no photos in it"):
        read(frame_folder(tmp_path / "empty", 25))


def test_a_file_is_a_video_by_its_bytes_or_its_name(video: Path) -> None:
    other = video.with_suffix(".bin")
    video.rename(other)
    assert is_video_file(other)
    assert is_video_file(Path("gone.mov"))
    photo = video.with_name("photo.png")
    write_png(photo, np.zeros((4, 4, 3), np.uint8))
    assert not is_video_file(photo)
    assert not is_video_file(Path("x" * 5000))


def test_a_camera_that_is_not_there_is_told(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    there: list[Path] = []
    monkeypatch.setattr("hmr_core.inference.video.frames.Path.glob", lambda self, pattern: there)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(HmrError, match=r"camera 93 cannot be opened\. There is none: no /dev/video"):
        read(camera(93))
    there += [Path("/dev/video2"), Path("/dev/video0")]
    with pytest.raises(HmrError, match=r"There are: 0, 2\."):
        read(camera(93))
    assert capfd.readouterr() == ("", "")
    with pytest.raises(UsageError, match="camera -1; valid: 0 for the first camera"):
        check_camera(-1)


class Webcam:
    """What OpenCV opens for a camera: it gives some frames, and then no more."""

    def __init__(self, pictures: Callable[[], Any]) -> None:
        self.pictures = pictures()
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, key: int) -> float:
        return 0.0

    def set(self, key: int, value: float) -> bool:
        return True

    def read(self) -> tuple[bool, Any]:
        image = next(self.pictures, None)
        return image is not None, image

    def release(self) -> None:
        self.released = True


def test_a_camera_s_frames_come_at_the_times_at_which_they_come(
    world: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    webcam = Webcam(lambda: world.pictures("still", 5))
    monkeypatch.setattr(cv2, "VideoCapture", lambda *given: webcam)
    clock = iter([10.0, 10.5, 10.6, 10.7, 12.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    frames, seen = read(camera(0))
    assert (frames.count, frames.fps, frames.endless, frames.name) == (None, 30, True, "camera 0")
    np.testing.assert_allclose([frame.time_s for frame in seen], [0, 0.5, 0.6, 0.7, 2])
    assert webcam.released
    assert str(frames.trouble) == "camera 0 gives no more frames. Plug it in again."
