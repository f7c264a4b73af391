"""The shapes in signatures are checked while tests run."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

from hmr_core.geometry.rotations import axis_angle_to_matrix
from hmr_i2l.lixel import soft_argmax

PACKAGES = Path(__file__).parents[1] / "packages"
HERE = sorted(path.name.replace("-", "_") for path in PACKAGES.iterdir() if path.name != "hmr-timm")
"""All but what has an environment of its own (`make test-timm`)."""


def test_a_wrong_shape_is_seen() -> None:
    with pytest.raises(TypeCheckError):
        axis_angle_to_matrix(torch.zeros(5, 4))
    with pytest.raises(TypeCheckError):
        soft_argmax(torch.zeros(5, 2))


@pytest.mark.parametrize("package", HERE)
def test_no_package_is_left_out(package: str) -> None:
    loader = importlib.import_module(package).__spec__.loader
    assert "jaxtyping" in type(loader).__module__
