"""A tree of InterHand2.6M's layout with made-up hands: hands alone and two at once, from two cameras, some not known.

Everything comes from hands in front of a camera, which are put into a world of millimetres around it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from sided_hands import MIRROR_TURN, SidedHand, sided_hands

from hmr_core.pictures import encode

SIZE = (334, 512)
"""Width and height; the release has lying frames, too."""

CAMERA = np.array([[1270.0, 0, 160], [0, 1265, 250], [0, 0, 1]])

MEAN_POSE = np.linspace(-0.2, 0.3, 45)
"""Stands for MANO's, of right hands; that of left ones is its mirror image."""

ROTATION = cv2.Rodrigues(np.array([0.4, -2.1, 0.3]))[0]
"""From the world to the camera."""

POSITION_MM = np.array([310.0, -120.0, 95.0])

TIPS_FIRST = [4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17, 0]
"""Our joints in the release's order, as its skeleton.txt counts them: each finger from its tip, then the wrist."""

SEQUENCE, VIEW = "0001_made_up", "400001"


@dataclass
class Frame:
    """A frame to write: which hands it shows, by side, and the joints of which nothing is known, by side."""

    number: int
    hands: dict[str, SidedHand]
    unknown: dict[str, list[int]] = field(default_factory=dict)
    fitted: bool = True

    @property
    def hand_type(self) -> str:
        return "interacting" if len(self.hands) == 2 else next(iter(self.hands))

    @property
    def name(self) -> str:
        return f"Capture0/{SEQUENCE}/cam{VIEW}/image{self.number}"


def make_interhand(root: Path) -> dict[str, list[Frame]]:
    """Write the tree; its frames, by part."""
    hands = {side: iter(sided_hands(side, 6, CAMERA, 1.0, seed=seed)) for seed, side in enumerate(("right", "left"))}

    def right() -> dict[str, SidedHand]:
        return {"right": next(hands["right"])}

    def left() -> dict[str, SidedHand]:
        return {"left": next(hands["left"])}

    made = {
        "train": [
            Frame(10, right()),
            Frame(28, left()),
            Frame(46, right() | left()),
            Frame(64, right() | left(), unknown={"left": [0], "right": [3, 4]}),
        ],
        "val": [Frame(6, right(), fitted=False)],
        "test": [Frame(6, left()), Frame(12, right() | left()), Frame(18, right(), unknown={"right": [9]})],
    }
    for part, frames in made.items():
        _write(root, part, frames)
    return made


def _write(root: Path, part: str, frames: list[Frame]) -> None:
    folder = root / "annotations" / part
    folder.mkdir(parents=True)
    contents = {
        "data": {
            "images": [_image(frame) for frame in frames],
            "annotations": [_annotation(frame) for frame in frames],
        },
        "camera": {
            "0": {
                "campos": {VIEW: POSITION_MM.tolist()},
                "camrot": {VIEW: ROTATION.tolist()},
                "focal": {VIEW: [CAMERA[0, 0], CAMERA[1, 1]]},
                "princpt": {VIEW: CAMERA[:2, 2].tolist()},
            }
        },
        "joint_3d": {"0": {str(frame.number): _moment(frame) for frame in frames}},
        "MANO_NeuralAnnot": {"0": {str(frame.number): _fits(frame) for frame in frames}},
    }
    for name, content in contents.items():
        (folder / f"InterHand2.6M_{part}_{name}.json").write_text(json.dumps(content))
    for frame in frames:
        path = root / "images" / part / f"{frame.name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(".jpg", next(iter(frame.hands.values())).picture(*SIZE)))


def _image(frame: Frame) -> dict[str, Any]:
    return {
        "id": 1000 + frame.number,
        "file_name": f"{frame.name}.jpg",
        "width": SIZE[0],
        "height": SIZE[1],
        "capture": 0,
        "subject": 7,
        "seq_name": SEQUENCE,
        "camera": VIEW,
        "frame_idx": frame.number,
    }


def _annotation(frame: Frame) -> dict[str, Any]:
    points = np.concatenate([np.array(hand.joints_px) for hand in frame.hands.values()])
    low = points.min(0)
    return {
        "id": 2000 + frame.number,
        "image_id": 1000 + frame.number,
        "bbox": [*low, *(points.max(0) - low)],
        "joint_valid": [[known] for known in _valid(frame)],
        "hand_type": frame.hand_type,
        "hand_type_valid": 1,
    }


def _valid(frame: Frame) -> list[int]:
    known = []
    for side in ("right", "left"):
        unknown = frame.unknown.get(side, []) if side in frame.hands else range(21)
        known += [int(joint not in unknown) for joint in TIPS_FIRST]
    return known


def _moment(frame: Frame) -> dict[str, Any]:
    both = []
    for side in ("right", "left"):
        hand = frame.hands.get(side)
        both.append(
            np.full((21, 3), np.nan) if hand is None else 1000 * hand.joints[TIPS_FIRST] @ ROTATION + POSITION_MM
        )
    return {"world_coord": np.concatenate(both).tolist(), "joint_valid": [[k] for k in _valid(frame)]}


def _fits(frame: Frame) -> dict[str, Any]:
    return {side: _fit(hand) if frame.fitted else None for side, hand in frame.hands.items()}


def _fit(hand: SidedHand) -> dict[str, list[float]]:
    wrist = cv2.Rodrigues(ROTATION.T @ cv2.Rodrigues(hand.rotations[0])[0])[0].ravel()
    pose = np.concatenate([wrist, hand.rotations[1:].ravel() - mean_pose(hand.side)])
    at_rest = hand.joints[0] - hand.trans
    trans = ROTATION.T @ hand.joints[0] + POSITION_MM / 1000 - at_rest
    return {"pose": pose.tolist(), "shape": hand.betas.tolist(), "trans": trans.tolist()}


def mean_pose(side: str) -> Float64[ndarray, "45"]:
    """The mean pose of a side's hands."""
    return MEAN_POSE if side == "right" else MEAN_POSE * np.tile(MIRROR_TURN, 15)
