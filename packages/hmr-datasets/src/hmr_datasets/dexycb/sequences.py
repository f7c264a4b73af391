"""What DexYCB says of a sequence, of a camera and of a frame."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from jaxtyping import Bool, Float32
from numpy import ndarray

from hmr_core.errors import HmrError
from hmr_core.files import read_bytes
from hmr_datasets.dexycb.layout import AGAIN, FRAME_SIZE, OBJECTS, SampleKey

CALIBRATION_AGAIN = "Unpack the archive of the calibration (calibration.tar.gz) again."

COEFFICIENTS = 48
"""The values of a pose: the wrist's axis-angle, then 45 coefficients of MANO's components; three more are its
place."""

ABSENT = -1
"""What all joints of a frame without an annotated hand are."""


@dataclass(frozen=True, kw_only=True)
class Sequence:
    """A sequence: its one hand, what that grasps, and which of its frames have the hand annotated, for all cameras.

    objects: how many there are. grasp: the place among them of the one that is grasped; grasped: its name.
    """

    side: Literal["right", "left"]
    objects: int
    grasp: int
    grasped: str
    betas: Float32[ndarray, "10"]
    shown: Bool[ndarray, " frames"]


@dataclass(frozen=True, kw_only=True)
class Label:
    """The annotations of a hand in a frame: metres, camera space, OpenPose order; pixels; MANO's pose (see above).

    place: what is added to the posed hand model. object_poses: object to camera space, of all objects; all zeros for
    one that is not annotated.
    """

    joints: Float32[ndarray, "21 3"]
    joints_px: Float32[ndarray, "21 2"]
    pose: Float32[ndarray, "48"]
    place: Float32[ndarray, "3"]
    object_poses: Float32[ndarray, "objects 4 4"]


def read_sequence(root: Path, sequence: str) -> Sequence:
    """A sequence by its folder, SUBJECT/SESSION; HmrError naming the file that is missing or damaged."""
    path = root / sequence / "meta.yml"
    meta = _yaml(path, AGAIN)
    try:
        sides, frames, calibrations = meta["mano_sides"], meta["num_frames"], meta["mano_calib"]
        objects, grasp = meta["ycb_ids"], meta["ycb_grasp_ind"]
        grasped = dict(enumerate(OBJECTS, 1))[objects[grasp]]
        if len(sides) != 1 or sides[0] not in ("right", "left") or type(frames) is not int or len(calibrations) != 1:
            raise ValueError("it is not of one hand, right or left, and a number of frames")
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _damaged(path, error, AGAIN) from error
    return Sequence(
        side=sides[0],
        objects=len(objects),
        grasp=range(len(objects))[grasp],
        grasped=grasped,
        betas=_betas(root, calibrations[0]),
        shown=_shown(root / sequence, frames),
    )


def _betas(root: Path, calibration: object) -> Float32[ndarray, "10"]:
    path = root / "calibration" / f"mano_{calibration}" / "mano.yml"
    content = _yaml(path, CALIBRATION_AGAIN)
    try:
        return _finite(content["betas"], (10,), "betas")
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error, CALIBRATION_AGAIN) from error


def _shown(folder: Path, frames: int) -> Bool[ndarray, " frames"]:
    """Which frames have the hand annotated: it is solved from all cameras at once, and pose.npz has the solutions."""
    if not frames:
        return np.zeros(0, dtype=np.bool_)
    path = folder / "pose.npz"
    pose = _arrays(path, {"pose_m": (frames, 1, COEFFICIENTS + 3)})["pose_m"]
    return np.asarray((pose != 0).any(axis=(1, 2)))


def read_camera(root: Path, serial: str) -> Float32[ndarray, "3 3"]:
    """A camera's intrinsics in pixels; HmrError naming the file that is missing or damaged."""
    width, height = FRAME_SIZE
    path = root / "calibration/intrinsics" / f"{serial}_{width}x{height}.yml"
    content = _yaml(path, CALIBRATION_AGAIN)
    try:
        color = content["color"]
        fx, fy, cx, cy = _finite([color[name] for name in ("fx", "fy", "ppx", "ppy")], (4,), "intrinsics").tolist()
    except (KeyError, TypeError, ValueError) as error:
        raise _damaged(path, error, CALIBRATION_AGAIN) from error
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float32)


def read_label(root: Path, key: SampleKey, objects: int) -> Label:
    """The annotations of a frame; HmrError naming the file that is missing or damaged, or has no hand.

    objects: how many the sequence has.
    """
    path = key.label_path(root)
    shapes = {
        "joint_3d": (1, 21, 3),
        "joint_2d": (1, 21, 2),
        "pose_m": (1, COEFFICIENTS + 3),
        "pose_y": (objects, 3, 4),
    }
    found = _arrays(path, shapes)
    if (found["joint_3d"] == ABSENT).all():
        raise HmrError(f"{path} has no hand, and pose.npz of its sequence has one in that frame. {AGAIN}")
    poses = np.zeros((objects, 4, 4), np.float32)
    poses[:, :3] = found["pose_y"]
    poses[:, 3, 3] = found["pose_y"].any(axis=(1, 2))
    return Label(
        joints=found["joint_3d"][0],
        joints_px=found["joint_2d"][0],
        pose=found["pose_m"][0, :COEFFICIENTS],
        place=found["pose_m"][0, COEFFICIENTS:],
        object_poses=poses,
    )


def _arrays(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Float32[ndarray, "..."]]:
    """Arrays of an npz file, of finite numbers and these shapes."""
    try:
        with np.load(io.BytesIO(read_bytes(path)), allow_pickle=False) as file:
            return {name: _finite(file[name], shape, name) for name, shape in shapes.items()}
    except OSError as error:
        raise HmrError(f"cannot read {path}: {error.strerror or error}. {AGAIN}") from error
    except Exception as error:  # a damaged archive raises almost anything
        raise _damaged(path, error, AGAIN) from error


def _finite(given: Any, shape: tuple[int, ...], name: str) -> Float32[ndarray, "..."]:
    array = np.asarray(given)
    if array.dtype.kind not in "fiu" or array.shape != shape or not np.isfinite(array).all():
        raise ValueError(f"{name} is not {'x'.join(map(str, shape))} finite numbers")
    return array.astype(np.float32)


def _yaml(path: Path, again: str) -> Any:
    try:
        return yaml.load(read_bytes(path), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except OSError as error:
        raise HmrError(f"cannot read {path}: {error.strerror}. {again}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _damaged(path, error, again) from error


def _damaged(path: Path, error: Exception, again: str) -> HmrError:
    what = f"{error} is missing" if isinstance(error, KeyError) else " ".join(str(error).split())
    return HmrError(f"{path} is damaged: {what}. {again}")
