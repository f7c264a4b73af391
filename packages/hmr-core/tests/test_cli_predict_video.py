"""`hmr predict` of videos, as a user runs it; and Ctrl-C and SIGKILL in the middle."""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from hmr_core.plugins import ModelSpec
from hmr_core.plugins.recipes import load_recipe
from hmr_core.weights.checkpoint_record import CheckpointRecord
from hmr_core.weights.checkpoints import save_checkpoint

Run = Callable[[str], tuple[int, str, str]]


@pytest.fixture
def hmr(world: ModuleType, fakes: Any, monkeypatch: pytest.MonkeyPatch, command_line: Any) -> Run:
    """Runs a command line in a folder with some videos: (status, stdout, stderr)."""
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)
    world.write_video(Path("still.mp4"), "still", 12)
    command_line.plugins.append(fakes.plugin("animation", hmr_predictors=world.hmr_predictors))
    return lambda line: command_line(*shlex.split(line))


def lines(folder: str = "hands") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (Path(folder) / "hands.jsonl").read_text().splitlines()]


def names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


def test_a_video_leaves_its_hands(hmr: Run) -> None:
    status, out, err = hmr("predict animation still.mp4 --fov 60")
    assert status == 0, err
    assert "still.mp4: 12 frames, 1 hand: 1 right (12 frames)\n" in out
    assert "written: hands/ with hands.jsonl, hands.npz, video.json, still.mp4\n" in out
    assert "hand model: the synthetic right hand" in out
    assert "still.mp4: 12/12 frames in " in err
    assert names("hands") == ["hands.jsonl", "hands.npz", "still.mp4", "video.json"]
    assert [len(line["hands"]) for line in lines()] == [1] * 12
    record = json.loads(Path("hands/video.json").read_text())
    assert record["started"]["command"] == "hmr predict animation still.mp4 --fov 60"
    assert (record["predictor"], record["intrinsics_from"]) == ("animation", "given")

    status, out, err = hmr("predict animation still.mp4")
    assert (status, out) == (1, "")
    assert "error: hands holds the hands of still.mp4 already, whole; they are left alone. Choose another --out." in err
    status, out, err = hmr("predict animation still.mp4 --resume")
    assert status == 2
    assert "hands was begun with fov 60.0, and now it is null" in err
    status, out, err = hmr("predict animation still.mp4 --fov 60 --resume")
    assert status == 0
    assert "still.mp4: done before" in out


def test_one_bad_video_does_not_cost_the_others(hmr: Run, world: ModuleType) -> None:
    Path("text.mp4").write_text("hello")
    Path("other").mkdir()
    world.write_video(Path("other/still.mp4"), "empty", 5)
    status, out, err = hmr("predict animation text.mp4 still.mp4 other/still.mp4 gone.mp4 --no-pictures --out made")
    assert status == 1
    assert names("made") == ["still", "still_2"]
    assert names("made/still") == ["hands.jsonl", "hands.npz", "video.json"]
    assert "other/still.mp4: 5 frames, no hand found" in out
    assert "error: text.mp4 is not a video that can be decoded." in err
    assert "error: the video gone.mp4 cannot be read: No such file or directory." in err
    assert err.count("error: ") == 2


def test_no_hand_is_no_failure(hmr: Run, world: ModuleType) -> None:
    world.write_video(Path("empty.mp4"), "empty", 5)
    status, out, _ = hmr("predict animation empty.mp4 --no-pictures")
    assert status == 0
    assert "empty.mp4: 5 frames, no hand found" in out
    assert np.load("hands/hands.npz")["present"].shape == (5, 0)


def test_a_folder_s_photos_are_frames_where_a_rate_is_given(hmr: Run, world: ModuleType) -> None:
    Path("frames").mkdir()
    for i, image in enumerate(world.pictures("still", 9)):
        cv2.imwrite(f"frames/{i}.png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    status, out, err = hmr("predict animation frames --fps 10")
    assert status == 0, err
    assert "frames: 9 frames, 1 hand" in out
    assert [line["time_s"] for line in lines()] == [i / 10 for i in range(9)]
    assert "frames.mp4" in names("hands")
    status, out, err = hmr("predict animation frames --out photos")
    assert status == 0, err
    assert "hands.json" in names("photos")


def test_a_size_change_keeps_what_came_before(hmr: Run, world: ModuleType) -> None:
    Path("frames").mkdir()
    for i, image in enumerate(world.pictures("still", 9)):
        cv2.imwrite(f"frames/{i}.png", cv2.cvtColor(image[: 240 if i < 6 else 200], cv2.COLOR_RGB2BGR))
    status, out, err = hmr("predict animation frames --fps 10 --no-pictures")
    assert status == 1
    assert "frames: 6 frames, 1 hand" in out
    assert "error: frames: frame 6 has 320x200 pixels, and the frames before it have 320x240." in err
    assert json.loads(Path("hands/video.json").read_text())["finished"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("", "nothing to predict: give a FILE (a photo, a folder, a video), or --camera 0."),
        ("still.mp4 --camera 0", "--camera and FILE... were both given"),
        ("--camera -1", "camera -1; valid: 0 for the first camera"),
        ("--camera 0 --resume", "--resume is for videos and folders"),
        ("still.mp4 --fps 30", "--fps is for folders of frames"),
        ("photo.png --resume", "--resume is for videos, and photo.png is none"),
        ("photo.png still.mp4 --hands 1", "--hands is for videos, and photo.png is none"),
        ("still.mp4 --json", "--json is for photos"),
        ("still.mp4 --mesh ply", "--mesh is for photos"),
        ("still.mp4 --depth 0.5", "a depth is one photo's, and in a video a hand moves"),
        (
            "still.mp4 --smooth off --smooth-set place_beta=1",
            "--smooth-set says how to smooth, and",
        ),
        ("still.mp4 --smooth-set place_bet=1", 'Did you mean "place_beta"'),
        ("still.mp4 --smooth-set place_cutoff=0", "greater than 0"),
        ("still.mp4 --hands 0", "0 is not in the range"),
    ],
)
def test_what_does_not_go_together_is_told(hmr: Run, line: str, text: str) -> None:
    cv2.imwrite("photo.png", np.zeros((40, 40, 3), np.uint8))
    status, out, err = hmr(f"predict animation {line}")
    assert (status, out) == (2, "")
    assert text in err
    assert not Path("hands").exists()


