"""The page on predicting photos has the figures that were measured, and the keys that hands.json has."""

from __future__ import annotations

import csv
import re
from dataclasses import fields
from pathlib import Path

from hmr_core.hand.hand import Hand
from hmr_core.inference.boxes import JOINTS_SHARE, LOOKS
from hmr_core.inference.camera import ASSUMED_FOV_DEG

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/predict.md").read_text(encoding="utf-8")
FIGURES = {
    "evaluated_wrist_mpjpe_mm": 2,
    "wrist_mpjpe_by_joints_box_mm": 2,
    "wrist_mpjpe_mm": 2,
    "wrist_mpvpe_mm": 2,
    "depth_error_median_percent": 1,
    "depth_error_90th_percent": 1,
}


def test_the_page_has_the_measured_figures() -> None:
    with (ROOT / "results/predict.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [
        f"| {row['model']} | {' | '.join(f'{float(row[name]):.{digits}f}' for name, digits in FIGURES.items())} |"
        for row in rows
    ]
    assert [line for line in PAGE.splitlines() if re.match(r"\| (integral|rle|i2l) \|", line)] == expected
    for row in rows:
        assert row["data"] == "synthetic"
        assert int(row["samples"]) == 364
        assert float(row["ratio_by_joints_box"]) < 1.05  # an evaluation's figure, nearly
        assert float(row["left_difference_m"]) < 1e-4


def test_the_page_names_the_constants_and_the_keys_of_a_hand() -> None:
    assert f"{JOINTS_SHARE} of" in PAGE
    assert LOOKS == 3
    assert "looked at three times" in PAGE
    assert f"{ASSUMED_FOV_DEG:.0f} degrees" in PAGE
    _, _, section = PAGE.partition("| key of a hand |")
    keys = {key for line in section.split("\n\n")[0].splitlines() for key in re.findall(r"`(\w+)`", line.split("|")[1])}
    own = {field.name for field in fields(Hand)} - {"verts", "faces"}
    assert keys == own | {"mesh"}
