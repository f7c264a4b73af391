"""Recorded outputs of published code, as the tests of a model read them and compare with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmr_core.nn.model import Targets


def load_golden(path: Path) -> dict[str, Tensor]:
    """Read the arrays of an .npz file as tensors, by name."""
    with np.load(path) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def golden_targets(golden: Mapping[str, Tensor], dtype: torch.dtype) -> Targets:
    """Make targets of a recorded run's `in_target_*`, which has two samples.

    The recorded code had no UVD of the mesh, no rotations and no betas: these are zeros.
    """
    count = len(golden["in_target_joints_3d"])
    given = {name: golden[f"in_target_{name}"].to(dtype) for name in ("joints_uvd", "joints_vis", "verts_vis")}
    return Targets(
        **given,
        verts_uvd=torch.zeros(count, 778, 3, dtype=dtype),
        joints=golden["in_target_joints_3d"].to(dtype),
        verts=golden["in_target_verts_3d"].to(dtype),
        rotations=torch.zeros(count, 16, 3, dtype=dtype),
        betas=torch.zeros(count, 10, dtype=dtype),
        joints_known=torch.ones(count, 21, dtype=dtype),
        verts_known=torch.ones(count, dtype=dtype),
        pose_known=torch.ones(count, dtype=dtype),
        root=golden["in_target_root_joint"].to(dtype),
        intrinsics=golden["in_target_cam_intr"].to(dtype),
    )


def assert_close(actual: Tensor, recorded: Tensor, tolerance: float) -> None:
    """AssertionError where a value is off by more than a share (the tolerance) of the largest recorded one."""
    torch.testing.assert_close(actual, recorded, rtol=0, atol=tolerance * float(recorded.abs().max()))
