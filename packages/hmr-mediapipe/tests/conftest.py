"""Images by rule, and a picture of a hand."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy import ndarray
from torch import Tensor

from hmr_core.geometry.rotations import matrix_to_axis_angle
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.plugins.photo_hands import FoundHand
from hmr_core.viz.mesh_overlay import draw_mesh
from hmr_mediapipe.looks import tinted


@pytest.fixture(scope="session")
def image() -> Callable[[int, int], Tensor]:
    """Makes an image of a size and a seed: waves and fine stripes, RGB from 0 to 1, the channels last."""

    def make(size: int, seed: int) -> Tensor:
        y, x, channel = np.meshgrid(np.arange(size), np.arange(size), np.arange(3), indexing="ij")
        wave = 0.01 * (seed + 2)
        coarse = np.sin(wave * x + 0.7 * channel + seed) * np.cos(1.3 * wave * y - 0.4 * channel)
        fine = np.sin(12.9898 * x + 78.233 * y + 37.719 * channel + seed)
        return torch.from_numpy((0.5 + 0.3 * coarse + 0.2 * fine).astype(np.float32))

    return make


@pytest.fixture(scope="session")
def writer() -> ModuleType:
    """The module that writes small TensorFlow Lite files."""
    found = importlib.util.spec_from_file_location("tflite_writer", Path(__file__).parent / "tflite_writer.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def true_hand() -> FoundHand:
    """An open right hand, upright, its palm towards the camera: what the picture shows."""
    layer = HandLayer(load_synthetic_hand())
    flat = layer(torch.zeros(1, 16, 3), torch.zeros(1, 10)).joints[0]
    up = torch.nn.functional.normalize(flat[9] - flat[0], dim=0)
    palm = torch.tensor([0.0, -1, 0])
    palm = torch.nn.functional.normalize(palm - (palm @ up) * up, dim=0)
    of_hand = torch.stack([up, palm, torch.linalg.cross(up, palm)], dim=1)
    of_camera = torch.tensor([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # up; towards the camera; their cross product
    rotations = torch.eye(3).repeat(1, 16, 1, 1)
    rotations[0, 0] = of_camera @ of_hand.T
    hand = layer(rotations, torch.zeros(1, 10))
    place = torch.tensor([0.02, 0.05, 0.55]) - hand.joints[0, 0]
    return FoundHand(
        side="right",
        score=1.0,
        joints=(hand.joints[0] + place).numpy(),
        verts=(hand.verts[0] + place).numpy(),
        rotations=matrix_to_axis_angle(rotations[0]).numpy(),
        betas=np.zeros(10, np.float32),
    )


@pytest.fixture(scope="session")
def camera() -> ndarray:
    """The camera of the picture of a hand."""
    return np.array([[600.0, 0, 319.5], [0, 600, 239.5], [0, 0, 1]])


@pytest.fixture(scope="session")
def hand_picture(true_hand: FoundHand, camera: ndarray) -> ndarray:
    """A picture of 640x480 pixels of a hand before a wall. It is not to be changed."""
    assert true_hand.verts is not None
    wall = np.full((480, 640, 3), (70, 90, 120), np.uint8)
    drawn = draw_mesh(wall, true_hand.verts, load_synthetic_hand().faces.numpy(), camera)
    shown = (drawn != wall).any(-1, keepdims=True)
    picture: ndarray = np.where(shown, tinted(np.repeat(drawn.mean(-1, keepdims=True), 3, -1).astype(np.uint8)), wall)
    picture.flags.writeable = False
    return picture
