"""The recorded fit; the hand model that it was recorded with is `mini_hand`."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor

from hmr_core.testing.golden import load_golden

GOLDEN = Path(__file__).parent / "data/golden"


@pytest.fixture(scope="session")
def recorded() -> dict[str, Tensor]:
    """The golden file iknet_fit: inputs and outputs of the published code."""
    return load_golden(GOLDEN / "iknet_fit.npz")
