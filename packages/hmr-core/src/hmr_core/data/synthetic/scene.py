"""What a synthetic data set shows: sequences, their subjects, objects and cameras, and the hands at each moment.

Everything follows from a seed: the generator of a moment is made of the seed and of the numbers of its sequence and
frame, so that moments can be made in any order and by any number of processes.

World space is in metres: x right, y up, z towards the cameras. Hands are about the origin, fingers up and palm to the
cameras, but for the spread of orientations.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import torch
from jaxtyping import Float32, Float64
from numpy import ndarray

from hmr_core.errors import HmrError
from hmr_core.geometry.rotations import axis_angle_to_matrix, matrix_to_quaternion, quaternion_to_matrix
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.hand.poses import random_poses, random_shapes

FRAME_SIZE = (848, 480)
"""Width and height of every image, as in the release."""

CAMERAS = ("north_east", "south_east", "north_west", "south_west")

OBJECTS = ("A01001", "A02014", "C12001", "C31005")
SUBJECTS = ("0000", "0003", "0007", "0009")
TEST_SUBJECT, TEST_OBJECT = "0009", "C12001"
HANDOVER = "0004"
"""The intent of a sequence in which one subject hands the object to another: two hands in each image."""

FEWEST_SEQUENCES = 5
"""With fewer, a split would be empty or no handover would be shown."""

_UPRIGHT = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""From the hand model's frame (fingers -x, palm -y, thumb +z) to world space: fingers up, palm to the cameras."""

# What a generator is for, so that no two draw the same numbers.
_FOR_SUBJECT, _FOR_SEQUENCE, _FOR_MOMENT = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How much views and hands differ. Moderate by default, so that a small network learns them within minutes.

    camera_azimuth_deg, camera_elevation_deg: where the four cameras stand around the line at which the palm looks; each
    to its own side, give or take camera_jitter_deg.
    tilt_deg: how far a hand leans in any direction, at most; in_plane_deg: how far it is turned about the line of
    sight.
    distance_m: of the cameras from the hands. offset_m: how far a hand is from the origin along each axis, at most.
    """

    camera_azimuth_deg: float = 16.0
    camera_elevation_deg: float = 10.0
    camera_jitter_deg: float = 5.0
    tilt_deg: float = 22.0
    in_plane_deg: float = 45.0
    distance_m: tuple[float, float] = (0.48, 0.62)
    offset_m: float = 0.04


@dataclass(frozen=True)
class Subject:
    """A person: MANO shape and the colour of the skin (RGB, 0..1)."""

    name: str
    betas: Float32[ndarray, "10"]
    skin_rgb: Float64[ndarray, "3"]


@dataclass(frozen=True)
class Camera:
    """intrinsics in pixels; extrinsics take world space to camera space."""

    intrinsics: Float32[ndarray, "3 3"]
    extrinsics: Float32[ndarray, "4 4"]


@dataclass(frozen=True)
class Sequence:
    """One recording. name: object_intent_subject(_subject), time: its stamp; together the release's `SEQ/TIME`."""

    number: int
    name: str
    time: str
    object_name: str
    subjects: tuple[Subject, ...]
    cameras: tuple[Camera, ...]
    light: Float64[ndarray, "3"]
    test_camera: int

    @property
    def key(self) -> str:
        """As the release's lists name it."""
        return f"{self.name}/{self.time}"


@dataclass(frozen=True)
class Hand:
    """A hand in world space: what the release annotates (single precision), and what follows from it (double).

    quaternions: w first, MANO's 16 joints relative to the flat hand, the wrist's in world space. translation_m: added
    to the vertices that the hand model gives, which are not centred.
    """

    subject: Subject
    quaternions: Float32[ndarray, "16 4"]
    translation_m: Float32[ndarray, "3"]
    verts_m: Float64[ndarray, "778 3"]
    joints_m: Float64[ndarray, "21 3"]
    wrist_turn: Float64[ndarray, "3 3"]


@dataclass(frozen=True)
class Moment:
    """All hands at one time and the object's pose (object to world space)."""

    hands: tuple[Hand, ...]
    object_pose: Float32[ndarray, "4 4"]


