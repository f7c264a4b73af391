"""Where a result comes from: the command, the date, the machine, and the commits of the code."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

SLOWEST_S = 10
"""How long git may take to say what a folder's commit is; on a disk that is far away it reads every file."""


def provenance(command: str) -> dict[str, Any]:
    """Describe how a run or an evaluation was started, for its config.json or report.json.

    command: as it is typed. commits: of the repositories that hmr's own code and the working folder are in, with
    "-dirty" behind where files differ from it; None where there is no repository, or no git.
    """
    code, folder = Path(__file__), Path.cwd()
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command,
        "folder": str(folder),
        "host": platform.node(),
        "commits": {
            "hmr-core": _commit(code.parent) if _tracked(code) else None,
            "folder": _commit(folder),
        },
    }


def _commit(folder: Path) -> str | None:
    return _git(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _tracked(file: Path) -> bool:
    """Whether a file is one of a repository's own, and not, for instance, of an environment in its folder."""
    return _git(file.parent, "ls-files", "--error-unmatch", file.name) is not None


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says of a folder; None where it has nothing to say, or is not installed."""
    git = shutil.which("git")
    if git is None:
        return None
    command = [git, "-C", str(folder), *arguments]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # it only looks
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=SLOWEST_S, env=environment, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
