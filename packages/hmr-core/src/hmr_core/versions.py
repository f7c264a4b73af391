"""The versions that a result depends on."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata


def versions() -> dict[str, str]:
    """Give the versions of Python, hmr's packages and the libraries that compute; torch's names its build, too."""
    import torch

    installed = _installed()
    names = [*sorted(name for name in installed if name.startswith("hmr-")), "numpy", "opencv-python", "h5py"]
    found = {name: installed[name] for name in names if name in installed}
    return {"python": platform.python_version(), **found, "torch": str(torch.__version__)}


@cache  # it reads a file for each package that is installed, and a process keeps what it has imported
def _installed() -> dict[str, str]:
    return {d.name: d.version for d in metadata.distributions() if d.name}
