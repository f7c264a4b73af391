"""Hold reports of `hmr eval` against what the demo promises.

The joints: an MPJPE of at most 0.75 of the mean-pose baseline's. The mesh: where a solver makes it of the joints, a
PA-MPVPE of at most 1.5 times the joints' PA-MPJPE; where it is the model's own, the same.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

JOINT_RATIO, MESH_RATIO = 0.75, 1.5


def problems(path: Path, *, metrics_only: bool) -> list[str]:
    """What is wrong with an evaluation; prints its metrics."""
    report = json.loads(path.read_text(encoding="utf-8"))
    metrics, baseline = report["metrics"], report["baseline"]["metrics"]["mpjpe_mm"]
    missing = [name for name, value in metrics.items() if value is None]
    if missing:
        return [f"{path} has no {', '.join(missing)}: was it made without a solver?"]
    model, joints, mesh = (metrics[name] for name in ("mpjpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm"))
    print(
        f"{report['model']}, {report['protocol']}: MPJPE {model:.2f} mm, mean pose {baseline:.2f} mm, ratio "
        f"{model / baseline:.3f}; PA-MPVPE {mesh:.2f} mm, PA-MPJPE {joints:.2f} mm, ratio {mesh / joints:.3f} "
        "(synthetic data)"
    )
    found = []
    if not path.with_name("contact_sheet.png").is_file():
        found.append(f"there is no contact_sheet.png beside {path}")
    if metrics_only:
        return found
    if model > JOINT_RATIO * baseline:
        found.append(f"{path}: the model learned too little: {model:.2f} mm, over {JOINT_RATIO} of {baseline:.2f} mm")
    if mesh > MESH_RATIO * joints:
        found.append(f"{path}: the mesh is too far off: {mesh:.2f} mm, more than {MESH_RATIO} times {joints:.2f} mm")
    return found


def main() -> None:
    """Check each report; exit with what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reports", type=Path, nargs="+", metavar="REPORT", help="a report.json of `hmr eval`")
    parser.add_argument("--metrics-only", action="store_true", help="a short run: only that the metrics are there")
    arguments = parser.parse_args()
    found = [text for path in arguments.reports for text in problems(path, metrics_only=arguments.metrics_only)]
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
