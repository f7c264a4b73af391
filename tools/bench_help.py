"""How long `hmr --help`, the answers to simple mistakes and `import hmr_core` take, beside `python -c pass`.

Prints a line for each and appends it to results/help.csv. Fails when one takes longer than it may.

Usage: python tools/bench_help.py [--runs 21] [--csv results/help.csv]
"""

from __future__ import annotations

import argparse
import csv
import datetime
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HELP_S, ANSWER_S, IMPORT_S = 0.4, 0.7, 0.1
"""How long help, an answer and the import may take."""

FIELDS = ("date", "commit", "machine", "cpus", "python", "runs", "command", "seconds", "python_s", "ratio")
REPOSITORY = Path(__file__).parents[1]

PREPARED = (
    "synth s --frames 1 --sequences 5 --workers 1",
    "pack oakink --root s/OakInk --split sp0 --out data/oakink.h5 --codec jpeg --workers 1",
    "train integral --split sp0 --recipe tiny --epochs 1 --batch-size 4 --device cpu --out run",
)
"""What some of the mistakes are about."""

HELP = "hmr --help"
IMPORT = "python -c 'import hmr_core'"
COMMANDS = (
    HELP,
    IMPORT,
    "hmr train integral --split sp0 --data missing.h5",
    "hmr train integral --split sp0 --device gpu",
    "hmr train integral --split sp0 --out run",
    "hmr train integral --resume run",
    "hmr eval integral --split sp0 --ckpt missing",
    "hmr score missing.h5",
    "hmr ckpt show missing",
    "hmr mano import nothing.pkl --out hand.npz",
    "hmr pack oakink --root missing --out x.h5",
    "hmr pack verify missing.h5",
    "hmr synth s",
)


def median_seconds(commands: list[list[str]], runs: int, folder: Path) -> list[float]:
    """The median wall time of each command; run in turns, so that a busy moment hits them alike."""
    times: list[list[float]] = [[] for _ in commands]
    for run in range(runs + 1):
        for command, taken in zip(commands, times, strict=True):
            start = time.perf_counter()
            subprocess.run(command, check=False, capture_output=True, cwd=folder)
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
    programs = {"hmr": hmr, "python": sys.executable}
    lines = [[programs[program], *rest] for program, *rest in map(shlex.split, COMMANDS)]
    with tempfile.TemporaryDirectory() as name:
        for command in PREPARED:
            subprocess.run([hmr, *shlex.split(command)], check=True, capture_output=True, cwd=name)
        python_s, *seconds = median_seconds([[sys.executable, "-c", "pass"], *lines], arguments.runs, Path(name))
    commit = subprocess.run(
        ["git", "-C", str(REPOSITORY), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    about = {
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "runs": arguments.runs,
        "python_s": f"{python_s:.3f}",
    }
    rows = [
        {**about, "command": command, "seconds": f"{taken:.3f}", "ratio": f"{taken / python_s:.1f}"}
        for command, taken in zip(COMMANDS, seconds, strict=True)
    ]
    for row in rows:
        print(f"{row['seconds']} s, {row['ratio']} times `python -c pass`: {row['command']}")
    arguments.csv.parent.mkdir(exist_ok=True)
    fresh = not arguments.csv.exists()
    with arguments.csv.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        if fresh:
            writer.writeheader()
        writer.writerows(rows)
    limits = dict.fromkeys(COMMANDS, ANSWER_S) | {HELP: HELP_S, IMPORT: IMPORT_S}
    slow = [command for command, taken in zip(COMMANDS, seconds, strict=True) if taken > limits[command]]
    for command in slow:
        print(f"slower than {limits[command]} s: {command}", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
