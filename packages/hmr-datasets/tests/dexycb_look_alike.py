"""A tree of DexYCB's layout with made-up hands: ten people of a hundred sequences each, of which few have frames.

Of each person the sequences 0, 4 and 35 have frames (train, val or test of s0; the last is of an object in test of s3).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from sided_hands import MIRROR_TURN, SidedHand, sided_hands

from hmr_core.pictures import encode

SUBJECTS = (
    "20200709-subject-01", "20200813-subject-02", "20200820-subject-03", "20200903-subject-04", "20200908-subject-05",
    "20200918-subject-06", "20200928-subject-07", "20201002-subject-08", "20201015-subject-09", "20201022-subject-10",
)  # fmt: skip

SERIALS = (
    "836212060125", "839512060362", "840412060917", "841412060263",
    "932122060857", "932122060861", "932122061900", "932122062010",
)  # fmt: skip

CAMERA = np.array([[615.0, 0, 312], [0, 614, 241], [0, 0, 1]])

MEAN_POSE = np.linspace(-0.2, 0.3, 45)
"""Stands for MANO's, of right hands; that of left ones is its mirror image."""

COMPONENTS = np.linalg.qr(np.random.default_rng(5).normal(size=(45, 45)))[0]
"""Stand for MANO's."""

BETAS = np.linspace(-1, 1, 10)
"""One person's, whatever hand is in the frames: the release has one file for each person."""

OBJECT = np.array([[0.6, 0, 0.8, 0.05], [0, 1, 0, -0.02], [-0.8, 0, 0.6, 0.75]])
"""The pose of the grasped object; the other one's has all signs changed, and in the last frame none is known."""

FILLED = (0, 4, 35)
"""The sequences with frames."""


def session(number: int) -> str:
    return f"20200709_{number:06d}"


def side_of(number: int) -> str:
    """Half of the release's sequences are of left hands."""
    return "left" if number == 4 else "right"


def make_dexycb(
    root: Path, subjects: Sequence[str] = SUBJECTS, serials: Sequence[str] = SERIALS
) -> dict[str, list[SidedHand | None]]:
    """Write the tree; the hands of the sequences that have frames, one a frame, None where none is annotated."""
    _write_calibration(root)
    hands = {side: sided_hands(side, 2, CAMERA, 0.8, seed=4, shape=BETAS) for side in ("right", "left")}
    pictures = {side: [encode(".jpg", hand.picture(640, 480)) for hand in both] for side, both in hands.items()}
    blank = encode(".jpg", np.full((480, 640, 3), 96, np.uint8))
    made: dict[str, list[SidedHand | None]] = {}
    for subject in subjects:
        for number in range(100):
            folder = root / subject / session(number)
            folder.mkdir(parents=True)
            side, filled = side_of(number), number in FILLED
            (folder / "meta.yml").write_text(_meta(side, 3 if filled else 0, grasped=1 + number // 5))
            if not filled:
                continue
            one, two = hands[side]
            made[f"{subject}/{session(number)}"] = shown = [one, None, two]
            np.savez(folder / "pose.npz", pose_y=np.zeros((3, 1, 7), np.float32), pose_m=_solved(shown))
            for serial in serials:
                (folder / serial).mkdir()
                for frame, hand in enumerate(shown):
                    picture = blank if hand is None else pictures[side][0 if hand is one else 1]
                    (folder / serial / f"color_{frame:06d}.jpg").write_bytes(picture)
                    objects = np.stack([-OBJECT, OBJECT]) * (frame < 2)
                    _write_label(folder / serial / f"labels_{frame:06d}.npz", hand, objects)
    return made


def _write_calibration(root: Path) -> None:
    (root / "calibration/intrinsics").mkdir(parents=True)
    for serial in SERIALS:
        (root / f"calibration/intrinsics/{serial}_640x480.yml").write_text(
            "color:\n"
            f"  fx: {CAMERA[0, 0]}\n  fy: {CAMERA[1, 1]}\n  ppx: {CAMERA[0, 2]}\n  ppy: {CAMERA[1, 2]}\n"
            "depth:\n  fx: 613.7\n  fy: 613.7\n  ppx: 325.1\n  ppy: 237.4\n"
        )
    (root / "calibration/mano_20200514-subject-01").mkdir()
    betas = "".join(f"- {beta!r}\n" for beta in BETAS.tolist())
    (root / "calibration/mano_20200514-subject-01/mano.yml").write_text(f"betas:\n{betas}")


def _meta(side: str, frames: int, grasped: int) -> str:
    serials = "".join(f"- '{serial}'\n" for serial in SERIALS)
    return (
        f"serials:\n{serials}num_frames: {frames}\nextrinsics: '20200702_151821'\nycb_ids:\n- 21\n- {grasped}\n"
        f"ycb_grasp_ind: 1\nmano_sides:\n- {side}\nmano_calib:\n- 20200514-subject-01\n"
    )


def components_of(side: str) -> tuple[Float64[ndarray, "45"], Float64[ndarray, "45 45"]]:
    """The mean pose and the components of a side's hands."""
    mirror = np.ones(45) if side == "right" else np.tile(MIRROR_TURN, 15)
    return MEAN_POSE * mirror, COMPONENTS * mirror


def _pose(hand: SidedHand) -> Float64[ndarray, "51"]:
    """The wrist's axis-angle, coefficients of the components, and a place."""
    mean, components = components_of(hand.side)
    coefficients = (hand.rotations[1:].ravel() - mean) @ components.T
    return np.concatenate([hand.rotations[0], coefficients, hand.trans])


def _solved(shown: Sequence[SidedHand | None]) -> ndarray:
    """What pose.npz has of a sequence: the poses, in the world's frame here; zeros where there is none."""
    return np.array([[np.zeros(51) if hand is None else _pose(hand)] for hand in shown], dtype=np.float32)


def _write_label(path: Path, hand: SidedHand | None, objects: Float64[ndarray, "2 3 4"]) -> None:
    joints, pixels, pose = -np.ones((1, 21, 3)), -np.ones((1, 21, 2)), np.zeros((1, 51))
    if hand is not None:
        joints, pixels, pose = hand.joints[None], np.array([hand.joints_px]), _pose(hand)[None]
    segments = np.zeros((480, 640), np.uint8)
    np.savez_compressed(
        path,
        seg=segments,
        pose_y=objects.astype(np.float32),
        pose_m=pose.astype(np.float32),
        joint_3d=joints.astype(np.float32),
        joint_2d=pixels.astype(np.float32),
    )
