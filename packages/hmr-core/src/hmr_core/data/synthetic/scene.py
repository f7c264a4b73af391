"""What a synthetic data set shows: sequences, their subjects, objects and cameras, and the hands at each moment.

Everything follows from a seed: the generator of a moment is made of the seed and of the numbers of its sequence and
frame, so that moments can be made in any order and by any number of processes.

World space is in metres: x right, y up in the images, z towards the cameras, which look down on a desk. Hands are about
the origin, fingers along y and palm to the cameras, but for the spread of orientations.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import torch
from jaxtyping import Float32, Float64
from numpy import ndarray

from hmr_core.data.synthetic.grasp import grasp
from hmr_core.data.synthetic.objects import OBJECTS, Object, object_named
from hmr_core.data.synthetic.sizes import CAMERAS, FEWEST_OBJECTS, FEWEST_SUBJECTS, SUBJECTS
from hmr_core.errors import HmrError
from hmr_core.geometry.rotations import axis_angle_to_matrix, matrix_to_quaternion, quaternion_to_matrix
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.hand.poses import random_poses, random_shapes

FRAME_SIZE = (848, 480)
"""Width and height of every image, as in the release."""

TEST_SUBJECT, TEST_OBJECT = "0009", "C12001"
HANDOVER = "0004"
"""The intent of a sequence in which one subject hands the object to another: two hands in each image."""

_UPRIGHT = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""From the hand model's frame (fingers -x, palm -y, thumb +z) to world space: fingers up, palm to the cameras."""

_ARM_M = np.linspace(0, 0.3, 13)
"""Places along a forearm, from the wrist."""

# What a generator is for, so that no two draw the same numbers.
_FOR_SUBJECT, _FOR_SEQUENCE, _FOR_MOMENT, FOR_PICTURE, _FOR_OBJECT, FOR_ROOM = range(6)


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
    """One recording. name: object_intent_subject(_subject), time: its stamp; together the release's `SEQ/TIME`.

    object_rgb: its two colours, 0..1. lamp: the unit direction towards the light in world space. desk_m: z of the desk.
    """

    number: int
    name: str
    time: str
    object_name: str
    subjects: tuple[Subject, ...]
    cameras: tuple[Camera, ...]
    object_rgb: Float64[ndarray, "2 3"]
    lamp: Float64[ndarray, "3"]
    desk_m: float
    test_camera: int

    @property
    def key(self) -> str:
        """As the release's lists name it."""
        return f"{self.name}/{self.time}"


@dataclass(frozen=True)
class SceneHand:
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
    """All hands at one time, the object's pose (object to world space) and whether the first hand holds it."""

    hands: tuple[SceneHand, ...]
    object_pose: Float32[ndarray, "4 4"]
    held: bool


def frame_number(index: int) -> int:
    """The number in file names of the index-th frame of a sequence: every seventh of a video, as annotated frames
    are.
    """
    return 12 + 7 * index


def is_held(index: int, frames: int) -> bool:
    """Whether the object is in a hand: in the second half of a sequence."""
    return index >= frames // 2


