"""Which pack is used where none is given."""

from __future__ import annotations

import os
from pathlib import Path

ENVIRONMENT = "HMR_DATA"
"""The variable that names a pack."""

DEFAULT = Path("data/oakink.h5")
"""The pack where neither the caller nor the environment names one."""


def named_pack() -> Path | None:
    """The pack that $HMR_DATA names; None where it names none."""
    named = os.environ.get(ENVIRONMENT)
    return Path(named) if named else None


def default_pack() -> Path:
    """The pack to use where none is given: the one that $HMR_DATA names, else data/oakink.h5. It may not be there."""
    return named_pack() or DEFAULT
