"""The versions that a result depends on."""

from __future__ import annotations

import platform
from importlib import metadata


def versions() -> dict[str, str]:
    """Of Python, of hmr's packages and of what computes."""
    names = [*sorted(d for d in _installed() if d.startswith("hmr-")), "torch", "numpy", "opencv-python", "h5py"]
    found = {name: metadata.version(name) for name in names if name in _installed()}
    return {"python": platform.python_version(), **found}


def _installed() -> set[str]:
    return {distribution.name for distribution in metadata.distributions() if distribution.name}
