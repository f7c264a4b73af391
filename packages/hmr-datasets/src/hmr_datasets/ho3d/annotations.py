"""The annotations of one frame of HO-3D, checked, in our camera space and order of joints.

The release is in OpenGL's camera space (x right, y up, z towards the camera), and lists joints in MANO's order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from hmr_core.data.oakink.annotations import checked_array
from hmr_core.errors import HmrError
from hmr_core.hand.joints import MANO_TO_OPENPOSE
from hmr_core.safe_pickle import ARRAYS, load_pickle
from hmr_datasets.ho3d.layout import AGAIN

TO_CAMERA = np.array([1, -1, -1], np.float32)
"""What OpenGL's axes are multiplied by: half a turn about x."""

ANNOTATED = ("objRot", "handJoints3D")
"""Where one of these is None, the frame has no annotation."""


@dataclass(frozen=True, kw_only=True)
class FrameAnnotations:
    """What every frame has. Metres, camera space."""

    intrinsics: Float32[ndarray, "3 3"]
    object_name: str
    object_pose: Float32[ndarray, "4 4"]


@dataclass(frozen=True, kw_only=True)
class TrainingHand:
    """The hand of a frame to train on: joints in OpenPose order; rotations relative to the flat hand.

    In OpenGL's space, as the release has them: gl_wrist, the wrist's axis-angle, and gl_place, what is added to the
    posed hand model.
    """

    joints: Float32[ndarray, "21 3"]
    rotations: Float32[ndarray, "16 3"]
    betas: Float32[ndarray, "10"]
    gl_wrist: Float32[ndarray, "3"]
    gl_place: Float32[ndarray, "3"]


@dataclass(frozen=True, kw_only=True)
class EvaluationHand:
    """What is known of the hand of a frame to evaluate on: its wrist, and its box, x, y, width, height in pixels."""

    wrist: Float32[ndarray, "3"]
    box_px: Float32[ndarray, "4"]


def read_meta(path: Path) -> dict[str, Any]:
    """What the file of a frame holds; HmrError naming it when it is missing or damaged, or names what it must not."""
    found = load_pickle(path, ARRAYS, encoding="latin1", again=AGAIN)  # Python 2 wrote them
    if not isinstance(found, dict):
        raise HmrError(f"{path} holds no dictionary of annotations. {AGAIN}")
    if lacking := [name for name in ANNOTATED if name not in found]:
        raise HmrError(f"{path} lacks {', '.join(lacking)}. {AGAIN}")
    return found


def is_annotated(meta: dict[str, Any]) -> bool:
    """Whether a frame has annotations."""
    return all(meta[name] is not None for name in ANNOTATED)


def frame_annotations(meta: dict[str, Any], path: Path) -> FrameAnnotations:
    """The camera and the object of a frame; HmrError naming its file and what is wrong in it."""
    import torch  # here, so that a folder that is no tree is told before it is imported

    from hmr_core.geometry.rotations import axis_angle_to_matrix

    turn = torch.from_numpy(_flat(meta, "objRot", (3,), path)).double()
    pose = np.eye(4, dtype=np.float32)
    pose[:3, :3] = axis_angle_to_matrix(turn).numpy() * TO_CAMERA[:, None]
    pose[:3, 3] = _flat(meta, "objTrans", (3,), path) * TO_CAMERA
    name = meta.get("objName")
    return FrameAnnotations(
        intrinsics=_array(meta, "camMat", (3, 3), path),
        object_name=name if isinstance(name, str) else "",
        object_pose=pose,
    )


def training_hand(meta: dict[str, Any], path: Path) -> TrainingHand:
    """The hand of a frame to train on; HmrError naming its file and what is wrong in it."""
    rotations = _array(meta, "handPose", (48,), path).reshape(16, 3)
    gl_wrist = rotations[0].copy()
    rotations[0] = turned(gl_wrist)
    return TrainingHand(
        joints=to_ours(_array(meta, "handJoints3D", (21, 3), path)),
        rotations=rotations,
        betas=_array(meta, "handBeta", (10,), path),
        gl_wrist=gl_wrist,
        gl_place=_flat(meta, "handTrans", (3,), path),
    )


def evaluation_hand(meta: dict[str, Any], path: Path) -> EvaluationHand:
    """What is known of the hand of a frame to evaluate on; HmrError naming its file and what is wrong in it."""
    left, top, right, bottom = _flat(meta, "handBoundingBox", (4,), path).tolist()
    return EvaluationHand(
        wrist=_flat(meta, "handJoints3D", (3,), path) * TO_CAMERA,
        box_px=np.array([left, top, right - left, bottom - top], np.float32),
    )


def to_ours(joints: Float32[ndarray, "*samples 21 3"]) -> Float32[ndarray, "*samples 21 3"]:
    """Joints in MANO's order and OpenGL's space, in ours."""
    ours: ndarray = joints[..., list(MANO_TO_OPENPOSE), :] * TO_CAMERA
    return ours


def turned(wrist: Float32[ndarray, "3"]) -> Float32[ndarray, "3"]:
    """The wrist's axis-angle in OpenGL's space, in ours: the hand is turned by it, then by half a turn about x."""
    import torch

    from hmr_core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle

    turn = axis_angle_to_matrix(torch.from_numpy(wrist).double())
    ours: ndarray = matrix_to_axis_angle(torch.from_numpy(TO_CAMERA).double()[:, None] * turn).float().numpy()
    return ours


def _array(meta: dict[str, Any], name: str, shape: tuple[int, ...], path: Path) -> Float32[ndarray, "..."]:
    if meta.get(name) is None:
        raise HmrError(f"{path} has no {name}. {AGAIN}")
    return checked_array(meta[name], shape, path, name, again=AGAIN)


def _flat(meta: dict[str, Any], name: str, shape: tuple[int, ...], path: Path) -> Float32[ndarray, "..."]:
    """As _array, of a vector that may be written as a column or a row."""
    value = meta.get(name)
    return _array({name: np.squeeze(value) if isinstance(value, ndarray) else value}, name, shape, path)
