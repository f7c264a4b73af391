"""Hold a report of `hmr eval` against what the demo promises: an MPJPE of at most half the mean-pose baseline's."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("report", type=Path)
parser.add_argument("--figures-only", action="store_true", help="a short run: only that the figures are there")
arguments = parser.parse_args()

report = json.loads(arguments.report.read_text())
model, baseline = report["metrics"]["mpjpe_mm"], report["baseline"]["metrics"]["mpjpe_mm"]
print(f"MPJPE {model:.2f} mm, mean pose {baseline:.2f} mm, ratio {model / baseline:.3f} (synthetic data)")
if not (arguments.report.parent / "contact_sheet.png").is_file():
    sys.exit("no contact_sheet.png beside the report")
if not arguments.figures_only and model > baseline / 2:
    sys.exit(f"the demo learned too little: {model:.2f} mm is more than half of {baseline:.2f} mm")
