"""The networks' files, where they are on this machine, and images by rule."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from hmr_mediapipe.fetch import missing_files
from hmr_mediapipe.files import FETCH, networks_folder


@pytest.fixture(scope="session")
def networks_folder_path() -> Path:
    """The folder of MediaPipe's networks. Where it is not whole, tests are skipped, or fail under `make test`."""
    folder = networks_folder()
    if missing := missing_files(folder):
        text = f"{folder} lacks {', '.join(missing)}: run {FETCH}"
        if os.environ.get("HMR_TESTS_NEED") == "all":
            pytest.fail(text)
        pytest.skip(text)
    return folder


@pytest.fixture(scope="session")
def image() -> Callable[[int, int], Tensor]:
    """Makes an image of a size and a seed: waves and fine stripes, RGB from 0 to 1, the channels last."""

    def make(size: int, seed: int) -> Tensor:
        y, x, channel = np.meshgrid(np.arange(size), np.arange(size), np.arange(3), indexing="ij")
        wave = 0.01 * (seed + 2)
        coarse = np.sin(wave * x + 0.7 * channel + seed) * np.cos(1.3 * wave * y - 0.4 * channel)
        fine = np.sin(12.9898 * x + 78.233 * y + 37.719 * channel + seed)
        return torch.from_numpy((0.5 + 0.3 * coarse + 0.2 * fine).astype(np.float32))

    return make


@pytest.fixture(scope="session")
def writer() -> ModuleType:
    """The module that writes small TensorFlow Lite files."""
    found = importlib.util.spec_from_file_location("tflite_writer", Path(__file__).parent / "tflite_writer.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
