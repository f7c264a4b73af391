"""How long `hmr --help` takes, beside `python -c pass`: prints a line and appends it to results/help.csv.

Usage: python tools/bench_help.py [--runs 21] [--csv results/help.csv]. Fails above 0.4 s.
"""

from __future__ import annotations

import argparse
import csv
import datetime
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

LIMIT_S = 0.4
FIELDS = ("date", "commit", "machine", "cpus", "python", "runs", "help_s", "python_s", "ratio")
REPOSITORY = Path(__file__).parents[1]


def median_seconds(commands: list[list[str]], runs: int) -> list[float]:
    """The median wall time of each command; run in turns, so that a busy moment hits them alike."""
    times: list[list[float]] = [[] for _ in commands]
    for run in range(runs + 1):
        for command, taken in zip(commands, times, strict=True):
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if run:  # the first one fills the disk cache
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def main() -> int:
    """Measure, print, append to the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=21)
    parser.add_argument("--csv", type=Path, default=REPOSITORY / "results" / "help.csv")
    arguments = parser.parse_args()
    # Not `python -m hmr_core`, which is a little faster: this is what users start.
    hmr = str(Path(sys.executable).with_name("hmr"))
    help_s, python_s = median_seconds([[hmr, "--help"], [sys.executable, "-c", "pass"]], arguments.runs)
    commit = subprocess.run(
        ["git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    row = {
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "runs": arguments.runs,
        "help_s": f"{help_s:.3f}",
        "python_s": f"{python_s:.3f}",
        "ratio": f"{help_s / python_s:.1f}",
    }
    print(f"hmr --help: {help_s:.3f} s, {help_s / python_s:.1f} times `python -c pass` ({python_s:.3f} s)")
    arguments.csv.parent.mkdir(exist_ok=True)
    fresh = not arguments.csv.exists()
    with arguments.csv.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        if fresh:
            writer.writeheader()
        writer.writerow(row)
    if help_s > LIMIT_S:
        print(f"slower than {LIMIT_S} s", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