def frame_number(index: int) -> int:
    """The number in file names of the index-th frame of a sequence: every seventh of a video, as annotated frames
    are.
    """
    return 12 + 7 * index


def is_held(index: int, frames: int) -> bool:
    """Whether the object is in a hand: in the second half of a sequence."""
    return index >= frames // 2


def make_sequence(number: int, seed: int, spread: Spread) -> Sequence:
    """The number-th sequence of a data set: objects and subjects in turn, every sixth a handover."""
    generator = np.random.default_rng([seed, _FOR_SEQUENCE, number])
    object_name = OBJECTS[number % len(OBJECTS)]
    first = (number + number // len(OBJECTS)) % len(SUBJECTS)
    handover = number % 6 == 4
    who = [first, (first + 1) % len(SUBJECTS)] if handover else [first]
    intent = HANDOVER if handover else f"{1 + number % 3:04}"
    return Sequence(
        number=number,
        name="_".join([object_name, intent, *(SUBJECTS[i] for i in who)]),
        time=(datetime(2024, 5, 1, 9) + timedelta(minutes=7 * number)).strftime("%Y-%m-%d-%H-%M-%S"),
        object_name=object_name,
        subjects=tuple(_make_subject(i, seed) for i in who),
        cameras=tuple(_make_camera(i, generator, spread) for i in range(len(CAMERAS))),
        light=generator.normal([0.0, 0.9, 0.8], [0.5, 0.2, 0.2]),
        test_camera=number % len(CAMERAS),
    )


def make_moment(model: HandModel, sequence: Sequence, index: int, frames: int, seed: int, spread: Spread) -> Moment:
    """The hands and the object of a sequence at its index-th frame of so many.

    Raises HmrError when the spread is so wide that the hands can not be kept inside the images.
    """
    generator = np.random.default_rng([seed, _FOR_MOMENT, sequence.number, index])
    for _ in range(20):
        hands = _make_hands(model, sequence, generator, spread)
        if all(_inside(hand, camera) for hand in hands for camera in sequence.cameras):
            break
    else:
        raise HmrError(
            f"the hands of sequence {sequence.name} do not stay inside the images with {spread}. "
            "Give a smaller offset_m or a larger distance_m."
        )
    held = is_held(index, frames)
    return Moment(hands=hands, object_pose=_object_pose(hands[0], held, sequence, seed))


def to_camera(camera: Camera, points_m: Float64[ndarray, "n 3"]) -> Float64[ndarray, "n 3"]:
    """World space to camera space."""
    moved: ndarray = points_m @ camera.extrinsics[:3, :3].astype(np.float64).T + camera.extrinsics[:3, 3]
    return moved


def _make_subject(which: int, seed: int) -> Subject:
    generator = np.random.default_rng([seed, _FOR_SUBJECT, which])
    light, dark = np.array([0.93, 0.76, 0.66]), np.array([0.45, 0.30, 0.23])
    # One person in each quarter of the range, so that few subjects still differ.
    shade = (which + generator.uniform()) / len(SUBJECTS)
    tone = light + shade * (dark - light) + generator.normal(0, 0.015, 3)
    return Subject(
        name=SUBJECTS[which],
        betas=random_shapes(1, generator)[0].numpy().astype(np.float32),
        skin_rgb=np.clip(tone, 0.1, 0.98),
    )


def _make_camera(which: int, generator: np.random.Generator, spread: Spread) -> Camera:
    east, north = CAMERAS[which].endswith("east"), CAMERAS[which].startswith("north")
    jitter = generator.uniform(-1, 1, 2) * spread.camera_jitter_deg
    azimuth = np.radians(spread.camera_azimuth_deg * (1 if east else -1) + jitter[0])
    elevation = np.radians(spread.camera_elevation_deg * (1 if north else -1) + jitter[1])
    back = np.array([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)])
    right = np.cross([0.0, 1.0, 0.0], back)
    right /= np.linalg.norm(right)
    turn = np.stack([right, np.cross(right, back), -back])  # rows: the camera's x (right), y (down), z (away)
    distance = generator.uniform(*spread.distance_m)
    aim = generator.uniform(-0.02, 0.02, 3)
    extrinsics = np.eye(4)
    extrinsics[:3, :3] = turn
    extrinsics[:3, 3] = -turn @ (aim + distance * back)
    focal = generator.uniform(600, 620, 2)
    centre = np.array(FRAME_SIZE) / 2 + generator.uniform(-8, 8, 2)
    intrinsics = np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]])
    return Camera(intrinsics=intrinsics.astype(np.float32), extrinsics=extrinsics.astype(np.float32))


