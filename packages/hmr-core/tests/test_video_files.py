"""What a video leaves: its lines, its arrays, its overlay; and all of it the same after a stop."""

from __future__ import annotations

import gc
import json
import signal
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from hmr_core.errors import HmrError, UsageError
from hmr_core.hand.source import packaged_hand
from hmr_core.inference.plugin_predictor import PluginPredictor
from hmr_core.inference.request import PhotoRequest
from hmr_core.inference.video.arrays import write_arrays
from hmr_core.inference.video.folder import KINDS, Kind, VideoFolder
from hmr_core.inference.video.frames import video_file
from hmr_core.inference.video.lines import hands_of_line, read_lines
from hmr_core.inference.video.overlay import overlay_video
from hmr_core.inference.video.request import VideoRequest
from hmr_core.inference.video.session import VideoResult, predict_video
from hmr_core.inference.video.steady import pose
from hmr_core.interrupts import StopRequest

COUNT = 60
Work = Callable[..., VideoResult]


@pytest.fixture(scope="session")
def film(world: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hands that cross."""
    made: Path = world.write_video(tmp_path_factory.mktemp("film") / "film.mp4", "cross", COUNT)
    return made


@pytest.fixture(scope="session")
def predictor(world: ModuleType) -> PluginPredictor:
    return PluginPredictor(
        name="animation",
        config=world.Config(),
        hand_model=packaged_hand(),
        layer=world.layer(),
        predictor=world.Animation(),
        device=torch.device("cpu"),
    )


@pytest.fixture(scope="session")
def work(film: Path, predictor: PluginPredictor) -> Work:
    """Predicts a video into a folder; stop_at: the frame after which it is asked to stop."""

    def predict(out: Path, *, video: Path = film, stop_at: int | None = None, **options: Any) -> VideoResult:
        stop, done = StopRequest(), []

        def on_frame(hands: int) -> None:
            done.append(hands)
            if len(done) == stop_at:
                stop(signal.SIGINT, None)

        request = options.pop("request", VideoRequest(overlay=options.pop("overlay", False)))
        return predict_video(
            options.pop("predictor", predictor),
            lambda: video_file(video),
            request,
            VideoFolder(out, video.stem),
            name=video.name,
            about={"predictor": "animation"},
            identity={"file": video.name},
            on_frame=on_frame,
            stop=stop,
            **options,
        )

    return predict


@pytest.fixture(scope="session")
def unstopped(work: Work, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a work leaves that was never stopped."""
    out = tmp_path_factory.mktemp("whole") / "out"
    result = work(out, overlay=True)
    assert (result.error, result.stopped, result.frames) == (None, False, COUNT)
    return out


def same(out: Path, unstopped: Path) -> None:
    """What was stopped and gone on with is what was not, to the byte."""
    assert (out / "hands.jsonl").read_bytes() == (unstopped / "hands.jsonl").read_bytes()
    assert (out / "hands.npz").read_bytes() == (unstopped / "hands.npz").read_bytes()


def test_a_line_for_each_frame(world: ModuleType, unstopped: Path) -> None:
    assert sorted(path.name for path in unstopped.iterdir()) == ["film.mp4", "hands.jsonl", "hands.npz", "video.json"]
    lines = list(read_lines(unstopped / "hands.jsonl"))
    assert [line["frame"] for line in lines] == list(range(COUNT))
    assert [line["time_s"] for line in lines] == pytest.approx(np.arange(COUNT) / 30, abs=1e-3)
    keys = ["track", "side", "score", "box", "joints", "joints_px", "rotations", "betas", "confidence", "intrinsics"]
    assert list(lines[0]["hands"][0]) == [*keys, "intrinsics_from", "depth_from", "remarks"]
    shapes = {tuple(hand["betas"]) for line in lines for hand in line["hands"] if hand["track"] == 1}
    assert len(shapes) == 1  # from the first frame on
    record = json.loads((unstopped / "video.json").read_text())
    assert (record["format"], record["finished"], record["frames"]) == ("hmr-video/1", True, COUNT)
    assert [(track["track"], track["side"]) for track in record["tracks"]] == [(1, "right"), (2, "left")]
    assert record["tracks"][1] == {"track": 2, "side": "left", "first": 0, "last": COUNT - 1, "frames": COUNT}
    np.testing.assert_allclose(record["intrinsics"], world.CAMERA)


def test_the_arrays_say_what_the_lines_say(world: ModuleType, unstopped: Path) -> None:
    arrays = np.load(unstopped / "hands.npz")
    assert str(arrays["format"]) == "hmr-video-hands/1"
    assert (arrays["track"].tolist(), arrays["side"].tolist()) == ([1, 2], ["right", "left"])
    present = np.zeros((COUNT, 2), bool)
    for line in read_lines(unstopped / "hands.jsonl"):
        assert arrays["time_s"][line["frame"]] == line["time_s"]
        for hand in line["hands"]:
            at = line["frame"], hand["track"] - 1
            present[at] = True
            for name in ("score", "box", "joints", "joints_px", "rotations"):
                np.testing.assert_array_equal(arrays[name][at], np.array(hand[name], np.float32))
            np.testing.assert_array_equal(arrays["betas"][at[1]], np.array(hand["betas"], np.float32))
            np.testing.assert_array_equal(arrays["place"][at], arrays["joints"][at][0])
    np.testing.assert_array_equal(arrays["present"], present)
    assert 0 < present[:, 0].sum() < COUNT
    assert np.isnan(arrays["joints"][~present]).all()
    assert np.isfinite(arrays["joints"][present]).all()
    assert "confidence" not in arrays
    assert "verts" not in arrays
    np.testing.assert_allclose(arrays["intrinsics"], world.CAMERA)
    # As it is documented: rotations, betas and place give the mesh.
    for frame, column in ((5, 0), (5, 1)):
        posed = pose(
            world.layer(), str(arrays["side"][column]), arrays["rotations"][frame, column], arrays["betas"][column]
        )
        made = posed.joints - posed.joints[0] + arrays["place"][frame, column]
        np.testing.assert_allclose(made, arrays["joints"][frame, column], atol=5e-6)


def test_the_overlay_has_a_frame_for_each_frame(world: ModuleType, unstopped: Path, film: Path) -> None:
    with video_file(unstopped / "film.mp4") as drawn, video_file(film) as plain:
        pairs = list(zip(drawn, plain, strict=True))
    assert len(pairs) == COUNT
    changed = [np.abs(one.image.astype(int) - other.image).mean() for one, other in pairs]
    assert min(changed) > 2


def test_a_line_gives_its_hands_again(world: ModuleType, unstopped: Path, predictor: PluginPredictor) -> None:
    line = next(iter(read_lines(unstopped / "hands.jsonl")))
    hands = hands_of_line(line, predictor)
    for hand, values in zip(hands, line["hands"], strict=True):
        for name, value in hand.as_json().items():
            if isinstance(value, list) and name != "remarks":
                np.testing.assert_allclose(value, values[name], atol=1e-4)
            else:
                assert value == values[name]
        assert hand.verts is not None
        assert np.linalg.norm(hand.verts[[745, 317, 444, 556, 673]] - hand.joints[4::4], axis=1).max() < 1e-5


@pytest.mark.parametrize("stop_at", [3, 27, 51])
def test_a_work_that_was_stopped_goes_on_as_if_it_was_not(
    work: Work, unstopped: Path, tmp_path: Path, stop_at: int
) -> None:
    out = tmp_path / "out"
    result = work(out, stop_at=stop_at)
    assert (result.stopped, result.error) == (True, None)
    assert stop_at - 8 < result.frames <= stop_at
    if result.frames:
        assert len(list(read_lines(out / "hands.jsonl"))) == result.frames
        assert len(np.load(out / "hands.npz")["time_s"]) == result.frames
        assert not json.loads((out / "video.json").read_text())["finished"]
        with pytest.raises(HmrError, match=r"holds the hands of film\.mp4 already, unfinished"):
            raise_error(work(out))
    again = work(out, resume=True, stop_at=5)
    assert again.stopped
    result = work(out, resume=True)
    assert (result.frames, result.error, result.stopped) == (COUNT, None, False)
    same(out, unstopped)
    assert not (out / "state.json").exists()
    assert work(out, resume=True).done_before


def raise_error(result: VideoResult) -> None:
    assert result.error is not None
    raise result.error


def test_a_killed_work_goes_on_from_its_last_state(work: Work, unstopped: Path, tmp_path: Path) -> None:
    """As SIGKILL leaves it: lines after the state, the last one cut off, no arrays."""
    out = tmp_path / "out"
    work(out, stop_at=52)
    state = json.loads((out / "state.json").read_text())
    lines = (unstopped / "hands.jsonl").read_bytes()
    assert lines[: state["bytes"]] == (out / "hands.jsonl").read_bytes()
    (out / "hands.jsonl").write_bytes(lines[: state["bytes"] + 5000])
    (out / "hands.npz").unlink()
    assert work(out, resume=True).error is None
    same(out, unstopped)


def test_a_work_that_was_killed_before_its_first_state_begins_anew(work: Work, unstopped: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    work(out, stop_at=30)
    (out / "state.json").unlink()
    assert work(out, resume=True).frames == COUNT
    same(out, unstopped)


def test_the_overlay_of_a_work_that_went_on_is_whole(work: Work, unstopped: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    stopped = work(out, overlay=True, stop_at=20)
    with video_file(out / "film.mp4") as frames:
        assert len(list(frames)) == stopped.frames
    work(out, overlay=True, resume=True)
    with video_file(out / "film.mp4") as made, video_file(unstopped / "film.mp4") as other:
        for one, two in zip(made, other, strict=True):
            np.testing.assert_array_equal(one.image, two.image)


def test_to_go_on_is_to_ask_for_the_same(work: Work, tmp_path: Path, world: ModuleType) -> None:
    out = tmp_path / "out"
    work(out, stop_at=20)
    with pytest.raises(UsageError, match=r"was begun with hands 2, and now it is 1\. To go on, ask for the same"):
        raise_error(work(out, resume=True, request=VideoRequest(hands=1, overlay=False)))
    with pytest.raises(UsageError, match="was begun with fov null, and now it is 50"):
        raise_error(work(out, resume=True, request=VideoRequest(photo=PhotoRequest(fov=50), overlay=False)))


def test_what_fails_keeps_what_was_done(
    work: Work, unstopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    monkeypatch.setenv("FAIL_AT", "30")
    result = work(out)
    assert "film.mp4" in str(result.error)
    assert "the animation is torn" in str(result.error)
    assert 20 < result.frames <= 30
    assert len(np.load(out / "hands.npz")["time_s"]) == result.frames
    monkeypatch.delenv("FAIL_AT")
    assert work(out, resume=True).error is None
    same(out, unstopped)


def test_a_work_that_fails_at_once_leaves_nothing(work: Work, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIL_AT", "0")
    result = work(tmp_path / "out", overlay=True)
    assert result.error is not None
    assert not (tmp_path / "out").exists()
    (tmp_path / "bad.mp4").write_text("no video")
    assert work(tmp_path / "out", video=tmp_path / "bad.mp4").error is not None
    assert not (tmp_path / "out").exists()


def test_what_is_not_ours_is_left_alone(work: Work, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/hands.jsonl").write_text("mine")
    with pytest.raises(HmrError, match=r"holds something other than this video's hands \(hands\.jsonl\)"):
        raise_error(work(tmp_path / "out"))
    assert (tmp_path / "out/hands.jsonl").read_text() == "mine"
    (tmp_path / "file").write_text("mine")
    with pytest.raises(HmrError, match="is a file, and results are a folder"):
        raise_error(work(tmp_path / "file"))


def test_two_works_do_not_write_into_one_folder(work: Work, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with VideoFolder(out, "film").locked(), pytest.raises(HmrError, match="another process writes into"):
        raise_error(work(out))


def test_a_full_disk_is_told_and_what_was_done_is_there(
    work: Work, unstopped: Path, tmp_path: Path, files_up_to: Callable[[int], Any]
) -> None:
    out = tmp_path / "out"
    with files_up_to(80_000):
        result = work(out)
    assert "could not be written" in str(result.error)
    lines = (out / "hands.jsonl").read_bytes()
    assert lines.endswith(b"\n")
    assert (unstopped / "hands.jsonl").read_bytes().startswith(lines)
    assert work(out, resume=True).error is None
    same(out, unstopped)


def test_a_folder_that_cannot_be_made_is_told_and_is_not_the_video_s_fault(work: Work, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(HmrError, match=r"the folder .*file/out cannot be written: .*file is a file\."):
        raise_error(work(tmp_path / "file/out"))


def test_a_disk_that_is_full_of_arrays_is_told(
    unstopped: Path, tmp_path: Path, files_up_to: Callable[[int], Any]
) -> None:
    target = tmp_path / "hands.npz"
    with files_up_to(50_000), pytest.raises(HmrError, match=r"hands\.npz could not be written: File too large"):
        write_arrays(unstopped / "hands.jsonl", target, intrinsics=np.eye(3), fps=30.0)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_of_lines_is_told(tmp_path: Path) -> None:
    path = tmp_path / "hands.jsonl"
    for text in ('{"frame": 0, "hands": []}\n{"frame": 2, "hands": []}\n', '{"frame": 0, "hands": []}\n{"fra'):
        path.write_text(text)
        with pytest.raises(HmrError, match="line 2 is not that of frame 1"):
            list(read_lines(path))


def test_hands_without_rotations_have_their_mesh_in_the_files(
    work: Work, world: ModuleType, tmp_path: Path, predictor: PluginPredictor
) -> None:
    from dataclasses import replace

    class Plain(world.Animation):  # type: ignore[misc,name-defined]
        def predict(self, *given: Any) -> Any:
            return [hand and replace(hand, rotations=None, betas=None) for hand in super().predict(*given)]

    other = replace(predictor, predictor=Plain())
    result = work(tmp_path / "out", predictor=other, stop_at=12)
    arrays = np.load(tmp_path / "out/hands.npz")
    assert arrays["verts"].shape == (result.frames, 2, 778, 3)
    assert "rotations" not in arrays
    line = list(read_lines(tmp_path / "out/hands.jsonl"))[2]
    np.testing.assert_array_equal(arrays["verts"][2, 0], np.array(line["hands"][0]["verts"], np.float32))
    assert hands_of_line(line, other)[0].verts is not None


def test_the_arrays_of_a_long_video_take_no_more_memory(
    unstopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [json.loads(line) for line in (unstopped / "hands.jsonl").read_text().splitlines()]
    monkeypatch.setattr("hmr_core.inference.video.arrays._PIECE_BYTES", 50_000)
    peaks = []
    for times in (2, 6):
        path = tmp_path / f"{times}.jsonl"
        with path.open("w") as file:
            for i in range(times * COUNT):
                file.write(json.dumps({**lines[i % COUNT], "frame": i, "time_s": i / 30}) + "\n")
        measured = []
        for _ in range(3):  # what else the process does in the meantime is measured, too
            gc.collect()
            tracemalloc.start()
            summary = write_arrays(path, tmp_path / f"{times}.npz", intrinsics=np.eye(3), fps=30.0)
            measured.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        peaks.append(min(measured))
        assert summary.frames == times * COUNT
        assert np.load(tmp_path / f"{times}.npz")["joints"].shape == (times * COUNT, 2, 21, 3)
    assert peaks[1] < 1.3 * peaks[0]


def test_pieces_are_one_array(unstopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hmr_core.inference.video.arrays._PIECE_BYTES", 4000)
    write_arrays(unstopped / "hands.jsonl", tmp_path / "hands.npz", intrinsics=np.eye(3), fps=30.0)
    pieces, one = np.load(tmp_path / "hands.npz"), np.load(unstopped / "hands.npz")
    assert pieces.files == one.files
    for name in pieces.files:
        if name != "intrinsics":
            np.testing.assert_array_equal(pieces[name], one[name])


def test_where_no_mp4_can_be_written_it_is_an_avi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Kind(".mp4", "none", cv2.CAP_FFMPEG)
    monkeypatch.setattr("hmr_core.inference.video.overlay.KINDS", (broken, KINDS[1]))
    with overlay_video(tmp_path, "film", width=64, height=48, fps=30.0) as made:
        assert made is not None
        name, overlay = made
        for i in range(3):
            overlay.add(np.full((48, 64, 3), 80, np.uint8), [], i / 30)
    assert name == "film.avi"
    assert [path.name for path in tmp_path.iterdir()] == ["film.avi"]
    with video_file(tmp_path / "film.avi") as frames:
        assert len(list(frames)) == 3
    monkeypatch.setattr("hmr_core.inference.video.overlay.KINDS", (broken,))
    with overlay_video(tmp_path, "other", width=64, height=48, fps=30.0) as made:
        assert made is None
    assert [path.name for path in tmp_path.iterdir()] == ["film.avi"]


def test_an_overlay_stays_in_time_with_its_frames(tmp_path: Path) -> None:
    with overlay_video(tmp_path, "film", width=64, height=48, fps=30.0) as made:
        assert made is not None
        for time_s in (0.0, 0.1, 0.2, 0.201, 100.0):  # with a gap that no camera has
            made[1].add(np.full((48, 64, 3), 80, np.uint8), [], time_s)
    with video_file(tmp_path / "film.mp4") as frames:
        assert len(list(frames)) == 1 + 3 + 3 + 1 + 60
