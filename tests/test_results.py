"""The table of figures on synthetic data: that it is what was measured, and what it is for."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FIGURES = {"mpjpe_mm": 2, "pck_auc_0_50mm": 3, "mpvpe_mm": 2, "pa_mpjpe_mm": 2, "pa_mpvpe_mm": 2}
NAMES = {"integral": "Integral-Pose + IKNet", "rle": "RLE + IKNet", "i2l": "I2L-MeshNet"}


@pytest.fixture
def measured() -> list[dict[str, str]]:
    with (ROOT / "results/synthetic.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_has_the_measured_figures(measured: list[dict[str, str]]) -> None:
    page = (ROOT / "docs/recipes.md").read_text()
    _, _, section = page.partition("## What `tiny` learns")
    rows = [line.strip("|").split("|") for line in section.splitlines() if re.match(r"\| .* \| SP\d \|", line)]
    shown = [[cell.strip() for cell in row] for row in rows]
    expected = []
    for row in measured:
        if row["protocol"] == "published":
            figures = [f"{float(row[name]):.{digits}f}" for name, digits in FIGURES.items()]
            expected.append(
                [NAMES[row["model"]], row["split"].upper(), *figures, f"{float(row['mean_pose_mpjpe_mm']):.2f}"]
            )
    assert sorted(shown) == sorted(expected)
    assert len(shown) == 9
    assert "synthetic" in section.split("|")[0]


def test_every_model_beats_the_mean_pose_clearly_on_every_split(measured: list[dict[str, str]]) -> None:
    assert {(row["model"], row["split"]) for row in measured} == {
        (model, split) for model in NAMES for split in ("sp0", "sp1", "sp2")
    }
    for row in measured:
        assert row["data"] == "synthetic"
        assert row["trained_on"] == "train"
        assert float(row["mpjpe_mm"]) <= 0.75 * float(row["mean_pose_mpjpe_mm"]), row
        assert float(row["ratio"]) == pytest.approx(float(row["mpjpe_mm"]) / float(row["mean_pose_mpjpe_mm"]), abs=1e-3)