def _make_hands(
    model: HandModel, sequence: Sequence, generator: np.random.Generator, spread: Spread
) -> tuple[Hand, ...]:
    count = len(sequence.subjects)
    layer = HandLayer(model, torch.float64)
    rotations = random_poses(model, count, generator)
    hands = []
    for i, subject in enumerate(sequence.subjects):
        lean = generator.uniform(0, 2 * np.pi)
        tilt = np.radians(spread.tilt_deg) * np.sqrt(generator.uniform())
        in_plane = np.radians(spread.in_plane_deg) * generator.uniform(-1, 1)
        vectors = np.array([[tilt * np.cos(lean), tilt * np.sin(lean), 0], [0, 0, in_plane]])
        turns = axis_angle_to_matrix(torch.from_numpy(vectors))
        rotations[i, 0] = turns[0] @ turns[1] @ torch.from_numpy(_UPRIGHT)
        place = generator.uniform(-1, 1, 3) * spread.offset_m
        if count == 2:
            place[0] += (-0.11, 0.11)[i]
        hands.append(_place_hand(layer, subject, rotations[i], place))
    return tuple(hands)


def _place_hand(layer: HandLayer, subject: Subject, rotations: torch.Tensor, centre_m: Float64[ndarray, "3"]) -> Hand:
    """The hand whose joints' bounding box is centred at a point. Computed from the rounded numbers that are written."""
    quaternions = matrix_to_quaternion(rotations).numpy().astype(np.float32)
    turns = quaternion_to_matrix(torch.from_numpy(quaternions.astype(np.float64)))
    betas = torch.from_numpy(subject.betas.astype(np.float64))
    posed = layer(turns[None], betas[None])
    verts, joints = posed.verts[0].numpy(), posed.joints[0].numpy()
    translation = (centre_m - (joints.min(0) + joints.max(0)) / 2).astype(np.float32)
    return Hand(
        subject=subject,
        quaternions=quaternions,
        translation_m=translation,
        verts_m=verts + translation,
        joints_m=joints + translation,
        wrist_turn=turns[0].numpy(),
    )


def _inside(hand: Hand, camera: Camera, margin_px: float = 8.0) -> bool:
    points = to_camera(camera, hand.verts_m)
    pixels = points @ camera.intrinsics.astype(np.float64).T
    pixels = pixels[:, :2] / pixels[:, 2:]
    return bool((pixels > margin_px).all() and (pixels < np.array(FRAME_SIZE) - 1 - margin_px).all())


def _object_pose(hand: Hand, held: bool, sequence: Sequence, seed: int) -> Float32[ndarray, "4 4"]:
    """In the hand, at the middle of its palm, or lying where the sequence has it."""
    generator = np.random.default_rng([seed, _FOR_SEQUENCE, sequence.number, 1])
    own_turn = axis_angle_to_matrix(torch.from_numpy(generator.uniform(-1.5, 1.5, 3))).numpy()
    lying = generator.uniform([-0.1, -0.15, -0.05], [0.1, -0.1, 0.05])
    pose = np.eye(4)
    if held:
        knuckles = hand.joints_m[[0, 5, 9, 13, 17]].mean(0)
        pose[:3, :3] = hand.wrist_turn @ own_turn
        pose[:3, 3] = knuckles + hand.wrist_turn @ np.array([0.0, -0.04, 0.0])
    else:
        pose[:3, :3], pose[:3, 3] = own_turn, lying
    return pose.astype(np.float32)