def test_a_camera_that_is_not_there_is_told(hmr: Run) -> None:
    status, _, err = hmr("predict animation --camera 93")
    assert status == 1
    assert err.startswith("error: camera 93 cannot be opened. ")
    assert err.count("\n") == 1
    assert not Path("hands").exists()


def test_a_camera_is_watched_until_ctrl_c(hmr: Run, world: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is how a camera's video ends: nothing is unfinished."""

    class Webcam:
        def __init__(self, *given: Any) -> None:
            self.frame = -1

        def isOpened(self) -> bool:  # noqa: N802
            return True

        def get(self, key: int) -> float:
            return 30.0

        def set(self, key: int, value: float) -> bool:
            return True

        def release(self) -> None:
            pass

        def read(self) -> tuple[bool, Any]:
            self.frame += 1
            if self.frame == 15:
                os.kill(os.getpid(), signal.SIGINT)
            return True, cv2.cvtColor(world.picture("still", self.frame), cv2.COLOR_RGB2BGR)

    monkeypatch.setattr(cv2, "VideoCapture", Webcam)
    status, out, err = hmr("predict animation --camera 0")
    assert status == 0, err
    assert "camera 0: 16 frames, 1 hand: 1 right (16 frames)" in out
    assert "camera 0: 16 frames in " in err
    assert names("hands") == ["camera-0.mp4", "hands.jsonl", "hands.npz", "video.json"]


def test_a_model_follows_hands_by_its_detector_or_by_a_box(
    hmr: Run, command_line: Any, fakes: Any, world: ModuleType, small_spec: ModelSpec
) -> None:
    from hmr_core.plugins import DetectorSpec

    torch.manual_seed(1)
    recipe = load_recipe(small_spec, "tiny")
    record = CheckpointRecord(model="small", recipe=recipe.model_dump(mode="json"))
    save_checkpoint(Path("run"), small_spec.build(recipe.model), None, record)
    detector = DetectorSpec(
        name="seer", summary="sees made-up hands", config=world.Config, build=lambda config, device: world.Animation()
    )
    command_line.plugins.append(
        fakes.plugin("small", hmr_models=lambda: [small_spec], hmr_detectors=lambda: [detector])
    )
    world.write_video(Path("short.mp4"), "still", 2)
    predict = "predict small --ckpt run --device cpu --no-pictures --solver none short.mp4"
    status, out, err = hmr(f"{predict} --detector seer --out seen")
    assert status == 0, err
    assert "short.mp4: 2 frames, 1 hand: 1 right (2 frames)" in out
    status, out, err = hmr(f"{predict} --box 100,60,120,120 --side left --out boxed")
    assert status == 0, err
    assert "short.mp4: 2 frames, 1 hand: 1 left (2 frames)" in out
    status, out, err = hmr(f"{predict} --out whole")
    assert status == 0, err
    assert "is taken for one right hand that fills it" in err


@pytest.fixture
def site(fakes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: ModuleType) -> Path:
    """A folder with a video, and the plugin for processes of their own."""
    site = tmp_path / "site"
    site.mkdir()
    fakes.install(site, "animation", (Path(__file__).parent / "video_world.py").read_text())
    monkeypatch.setenv("PYTHONPATH", str(site))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    world.write_video(Path("still.mp4"), "still", 58)
    return tmp_path


@pytest.mark.slow
def test_ctrl_c_and_a_kill_lose_nothing(site: Path, start_hmr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is interrupted, goes on, is killed, and goes on to the end: as if it was never stopped."""
    command = ("predict", "animation", "still.mp4", "--no-pictures")

    def count(folder: str = "hands") -> int:
        path = site / folder / "hands.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def end(process: Any) -> str:
        _, err = process.communicate(timeout=120)
        return str(err)

    monkeypatch.setenv("WAIT_S", "0.05")
    monkeypatch.setenv("WAIT_FROM", "8")
    interrupted = start_hmr(*command, until=lambda: count() >= 3)
    os.kill(interrupted.pid, signal.SIGINT)
    err = end(interrupted)
    assert interrupted.returncode == 130
    assert "interrupted; to go on: hmr predict animation still.mp4 --no-pictures --resume\n" in err
    done = count()
    assert len(np.load("hands/hands.npz")["time_s"]) == done < 58
    monkeypatch.setenv("WAIT_FROM", "52")
    killed = start_hmr(*command, "--resume", until=lambda: count() >= 53)
    os.kill(killed.pid, signal.SIGKILL)
    end(killed)
    with Path("hands/hands.jsonl").open("ab") as file:
        file.write(b'{"frame": 54, "tim')
    monkeypatch.setenv("WAIT_S", "0")
    for arguments in ((*command, "--resume"), (*command, "--out", "whole")):
        process = start_hmr(*arguments, until=lambda: True)
        assert end(process).count("error") == 0
        assert process.returncode == 0
    for name in ("hands.jsonl", "hands.npz"):
        assert Path("hands", name).read_bytes() == Path("whole", name).read_bytes()
    assert not Path("hands/state.json").exists()