def make_sequence(
    number: int, seed: int, spread: Spread, *, subjects: int = FEWEST_SUBJECTS, objects: int = FEWEST_OBJECTS
) -> Sequence:
    """The number-th sequence of a data set with so many subjects and objects: these in turn, every sixth a handover."""
    generator = np.random.default_rng([seed, _FOR_SEQUENCE, number])
    which = (number + number // 12) % objects  # so that handovers, too, come to all objects
    first = (number + number // objects) % subjects
    handover = number % 6 == 4
    who = [first, (first + 1) % subjects] if handover else [first]
    object_name = OBJECTS[which]
    cameras = tuple(_make_camera(i, generator, spread) for i in range(len(CAMERAS)))
    lamp = generator.normal([0.0, 0.5, 1.0], [0.6, 0.35, 0.2])
    intent = HANDOVER if handover else f"{1 + number % 3:04}"
    return Sequence(
        number=number,
        name="_".join([object_name, intent, *(SUBJECTS[i] for i in who)]),
        time=(datetime(2024, 5, 1, 9) + timedelta(minutes=7 * number)).strftime("%Y-%m-%d-%H-%M-%S"),
        object_name=object_name,
        subjects=tuple(_make_subject(i, seed, subjects) for i in who),
        cameras=cameras,
        object_rgb=np.random.default_rng([seed, _FOR_OBJECT, which]).uniform(0.08, 0.92, (2, 3)),
        lamp=lamp / np.linalg.norm(lamp),
        desk_m=-float(generator.uniform(0.13, 0.2)),
        test_camera=number % len(CAMERAS),
    )


def make_moment(model: HandModel, sequence: Sequence, index: int, frames: int, seed: int, spread: Spread) -> Moment:
    """The hands and the object of a sequence at its index-th frame of so many.

    Raises HmrError when the spread is so wide that the hands can not be kept inside the images.
    """
    generator = np.random.default_rng([seed, _FOR_MOMENT, sequence.number, index])
    layer = HandLayer(model, torch.float64)
    shown = object_named(sequence.object_name)
    rotations = random_poses(model, len(sequence.subjects), generator)
    held_pose = None
    if is_held(index, frames):
        betas = torch.from_numpy(sequence.subjects[0].betas.astype(np.float64))
        rotations[0], held_pose = grasp(layer, betas, shown, generator)
    for _ in range(20):
        hands = _place_hands(layer, sequence, rotations, generator, spread)
        if all(_inside(hand, camera) for hand in hands for camera in sequence.cameras):
            break
    else:
        raise HmrError(
            f"the hands of sequence {sequence.name} do not stay inside the images with {spread}. "
            "Give a smaller offset_m or a larger distance_m."
        )
    if held_pose is None:
        object_pose = _lying_pose(shown, hands, sequence, generator)
    else:
        object_pose = _in_hand(layer, hands[0], held_pose)
    return Moment(hands=hands, object_pose=object_pose.astype(np.float32), held=held_pose is not None)


def to_camera(camera: Camera, points_m: Float64[ndarray, "n 3"]) -> Float64[ndarray, "n 3"]:
    """World space to camera space."""
    moved: ndarray = points_m @ camera.extrinsics[:3, :3].astype(np.float64).T + camera.extrinsics[:3, 3]
    return moved


def _make_subject(which: int, seed: int, subjects: int) -> Subject:
    generator = np.random.default_rng([seed, _FOR_SUBJECT, which])
    light, dark = np.array([0.93, 0.76, 0.67]), np.array([0.40, 0.26, 0.19])
    # One person in each part of the range, so that few subjects still differ; the one that SP1 tests in its middle, so
    # that what is trained on has tones on both sides.
    tested, middle = SUBJECTS.index(TEST_SUBJECT), (subjects - 1) // 2
    part = {tested: middle, middle: tested}.get(which, which)
    shade = (part + generator.uniform()) / subjects
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


def _place_hands(
    layer: HandLayer,
    sequence: Sequence,
    rotations: Float64[torch.Tensor, "n 16 3 3"],
    generator: np.random.Generator,
    spread: Spread,
) -> tuple[SceneHand, ...]:
    """Hands with these fingers, each turned and moved at random."""
    count = len(sequence.subjects)
    hands = []
    for i, subject in enumerate(sequence.subjects):
        lean = generator.uniform(0, 2 * np.pi)
        tilt = np.radians(spread.tilt_deg) * np.sqrt(generator.uniform())
        in_plane = np.radians(spread.in_plane_deg) * generator.uniform(-1, 1)
        vectors = np.array([[tilt * np.cos(lean), tilt * np.sin(lean), 0], [0, 0, in_plane]])
        turns = axis_angle_to_matrix(torch.from_numpy(vectors))
        wrist = turns[0] @ turns[1] @ torch.from_numpy(_UPRIGHT)
        place = generator.uniform(-1, 1, 3) * spread.offset_m
        if count == 2:
            place[0] += (-0.11, 0.11)[i]
        hands.append(_place_hand(layer, subject, torch.cat([wrist[None], rotations[i, 1:]]), place))
    return tuple(hands)


def _place_hand(
    layer: HandLayer, subject: Subject, rotations: torch.Tensor, centre_m: Float64[ndarray, "3"]
) -> SceneHand:
    """The hand whose joints' bounding box is centred at a point. Computed from the rounded numbers that are written."""
    quaternions = matrix_to_quaternion(rotations).numpy().astype(np.float32)
    turns = quaternion_to_matrix(torch.from_numpy(quaternions.astype(np.float64)))
    betas = torch.from_numpy(subject.betas.astype(np.float64))
    posed = layer(turns[None], betas[None])
    verts, joints = posed.verts[0].numpy(), posed.joints[0].numpy()
    translation = (centre_m - (joints.min(0) + joints.max(0)) / 2).astype(np.float32)
    return SceneHand(
        subject=subject,
        quaternions=quaternions,
        translation_m=translation,
        verts_m=verts + translation,
        joints_m=joints + translation,
        wrist_turn=turns[0].numpy(),
    )


def _inside(hand: SceneHand, camera: Camera, margin_px: float = 8.0) -> bool:
    points = to_camera(camera, hand.verts_m)
    pixels = points @ camera.intrinsics.astype(np.float64).T
    pixels = pixels[:, :2] / pixels[:, 2:]
    ahead = (points[:, 2] > 0.1).all()
    return bool(ahead and (pixels > margin_px).all() and (pixels < np.array(FRAME_SIZE) - 1 - margin_px).all())


def _in_hand(layer: HandLayer, hand: SceneHand, pose: Float64[ndarray, "4 4"]) -> Float64[ndarray, "4 4"]:
    """A pose in the frame of the hand model to world space, for a hand that is turned about its wrist and moved."""
    betas = torch.from_numpy(hand.subject.betas.astype(np.float64))
    wrist = (layer.rest[0] + torch.einsum("ck,k->c", layer.rest_dirs[0], betas)).numpy()
    world = np.eye(4)
    world[:3, :3] = hand.wrist_turn @ pose[:3, :3]
    world[:3, 3] = hand.wrist_turn @ (pose[:3, 3] - wrist) + hand.joints_m[0]
    return world


def _lying_pose(
    shown: Object, hands: tuple[SceneHand, ...], sequence: Sequence, generator: np.random.Generator
) -> Float64[ndarray, "4 4"]:
    """On the desk near the hands, clear of them and of the forearms; the last try where no try is clear."""
    flesh = np.concatenate([hand.verts_m for hand in hands])
    arms = np.concatenate([hand.joints_m[0] + np.outer(_ARM_M, hand.wrist_turn[:, 0]) for hand in hands])
    pose = np.eye(4)
    for _ in range(40):
        standing = generator.uniform() < 0.4
        vectors = np.array([[0, 0, generator.uniform(0, 2 * np.pi)], [0 if standing else np.pi / 2, 0, 0]])
        turns = axis_angle_to_matrix(torch.from_numpy(vectors)).numpy()
        pose[:3, :3] = turns[0] @ turns[1]
        pose[:2, 3] = generator.uniform([-0.24, -0.13], [0.24, 0.13])
        pose[2, 3] = sequence.desk_m - (shown.verts_m @ pose[2, :3]).min()
        near, far = (shown.solid.distance_m((x - pose[:3, 3]) @ pose[:3, :3]).min() for x in (flesh, arms))
        if near > 0.008 and far > 0.06:
            break
    return pose
