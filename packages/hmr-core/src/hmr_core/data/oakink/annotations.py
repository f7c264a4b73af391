"""The annotation files of one sample, checked and converted to what a Sample holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from hmr_core.arrays import real_array
from hmr_core.errors import HmrError
from hmr_core.safe_pickle import ARRAYS, TENSORS, load_pickle

AGAIN = "Unpack the release's annotations (image/anno) again."


def read_array(path: Path, shape: tuple[int, ...], what: str = "") -> Float32[ndarray, "..."]:
    """The array in an annotation file, whatever kind of array it is; HmrError naming the file for a wrong one."""
    return checked_array(_load(path), shape, path, what)


def checked_array(
    value: Any, shape: tuple[int, ...], path: Path, what: str = "", *, again: str = AGAIN
) -> Float32[ndarray, "..."]:
    """value as float32 of this shape: numpy arrays, tensors (which load_pickle makes arrays) and nested lists.

    again: what the user does to get a good file, the last sentence of every error.
    Raises HmrError naming the file, and the entry `what` in it, for what are no numbers (text, complex numbers, true
    and false), for another shape, and when a number is not finite.
    """
    entry = f"{path}: {what}" if what else str(path)
    try:
        array = real_array(value, "<f4")
    except (TypeError, ValueError) as error:
        raise HmrError(f"{entry} is not an array of numbers ({error}). {again}") from error
    if array.shape != shape:
        raise HmrError(f"{entry} has shape {array.shape}, not {shape}. {again}")
    if not np.isfinite(array).all():
        raise HmrError(f"{entry} has numbers that are not finite. {again}")
    return array


def read_mano(path: Path) -> tuple[Float32[ndarray, "16 3"], Float32[ndarray, "10"]]:
    """MANO's pose and shape from a `general_info` file.

    The pose is axis-angle (radians) relative to the flat hand, in MANO's joint order; the wrist's rotation, which the
    file gives in world space, is brought to camera space by the rotation of `cam_extr` (world to camera).
    """
    import torch  # here, so that a folder that is no tree is told before it is imported

    from hmr_core.geometry.rotations import matrix_to_axis_angle, quaternion_to_axis_angle, quaternion_to_matrix

    info = _load(path)
    try:
        hand, extrinsics = info["hand_anno"], info["cam_extr"]
        pose, shape = hand["hand_pose"], hand["hand_shape"]
    except (KeyError, TypeError, IndexError) as error:
        raise HmrError(
            f"{path} does not hold hand_anno (with hand_pose and hand_shape) and cam_extr: {error} is missing. {AGAIN}"
        ) from error
    quaternions = torch.from_numpy(checked_array(pose, (16, 4), path, "hand_pose")).double()
    if bool((quaternions.norm(dim=-1) < 1e-6).any()):
        raise HmrError(f"{path}: hand_pose has a quaternion of length zero. {AGAIN}")
    to_camera = torch.from_numpy(checked_array(extrinsics, (4, 4), path, "cam_extr")).double()[:3, :3]
    axis_angle = quaternion_to_axis_angle(quaternions / quaternions.norm(dim=-1, keepdim=True))
    axis_angle[0] = matrix_to_axis_angle(to_camera @ quaternion_to_matrix(quaternions[0]))
    return axis_angle.float().numpy(), checked_array(shape, (10,), path, "hand_shape")


def _load(path: Path) -> Any:
    return load_pickle(path, {**ARRAYS, **TENSORS}, again=AGAIN)
