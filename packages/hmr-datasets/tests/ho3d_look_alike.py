"""Trees of HO-3D's layout with made-up hands: version 2, or its twin of version 3.

Nine recordings to train on, one of them by two cameras, and a frame without annotation; one recording to test, of which
the public annotations may be there.
"""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import python2_pickle
import torch
from jaxtyping import Float64
from numpy import ndarray
from posed_hands import PosedHand, posed_hands

from hmr_core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from hmr_core.pictures import encode

CAMERA = np.array([[614.5, 0, 320.25], [0, 615.0, 241.5], [0, 0, 1]])

OURS_TO_MANO = (0, 5, 6, 7, 9, 10, 11, 17, 18, 19, 13, 14, 15, 1, 2, 3, 4, 8, 12, 16, 20)

OBJECT = np.array([0.3, -0.2, 0.1]), np.array([0.05, 0.02, -0.6])
"""Rotation and place of the object, in OpenGL's space."""

TRAINED = ("ABF10", "ABF11", "BB12", "GPMF10", "GSF12", "MC1", "MDF10", "ND2", "ShSu10", "SiBF10")

UNANNOTATED = "train/MC1/0001"


@dataclass(frozen=True)
class LookAlike:
    """A tree, and the hands of its samples by id."""

    root: Path
    hands: dict[str, PosedHand]


def make_ho3d(root: Path, version: int = 2, *, truth: bool = True) -> LookAlike:
    """Write a tree. truth: whether the public annotations of the evaluation frames are there."""
    frames = [f"train/{name}/0000" for name in TRAINED] + [UNANNOTATED, "evaluation/SM1/0000", "evaluation/SM1/0003"]
    hands = dict(zip(frames, posed_hands(len(frames), CAMERA, 0.6, seed=version), strict=True))
    for name, hand in hands.items():
        part, sequence, frame = name.split("/")
        for kind in ("rgb", "meta"):
            (root / part / sequence / kind).mkdir(parents=True, exist_ok=True)
        extension = "png" if version == 2 else "jpg"
        picture = encode(f".{extension}", hand.picture(640, 480))
        (root / part / sequence / "rgb" / f"{frame}.{extension}").write_bytes(picture)
        meta = unannotated() if name == UNANNOTATED else training(hand) if part == "train" else evaluation(hand)
        data = python2_pickle.dump(meta) if version == 2 else pickle.dumps(meta, protocol=4)
        (root / part / sequence / "meta" / f"{frame}.pkl").write_bytes(data)
    for part in ("train", "evaluation"):
        lines = [name.removeprefix(f"{part}/") for name in frames if name.startswith(part)]
        (root / f"{part}.txt").write_text("\n".join(lines) + "\n", encoding="ascii")
    if version == 3:
        (root / "calibration").mkdir()
    tested = [hand for name, hand in hands.items() if name.startswith("evaluation")]
    if truth:
        xyz = [in_opengl(hand.joints)[list(OURS_TO_MANO)].tolist() for hand in tested]
        (root / "evaluation_xyz.json").write_text(json.dumps(xyz), encoding="ascii")
        verts = [in_opengl(hand.verts).tolist() for hand in tested]
        (root / "evaluation_verts.json").write_text(json.dumps(verts), encoding="ascii")
    return LookAlike(root, {name: hand for name, hand in hands.items() if name != UNANNOTATED})


def in_opengl(points: Float64[ndarray, "n 3"]) -> Float64[ndarray, "n 3"]:
    """Points of our camera space in OpenGL's."""
    return np.stack([points[:, 0], -points[:, 1], -points[:, 2]], axis=1)


def training(hand: PosedHand) -> dict[str, Any]:
    """What the file of a training frame holds."""
    wrist = axis_angle_to_matrix(torch.from_numpy(hand.rotations[0])).numpy()
    theirs = matrix_to_axis_angle(torch.from_numpy(np.diag([1.0, -1, -1]) @ wrist)).numpy()
    return {
        **_camera_and_object(),
        "handPose": np.concatenate([theirs, hand.rotations[1:].ravel()]),
        "handTrans": in_opengl(hand.joints[:1])[0] - (hand.joints[0] - hand.trans),  # the wrist's place at rest
        "handBeta": hand.betas,
        "handJoints3D": in_opengl(hand.joints)[list(OURS_TO_MANO)].astype(np.float32),
        "handVertContact": np.zeros(778, bool),
    }


def evaluation(hand: PosedHand) -> dict[str, Any]:
    """What the file of an evaluation frame holds."""
    pixels = np.array(hand.joints_px)
    (wrist,) = in_opengl(hand.joints[:1])
    box = [*(pixels.min(0) - 10).tolist(), *(pixels.max(0) + 10).tolist()]
    return {**_camera_and_object(), "handJoints3D": wrist, "handBoundingBox": [int(edge) for edge in box]}


def unannotated() -> dict[str, Any]:
    """What the file of a training frame without annotation holds."""
    names = ("handPose", "handTrans", "handBeta", "handJoints3D", "objRot", "objTrans", "objName", "objLabel")
    return {"camMat": CAMERA, **dict.fromkeys(names)}


def _camera_and_object() -> dict[str, Any]:
    turn, place = OBJECT
    return {
        "camMat": CAMERA,
        "objRot": turn[:, None],
        "objTrans": place,
        "objName": "011_banana",
        "objLabel": 10,
        "objCorners3D": np.zeros((8, 3)),
    }
