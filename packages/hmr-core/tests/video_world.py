"""A plugin whose predictor knows the hands of made-up videos, as well as MediaPipe would: for tests of tracks.

A frame tells by its first rows which scene it is of, and which frame of it. So the predictor depends on the picture
alone, as a network does. What it finds is a fit to noisy points: 2 % of the hand's size in the picture, 8 mm in space.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from numpy import ndarray

from hmr_core.config import Section
from hmr_core.geometry.camera import project
from hmr_core.geometry.mirror import mirror_intrinsics, mirror_points, mirror_rotations
from hmr_core.hand.fit.image_and_joints import ImageFitter
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.source import packaged_hand
from hmr_core.inference.camera import photo_camera
from hmr_core.inference.photo import Photo
from hmr_core.inference.video.frames import quiet_opencv
from hmr_core.inference.video.steady import place_of, pose, size_of
from hmr_core.plugins import PredictorSpec, hookimpl
from hmr_core.plugins.photo_hands import Detection, FoundHand, InBox, SeenBefore, Sought

WIDTH, HEIGHT, FPS = 320, 240, 30.0
NOISE_SHARE, NOISE_M = 0.02, 0.008
SCENES = ("cross", "leave", "still", "empty")
FRAMES = 100
CELL = 8
CAMERA = photo_camera(Photo(np.zeros((HEIGHT, WIDTH, 3), np.uint8))).intrinsics
BETAS = np.array([0.4, -0.3, 0.2, 0, 0, 0, 0, 0, 0, 0], np.float32)


class TrueHand(NamedTuple):
    """A hand of a scene: its side, its rotations, and where its palm is."""

    side: str
    rotations: ndarray
    place: ndarray


def true_hands(scene: str, frame: int) -> dict[str, TrueHand]:
    """The hands of a frame of a scene, by name."""
    t = frame / FPS
    curl = 0.4 + 0.3 * np.sin(2 * np.pi * 0.7 * t)
    rotations = np.zeros((16, 3), np.float32)
    rotations[1:13, 2] = curl
    rotations[0] = [-1.4 + 0.2 * np.sin(2 * np.pi * 0.5 * t), 0.3 * np.sin(2 * np.pi * 0.4 * t), 0.15]
    left = rotations * np.array([1, -1, -1], np.float32)
    if scene == "cross":  # they pass each other in the middle, the left one in front
        x = 0.16 * np.cos(2 * np.pi * t / 4)
        return {
            "a": TrueHand("right", rotations, np.array([-x, 0.01, 0.62])),
            "b": TrueHand("left", left, np.array([x, -0.02 + 0.02 * np.sin(3 * t), 0.5])),
        }
    if scene == "leave":  # the right one leaves to the right, and comes back
        x = 0.1 + 0.5 * max(0.0, np.sin(2 * np.pi * (t - 1) / 4))
        return {
            "a": TrueHand("right", rotations, np.array([x, 0.0, 0.55])),
            "b": TrueHand("left", left, np.array([-0.12, 0.02 * np.sin(2 * t), 0.55 + 0.05 * np.sin(t)])),
        }
    if scene == "still":
        return {"a": TrueHand("right", rotations, np.array([0.05 * np.sin(2 * np.pi * 0.5 * t), 0, 0.5]))}
    return {}


def visible(scene: str, frame: int) -> dict[str, TrueHand]:
    """The hands that can be seen: those that are in the picture, and not behind another one."""
    hands = true_hands(scene, frame)
    middles = {name: pixels(hand.place[None])[0] for name, hand in hands.items()}
    seen = {}
    for name, hand in hands.items():
        inside = (middles[name] > 0).all() and (middles[name] < [WIDTH, HEIGHT]).all()
        size = CAMERA[0, 0] * 0.19 / hand.place[2]
        covered = any(
            other.place[2] < hand.place[2] and np.linalg.norm(middles[name] - middles[key]) < 0.35 * size
            for key, other in hands.items()
        )
        if inside and not covered:
            seen[name] = hand
    return seen


def pixels(points: ndarray) -> ndarray:
    made: ndarray = project(torch.from_numpy(np.asarray(points, np.float64)), torch.from_numpy(CAMERA)).numpy()
    return made


@cache
def layer() -> HandLayer:
    return HandLayer(packaged_hand().model)


@cache
def found(scene: str) -> dict[tuple[int, str], FoundHand]:
    """What is found of each hand of a scene, by frame and name: a fit to noisy points."""
    generator = np.random.default_rng(SCENES.index(scene))
    keys, sides, points_px, joints = [], [], [], []
    for frame in range(FRAMES):
        for name, hand in true_hands(scene, frame).items():
            posed = pose(layer(), hand.side, hand.rotations, BETAS)
            truth = posed.joints + hand.place
            size_px = CAMERA[0, 0] * size_of(truth) / hand.place[2]
            keys.append((frame, name))
            sides.append(hand.side)
            points_px.append(pixels(truth) + generator.normal(0, NOISE_SHARE * size_px, (21, 2)) / np.sqrt(2))
            joints.append(posed.joints + generator.normal(0, NOISE_M, (21, 3)) / np.sqrt(3))
    if not keys:
        return {}
    px, space, camera = (torch.from_numpy(np.array(part)) for part in (points_px, joints, [CAMERA] * len(keys)))
    left = torch.tensor([side == "left" for side in sides])
    mirrored_px = torch.stack([WIDTH - 1 - px[..., 0], px[..., 1]], -1)
    px = torch.where(left[:, None, None], mirrored_px, px)
    space = torch.where(left[:, None, None], mirror_points(space), space)
    mirrored = mirror_intrinsics(camera, torch.full((len(keys),), float(WIDTH), dtype=torch.float64))
    fit = ImageFitter(layer())(px.float(), space.float(), torch.where(left[:, None, None], mirrored, camera).float())
    made = {}
    for i, key in enumerate(keys):
        arrays = {"joints": fit.joints[i], "verts": fit.verts[i], "rotations": fit.rotations[i]}
        if sides[i] == "left":
            arrays = {
                name: mirror_rotations(array) if name == "rotations" else mirror_points(array)
                for name, array in arrays.items()
            }
        plain = {name: np.asarray(array.numpy(), np.float32) for name, array in arrays.items()}
        made[key] = FoundHand(side=sides[i], score=0.9, betas=fit.betas[i].numpy(), **plain)
    return made


def picture(scene: str, frame: int) -> ndarray:
    """A frame of a scene: rows of black and white cells that say which, and blots where hands are."""
    image = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
    bits = f"{SCENES.index(scene):02b}{frame:010b}"
    for i, bit in enumerate(bits):
        image[:CELL, i * CELL : (i + 1) * CELL] = 255 * int(bit)
    for hand in visible(scene, frame).values():
        x, y = np.round(pixels(hand.place[None])[0]).astype(int).tolist()
        cv2.circle(image, (x, y), 20, (220, 170, 140), -1)
    return image


def read(image: ndarray) -> tuple[str, int]:
    """Of which scene a frame is, and which of its frames."""
    bits = "".join(
        str(int(image[CELL // 4 : CELL - CELL // 4, i * CELL + 2 : (i + 1) * CELL - 2].mean() > 128)) for i in range(12)
    )
    return SCENES[int(bits[:2], 2)], int(bits[2:], 2)


def pictures(scene: str, frames: int = FRAMES) -> Iterator[ndarray]:
    return (picture(scene, frame) for frame in range(frames))


def write_video(path: Path, scene: str, frames: int = FRAMES) -> Path:
    with quiet_opencv():
        writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for image in pictures(scene, frames):
        writer.write(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


class Animation:
    """Sees the hands of scenes. calls: how often it was asked to detect, and how many hands were looked at."""

    root_joint = 0

    def __init__(self) -> None:
        self.detected = self.looked = 0

    def detect(self, image: ndarray) -> list[Detection]:
        self.detected += 1
        scene, frame = read(image)
        made = []
        for hand in visible(scene, frame).values():
            around = pixels(pose(layer(), hand.side, hand.rotations, BETAS).verts + hand.place)
            low, high = around.min(0), around.max(0)
            x, y, width, height = (*low.tolist(), *(high - low).tolist())
            made.append(Detection(box=(x, y, width, height), side=hand.side, score=0.8))
        return made

    def predict(self, image: ndarray, intrinsics: ndarray, sought: Sequence[Sought]) -> list[FoundHand | None]:
        """Of each place, the hand that is next to it, as a network sees one that is near the middle of its crop."""
        scene, frame = read(image)
        wait = float(os.environ.get("WAIT_S", "0"))
        if frame >= int(os.environ.get("WAIT_FROM", "0")):
            time.sleep(wait)
        if frame == int(os.environ.get("FAIL_AT", "-1")):
            raise ValueError("the animation is torn")
        here = {name: found(scene)[frame, name] for name in visible(scene, frame)}
        self.looked += len(sought)
        made: list[FoundHand | None] = []
        for place in sought:
            middle = _middle(place)
            distances = {
                name: np.linalg.norm(pixels(place_of(hand.joints)[None])[0] - middle)
                / (CAMERA[0, 0] * size_of(hand.joints) / hand.joints[0, 2])
                for name, hand in here.items()
            }
            near = min(distances, key=lambda name: distances[name], default=None)
            made.append(here[near] if near is not None and distances[near] < 0.6 else None)
        return made


def _middle(place: Sought) -> ndarray:
    if isinstance(place, SeenBefore):
        return np.asarray(pixels(place_of(place.hand.joints)[None])[0])
    assert isinstance(place, InBox | Detection)
    x, y, width, height = place.box
    return np.array([x + width / 2, y + height / 2])


class Config(Section):
    """No options."""


@hookimpl
def hmr_predictors() -> list[PredictorSpec]:
    def build(config: Any, layer: Any, device: Any) -> Animation:
        return Animation()

    return [PredictorSpec(name="animation", summary="knows made-up videos", config=Config, build=build)]
