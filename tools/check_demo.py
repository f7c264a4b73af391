"""Hold a report of `hmr eval` against what the demo promises.

The joints: an MPJPE of at most half the mean-pose baseline's. The mesh that the solver makes of them: a PA-MPVPE of at
most 1.5 times the joints' PA-MPJPE.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

MESH_RATIO = 1.5

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("report", type=Path)
parser.add_argument("--figures-only", action="store_true", help="a short run: only that the figures are there")
arguments = parser.parse_args()

report = json.loads(arguments.report.read_text())
metrics, baseline = report["metrics"], report["baseline"]["metrics"]["mpjpe_mm"]
model, joints, mesh = (metrics[name] for name in ("mpjpe_mm", "pa_mpjpe_mm", "pa_mpvpe_mm"))
missing = [name for name, value in metrics.items() if value is None]
if missing:
    sys.exit(f"{arguments.report} has no {', '.join(missing)}: was it made without a solver?")
print(
    f"{report['protocol']}: MPJPE {model:.2f} mm, mean pose {baseline:.2f} mm, ratio {model / baseline:.3f}; "
    f"PA-MPVPE {mesh:.2f} mm, PA-MPJPE {joints:.2f} mm, ratio {mesh / joints:.3f} (synthetic data)"
)
if not (arguments.report.parent / "contact_sheet.png").is_file():
    sys.exit("no contact_sheet.png beside the report")
if arguments.figures_only:
    sys.exit()
if model > baseline / 2:
    sys.exit(f"the demo learned too little: {model:.2f} mm is more than half of {baseline:.2f} mm")
if mesh > MESH_RATIO * joints:
    sys.exit(f"the mesh is too far off: {mesh:.2f} mm is more than {MESH_RATIO} times {joints:.2f} mm")
