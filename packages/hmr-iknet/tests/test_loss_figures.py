"""The table of IKNet's losses in the documentation is that of the recorded study."""

from __future__ import annotations

import csv
import re
import statistics
from pathlib import Path

ROOT = Path(__file__).parents[3]
NAMES = {
    ("1", "0", "0"): "rotations",
    ("0", "1", "0"): "joints",
    ("0", "0", "1"): "vertices",
    ("1", "1", "1"): "all three",
}


def test_documented_losses_are_the_recorded_ones() -> None:
    with (ROOT / "results/iknet_loss.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    page = (ROOT / "docs/recipes.md").read_text()
    for weights, name in NAMES.items():
        cells = []
        for noise in ("0", "5"):
            found = [
                float(row["mpvpe_mm"])
                for row in rows
                if (row["rotation"], row["joint"], row["vertex"]) == weights and row["noise_mm"] == noise
            ]
            assert len(found) == 4
            cells.append(f"{statistics.mean(found):.2f} mm ({min(found):.2f} to {max(found):.2f})")
        assert re.search(re.escape(f"| {name} | {cells[0]} | {cells[1]} |"), page), (name, cells)
