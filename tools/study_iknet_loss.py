"""What each of IKNet's losses is worth: train with some of them, several times, and score on val.

Run: python tools/study_iknet_loss.py [--data demo/oakink.h5] [--hand-model demo/synthetic/hand.npz] [--seeds 4]
     [--csv results/iknet_loss.csv]
`make demo` makes the data. Every run is `hmr train iknet --recipe tiny` with other weights and seeds, scored by
`hmr eval iknet --subset val` with exact joints and with noise. Takes about 40 s a run on one core.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click
from provenance import REPOSITORY, write_rows

WEIGHTS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1))
"""Of the losses on rotations, joints and vertices."""

NOISE_MM = (0, 5)


def hmr(*arguments: object) -> None:
    subprocess.run([sys.executable, "-m", "hmr_core", *map(str, arguments)], check=True, capture_output=True)


def metrics_by_noise(
    folder: Path, weights: tuple[int, ...], seed: int, data: Path, hand_model: Path
) -> list[dict[str, float | int]]:
    """Train once; the metrics on val for each level of noise."""
    source = ("--data", data, "--split", "sp0")
    sets = [f"loss.{name}={w}" for name, w in zip(("rotation", "joint", "vertex"), weights, strict=True)]
    options = [part for text in (*sets, f"train.seed={seed}") for part in ("--set", text)]
    run = folder / "run"
    hmr("train", "iknet", *source, "--hand-model", hand_model, "--recipe", "tiny", *options, "--out", run)
    rows = []
    for noise in NOISE_MM:
        out = folder / f"noise-{noise}"
        given = ("--ckpt", run, *source, "--hand-model", hand_model, "--subset", "val", "--out", out)
        hmr("eval", "iknet", *given, "--set", f"data.noise_mm={noise}")
        metrics = json.loads((out / "report.json").read_text(encoding="utf-8"))["metrics"]
        rows.append({"noise_mm": noise, **{name: round(metrics[name], 3) for name in ("mpvpe_mm", "pa_mpvpe_mm")}})
    return rows


@click.command(help=__doc__)
@click.option("--data", type=click.Path(path_type=Path), default=REPOSITORY / "demo/oakink.h5")
@click.option("--hand-model", type=click.Path(path_type=Path), default=REPOSITORY / "demo/synthetic/hand.npz")
@click.option("--seeds", type=click.IntRange(min=1), default=4, show_default=True)
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), default=REPOSITORY / "results/iknet_loss.csv")
def main(data: Path, hand_model: Path, seeds: int, csv_path: Path) -> None:
    rows: list[dict[str, object]] = []
    for weights in WEIGHTS:
        names = dict(zip(("rotation", "joint", "vertex"), weights, strict=True))
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as folder:
                for row in metrics_by_noise(Path(folder), weights, seed, data, hand_model):
                    rows.append({**names, "seed": seed, **row, "data": "synthetic"})
        for noise in NOISE_MM:
            mine = [row for row in rows[-seeds * len(NOISE_MM) :] if row["noise_mm"] == noise]
            found = [float(str(row["mpvpe_mm"])) for row in mine]
            click.echo(
                f"{names}, noise {noise} mm: MPVPE {statistics.mean(found):.2f} mm "
                f"({min(found):.2f} to {max(found):.2f}, {seeds} seeds, synthetic data)"
            )
    write_rows(csv_path, rows)


if __name__ == "__main__":
    main()
