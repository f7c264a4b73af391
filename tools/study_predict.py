"""What predicting photos costs against an evaluation: hands found by their boxes, and their depth by their size.

Run: python tools/study_predict.py [--demo demo] [--split sp0] [--csv results/predict.csv]
`make demo` makes the folder. Predicts each view of the split's test subset from its picture, its camera and the box of
its mesh, and once more from the box of its joints. Compares with the evaluation, which is given the joints' box and the
root's depth. Left hands are those of mirrored views. Takes some minutes on one core. Writes the rows and prints the
table of docs/predict.md.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from jaxtyping import Float
from numpy import ndarray
from provenance import REPOSITORY, write_rows

from hmr_core.data.oakink import open_oakink
from hmr_core.inference.load import load
from hmr_core.inference.model_predictor import ModelPredictor
from hmr_core.pictures import read_picture
from hmr_core.plugins.photo_hands import JOINTS, Box
from hmr_core.plugins.sample import Sample

MODELS = ("integral", "rle", "i2l")
MIRRORED_EVERY = 12


def box_of(verts: Float[ndarray, "v 3"], intrinsics: Float[ndarray, "3 3"]) -> Box:
    """The box of a mesh in the picture."""
    points = verts.astype(np.float64) @ intrinsics.T.astype(np.float64)
    pixels = points[:, :2] / points[:, 2:]
    low, high = pixels.min(0), pixels.max(0)
    width, height = (high - low + 1).tolist()
    return float(low[0]), float(low[1]), width, height


def distance_mm(points: ndarray, true_points: ndarray) -> float:
    """The mean distance of points, metres, in millimetres."""
    return 1000 * float(np.linalg.norm(points - true_points, axis=1).mean())


def measure(predictor: ModelPredictor, samples: Sequence[Sample]) -> dict[str, Any]:
    """The columns of a model."""
    aligned, meshes, depths, mirrored, by_joints = [], [], [], [], []
    for i, sample in enumerate(samples):
        assert sample.joints is not None
        assert sample.verts is not None
        image, box = read_picture(sample.image_path), box_of(sample.verts, sample.intrinsics)
        joints_box = box_of(sample.joints, sample.intrinsics)
        (exact,) = predictor(image, boxes=[joints_box], box_of=JOINTS, intrinsics=sample.intrinsics)
        by_joints.append(distance_mm(exact.joints - exact.joints[0], sample.joints - sample.joints[0]))
        (hand,) = predictor(image, boxes=[box], intrinsics=sample.intrinsics)
        assert hand.verts is not None
        aligned.append(distance_mm(hand.joints - hand.joints[0], sample.joints - sample.joints[0]))
        meshes.append(distance_mm(hand.verts - hand.joints[0], sample.verts - sample.joints[0]))
        depths.append(100 * (float(hand.joints[0, 2]) / float(sample.joints[0, 2]) - 1))
        if i % MIRRORED_EVERY == 0:
            width = image.shape[1]
            (left,) = predictor(
                np.ascontiguousarray(image[:, ::-1]),
                boxes=[(width - box[0] - box[2], *box[1:])],
                sides="left",
                intrinsics=hand.mirrored(width).intrinsics,
            )
            wanted = hand.mirrored(width)
            assert left.verts is not None
            assert wanted.verts is not None
            mirrored.append(max(np.abs(left.joints - wanted.joints).max(), np.abs(left.verts - wanted.verts).max()))
    return {
        "wrist_mpjpe_by_joints_box_mm": round(float(np.mean(by_joints)), 2),
        "wrist_mpjpe_mm": round(float(np.mean(aligned)), 2),
        "wrist_mpvpe_mm": round(float(np.mean(meshes)), 2),
        "depth_error_median_percent": round(float(np.median(np.abs(depths))), 2),
        "depth_error_90th_percent": round(float(np.percentile(np.abs(depths), 90)), 2),
        "depth_bias_percent": round(float(np.median(depths)), 2),
        "left_difference_m": f"{max(mirrored):.1e}",
        "left_views": len(mirrored),
    }


@click.command(help=__doc__)
@click.option("--demo", type=click.Path(path_type=Path), default=REPOSITORY / "demo")
@click.option("--split", default="sp0", show_default=True)
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), default=REPOSITORY / "results/predict.csv")
def main(demo: Path, split: str, csv_path: Path) -> None:
    reader = open_oakink(demo / "synthetic/OakInk")
    samples = [reader.read(sample_id) for sample_id in reader.split_ids(split, "test")]
    rows = []
    for model in MODELS:
        report = json.loads((demo / split / "eval" / model / "report.json").read_text(encoding="utf-8"))
        predictor = load(demo / split / model, device="cpu")
        assert isinstance(predictor, ModelPredictor)
        evaluated = report["aligned"]["wrist"]["mpjpe_mm"]
        found = measure(predictor, samples)
        rows.append(
            {
                "model": model,
                "evaluated_wrist_mpjpe_mm": round(evaluated, 2),
                "ratio": round(found["wrist_mpjpe_mm"] / evaluated, 3),
                "ratio_by_joints_box": round(found["wrist_mpjpe_by_joints_box_mm"] / evaluated, 3),
                **found,
                "split": split,
                "subset": "test",
                "samples": len(samples),
                "data": "synthetic",
                "checkpoint": predictor.checkpoint.digest[:16],
            }
        )
        shown = [evaluated, *(found[f"wrist_{name}_mm"] for name in ("mpjpe_by_joints_box", "mpjpe", "mpvpe"))]
        depths = [found[f"depth_error_{name}_percent"] for name in ("median", "90th")]
        cells = [*(f"{value:.2f}" for value in shown), *(f"{value:.1f}" for value in depths)]
        click.echo(f"| {model} | {' | '.join(cells)} |")
    write_rows(csv_path, rows)


if __name__ == "__main__":
    main()
