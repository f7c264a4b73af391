"""The recorded fit and the hand model that it was recorded with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hmr_core.hand.mano_file import read_mano_file
from hmr_core.hand.model import HandModel

GOLDEN = Path(__file__).parent / "data/golden"
MANO_FILE = Path(__file__).parents[2] / "hmr-core/tests/data/mano_v1_2/models/MANO_RIGHT.pkl"


@pytest.fixture(scope="session")
def recorded() -> dict[str, Tensor]:
    """The golden file iknet_fit: inputs and outputs of the published code."""
    with np.load(GOLDEN / "iknet_fit.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


@pytest.fixture(scope="session")
def fixture_hand() -> HandModel:
    """The made-up hand model in MANO's own file format that the golden files were recorded with."""
    return read_mano_file(MANO_FILE)
