"""The recorded fit; the hand model that it was recorded with is `mini_hand`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

GOLDEN = Path(__file__).parent / "data/golden"


@pytest.fixture(scope="session")
def recorded() -> dict[str, Tensor]:
    """The golden file iknet_fit: inputs and outputs of the published code."""
    with np.load(GOLDEN / "iknet_fit.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}
