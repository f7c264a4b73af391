"""A tree of FreiHAND's layout with made-up hands: two photos to train on in four versions, one to test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from posed_hands import PosedHand, posed_hands

from hmr_core.hand.pose_basis import PoseBasis
from hmr_core.pictures import encode

CAMERA = np.array([[480.0, 0, 112], [0, 470, 110], [0, 0, 1]])

BASIS = PoseBasis(side="right", source="made up", mean=np.linspace(-0.2, 0.3, 45), components=np.eye(45))
"""Stands for MANO's pose space."""


def make_freihand(root: Path, photos: int = 2, tested: int = 1) -> dict[str, list[PosedHand]]:
    """Write the tree; the hands in it, by part."""
    made = {
        "training": posed_hands(photos, CAMERA, 0.7, seed=1),
        "evaluation": posed_hands(tested, CAMERA, 0.7, seed=2),
    }
    for part, hands in made.items():
        folder = root / part / "rgb"
        folder.mkdir(parents=True)
        versions = 4 if part == "training" else 1
        for version in range(versions):
            for number, hand in enumerate(hands):
                name = f"{number + version * len(hands):08d}.jpg"
                (folder / name).write_bytes(encode(".jpg", hand.picture(224, 224)))
        for name, entries in _annotations(hands).items():
            (root / f"{part}_{name}.json").write_text(json.dumps(entries), encoding="ascii")
    return made


def _annotations(hands: list[PosedHand]) -> dict[str, list[Any]]:
    return {
        "K": [hand.intrinsics.tolist() for hand in hands],
        "xyz": [hand.joints.tolist() for hand in hands],
        "verts": [hand.verts.tolist() for hand in hands],
        "scale": [float(np.linalg.norm(hand.joints[9] - hand.joints[10])) for hand in hands],
        "mano": [[[*_pose(hand), *hand.betas, 112.5, 110.25, 0.03]] for hand in hands],
    }


def _pose(hand: PosedHand) -> Float64[ndarray, "48"]:
    """The pose as the release has it: relative to the mean pose."""
    return np.concatenate([hand.rotations[0], hand.rotations[1:].ravel() - BASIS.mean])
