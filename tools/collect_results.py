"""Gather reports of `hmr eval` into one table of metrics: the five, beside the mean-pose baseline's MPJPE."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from provenance import write_rows

from hmr_core.metrics import METRICS


def row(report: dict[str, Any]) -> dict[str, Any]:
    """A report's row."""
    baseline = report["baseline"]["metrics"]["mpjpe_mm"]
    train, checkpoint = (report["recipe"] or {}).get("train", {}), report["checkpoint"] or {}  # a predictor has none
    metrics = {name: round(report["metrics"][name], 4) for name in METRICS}
    return {
        "model": report["model"],
        "solver": (report["solver"] or {}).get("name", ""),
        "protocol": report["protocol"],
        "split": report["split"],
        "subset": report["subset"],
        "samples": report["samples"],
        "data": "synthetic" if report["synthetic"] else "OakInk-Image",
        **metrics,
        "mean_pose_mpjpe_mm": round(baseline, 4),
        "ratio": round(report["metrics"]["mpjpe_mm"] / baseline, 4),
        "trained_on": report.get("trained_on", train.get("subset")),
        "epochs": checkpoint.get("epoch"),
        "seed": train.get("seed"),
        "torch": report["versions"]["torch"],
    }


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reports", type=Path, nargs="+", metavar="REPORT", help="a report.json of `hmr eval`")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the CSV file")
    arguments = parser.parse_args()
    rows = [row(json.loads(path.read_text(encoding="utf-8"))) for path in arguments.reports]
    for one in rows:
        metrics = ", ".join(f"{name} {one[name]:.3f}" for name in METRICS)
        print(f"{one['model']} {one['protocol']}, {one['split']}: {metrics}; {one['ratio']:.3f} of the mean pose's")
    write_rows(arguments.out, rows)


if __name__ == "__main__":
    main()
