"""docs/photos.md is right: its commands leave the files that it names, and its programs run."""

from __future__ import annotations

import csv
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


def measured(file: str, key: str) -> dict[str, dict[str, str]]:
    """The rows of a file of results, by one of its columns."""
    with (ROOT / "results" / file).open(encoding="utf-8", newline="") as lines:
        return {row[key]: row for row in csv.DictReader(lines)}


def test_its_times_are_the_measured_ones() -> None:
    rows = measured("photos_speed.csv", "step")
    ms = {step: float(row["ms"]) for step, row in rows.items()}
    parts = ("palm network", "hand network, 1", "fit of what was detected, 1")
    frame = ms["tracked video, 40 frames"]
    shown = (
        f"| a photo with one hand, without drawing | {ms['photo with one hand, without drawing']:.0f} |",
        f"| of that: palm network, hand network, fit | {', '.join(f'{ms[part]:.0f}' for part in parts)} |",
        f"| a frame in which a hand is followed | {frame:.0f}, so {1000 / frame:.0f} frames a second |",
        f"| the fit, 64 hands at once | {ms['fit of what was detected, 64']:.1f} a hand |",
        f"of 1600 pixels | {ms['draw it (848x480)']:.0f}; {ms['draw a hand of 1600 px']:.0f} |",
    )
    assert [line for line in shown if line not in PAGE] == []


def test_the_fit_s_figures_are_the_measured_ones() -> None:
    page = (ROOT / "docs/solver.md").read_text(encoding="utf-8")
    lines = page.partition("| given | PA-MPJPE |")[2].partition("\n\n")[0].splitlines()[2:]
    with (ROOT / "results/photo_fit.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    both, alone = rows[::2], rows[1::2]
    assert {row["fit"] for row in both} == {"image and joints"}
    columns = ("pa_mm", "wrist_mm", "off_percent")
    expected = [
        [one["pa_mm"], one["wrist_mm"], one["off_percent"], one["depth_percent"], *(other[name] for name in columns)]
        for one, other in zip(both, alone, strict=True)
    ]
    assert [[cell.strip() for cell in line.split("|")[2:-1]] for line in lines] == expected


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
