"""What every row of results/*.csv carries: where, when, from which commit and by which command it was measured."""

from __future__ import annotations

import csv
import datetime
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parent.parent


def provenance() -> dict[str, str]:
    """The columns machine, date, commit and command, of this process."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, encoding="utf-8"
    )
    tool = Path(sys.argv[0]).resolve()
    name = tool.relative_to(REPOSITORY) if tool.is_relative_to(REPOSITORY) else tool.name
    return {
        "machine": f"{platform.machine()}, {cpu_name()}",
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip() or "unknown",
        "command": " ".join(["python", str(name), *sys.argv[1:]]),
    }


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the same columns as a CSV file, each with its provenance behind, and say so."""
    columns = provenance()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*rows[0], *columns])
        writer.writeheader()
        writer.writerows({**row, **columns} for row in rows)
    print(f"\nwritten: {path}")


def cpu_name() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
