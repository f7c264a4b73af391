"""docs/photos.md is right: its commands leave the files that it names, and its programs run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy import ndarray

from hmr_core.cli.main import main
from hmr_core.inference.video.arrays import SHAPES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/photos.md").read_text(encoding="utf-8")
FRAMES = 12


def named_in(first_column: str) -> set[str]:
    """What a table of the page names in its first column."""
    _, _, table = PAGE.partition(f"| {first_column} |")
    rows = [line.split("|")[1] for line in table.partition("\n\n")[0].splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


@pytest.fixture
def folder(tmp_path: Path, hand_view: ndarray, networks_folder_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a photo and a video of a hand that moves a little."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HMR_HAND_MODEL", raising=False)
    picture = cv2.cvtColor(hand_view, cv2.COLOR_RGB2BGR)
    cv2.imwrite("photo.jpg", picture)
    video = cv2.VideoWriter("video.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 30, picture.shape[1::-1])
    for frame in range(FRAMES):
        video.write(np.roll(picture, 2 * frame, axis=1))
    video.release()
    return tmp_path


def test_a_photo_leaves_what_the_page_says(folder: Path) -> None:
    assert main(["predict", "mediapipe", "photo.jpg", "--device", "cpu"]) == 0
    assert {path.name for path in (folder / "hands").iterdir()} == named_in("file")


def test_a_video_leaves_what_the_page_says(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "mediapipe", "video.mp4", "--out", "walk", "--device", "cpu"]) == 0
    table = PAGE.partition("`--out` holds:")[2].partition("\n\n| array")[0]
    names = set(re.findall(r"^\| `([^`]+)`", table, flags=re.MULTILINE))
    assert {path.name for path in (folder / "walk").iterdir()} == {name.replace("walk.", "video.") for name in names}
    with np.load(folder / "walk/hands.npz") as arrays:
        assert arrays["joints"].shape == (FRAMES, 1, 21, 3)
        assert arrays["present"].all()
        assert set(arrays) == named_in("array of hands.npz") - {"confidence", "verts"}
        assert set(SHAPES) - {"confidence"} <= set(arrays)


def test_its_programs_run(folder: Path, hand_view: ndarray) -> None:
    pictures = iter([(hand_view, frame / 30) for frame in range(3)])
    left = [3]

    def running() -> bool:
        left[0] -= 1
        return left[0] >= 0

    given = {"camera_matrix": np.array([[700.0, 0, 424], [0, 700, 240], [0, 0, 1]]), "running": running}
    names: dict[str, Any] = {**given, "next_picture": lambda: next(pictures)}
    for program in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(compile(program, "docs/photos.md", "exec"), names)
    assert [(hand.track, hand.side) for hand in names["hands"]] == [(1, "right")]
    assert names["frame"] == FRAMES - 1
