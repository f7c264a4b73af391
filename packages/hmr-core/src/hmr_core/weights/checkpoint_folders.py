"""The folders of a run's checkpoints: what they are called."""

from __future__ import annotations

import re
from pathlib import Path


def saved_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a run's folder of checkpoints, oldest first."""
    paths = [path for path in folder.glob("epoch-*") if re.fullmatch(r"epoch-\d+", path.name)]
    return sorted(paths, key=lambda path: int(path.name.removeprefix("epoch-")))
