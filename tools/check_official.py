"""Check a data set's own scorer on a pack of the real data: what it says of predictions that are all zero is known.

    python tools/check_official.py --data freihand.h5 [--split freihand]

The figures are those of the authors' programs for zeros, as they print them. Ends with status 1 where one differs by
more than a rounding.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np

from hmr_core.data.pack.reader import Pack
from hmr_core.evaluation.official import official_rules, score_officially
from hmr_core.plugins.registry import discover

KNOWN: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "freihand": {
        "xyz_mean3d": (70.79, 0.005), "xyz_al_mean3d": (4.73, 0.005), "mesh_mean3d": (70.84, 0.005),
        "mesh_al_mean3d": (5.07, 0.005), "f_al_score_5": (0.001, 0.0005), "f_al_score_15": (0.031, 0.0005),
    },
    "ho3d": {
        "xyz_mean3d": (56.87, 0.005), "xyz_procrustes_al_mean3d": (5.19, 0.005), "mesh_mean3d": (57.12, 0.005),
        "mesh_al_mean3d": (5.47, 0.005), "f_al_score_5": (0.0, 0.0005), "f_al_score_15": (0.017, 0.0005),
    },
}  # fmt: skip
"""By data set and metric, for its test: the figure, and what rounding may hide of it."""

UNKNOWN = ("ho3d-v3",)
"""Splits of these data sets whose figures are not known: HO-3D's are those of version 2."""


def zero_metrics(pack: Pack, split: str) -> Mapping[str, float | None]:
    """What the scorer of a pack's data set says of the test of a split if every point is predicted at the camera."""
    rules = official_rules(pack, split, "test", discover())
    rows = pack.indices(split, "test")
    zeros = np.zeros((len(rows), 21, 3), np.float32), np.zeros((len(rows), 778, 3), np.float32)
    return score_officially(rules, pack, rows, *zeros, root_given=False)["metrics"]


@click.command()
@click.option("--data", type=click.Path(path_type=Path), required=True, help="A pack.")
@click.option("--split", help="Its split; the first by default.")
def main(data: Path, split: str | None) -> None:
    """Compare the scorer's figures for zeros with the known ones."""
    pack = Pack(data)
    name = pack.split_name(split or next(iter(pack.info.counts)))
    known = KNOWN.get(pack.info.dataset, {}) if name not in UNKNOWN else {}
    wrong = [show(metric, value, known.get(metric)) for metric, value in zero_metrics(pack, name).items()]
    if not known:
        click.echo(f"no figures are known of {name}")
    sys.exit(int(any(wrong)))


def show(metric: str, value: float | None, known: tuple[float, float] | None) -> bool:
    """Print a figure beside the known one; whether it is another."""
    found = "-" if value is None else f"{value:.4f}"
    if known is None:
        click.echo(f"{metric:26} {found:>10}")
        return False
    figure, rounding = known
    differs = value is None or abs(value - figure) > rounding
    click.echo(f"{metric:26} {found:>10} {figure:>8} {'WRONG' if differs else 'as known'}")
    return differs


if __name__ == "__main__":
    main()
