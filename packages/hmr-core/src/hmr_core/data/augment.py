"""Augmentation as a pure function of (seed, epoch, sample id) and, of several packs, the number of the pack.

So neither the number of workers nor of processes nor a resume changes anything. The parameters are the published ones:
the scale factor is 1 + s n, clipped to 1 -+ s; the angle is r n, clipped to -+2 r; each channel is multiplied by a
uniform factor of its own; a rectangle is filled with uniform noise. n is standard normal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, UInt8
from numpy import ndarray

from hmr_core.plugins.recipes import AugmentConfig


@dataclass(frozen=True)
class Occlusion:
    """A rectangle of noise in the frame: its left, top, width and height as shares of the crop's box."""

    left: float
    top: float
    width: float
    height: float
    generator: np.random.Generator

    def paint(self, window: UInt8[ndarray, "height width 3"], box_px: tuple[float, float, float]) -> None:
        """Draw it in place; box_px is the unrotated box's left, top and side in the window's pixels.

        A rectangle that would leave the frame is skipped, as published. The window holds all of the box that is inside
        the frame, so leaving the frame and leaving the window are the same.
        """
        left_px, top_px, side_px = box_px
        x, y = round(left_px + self.left * side_px), round(top_px + self.top * side_px)
        width, height = round(self.width * side_px), round(self.height * side_px)
        if x < 0 or y < 0 or x + width > window.shape[1] or y + height > window.shape[0]:
            return
        window[y : y + height, x : x + width] = self.generator.integers(0, 256, (height, width, 3), dtype=np.uint8)


@dataclass(frozen=True)
class Augmentation:
    """What is drawn for a batch: scale factors, angles (radians), channel factors (RGB), and rectangles or None."""

    scale: Float64[ndarray, " batch"]
    angle: Float64[ndarray, " batch"]
    color: Float64[ndarray, "batch 3"]
    occlusion: Sequence[Occlusion | None]


def identity(batch: int) -> Augmentation:
    """No augmentation: what validation and evaluation use."""
    return Augmentation(np.ones(batch), np.zeros(batch), np.ones((batch, 3)), [None] * batch)


def draw(config: AugmentConfig, seed: int, epoch: int, ids: Sequence[str], source: int = 0) -> Augmentation:
    """The augmentation of each sample in an epoch, from nothing but its arguments. source: as of `sample_generator`."""
    normals, rotated, color = np.empty((len(ids), 2)), np.empty(len(ids)), np.empty((len(ids), 3))
    occlusion: list[Occlusion | None] = [None] * len(ids)
    for i, sample_id in enumerate(ids):
        generator = sample_generator(seed, epoch, sample_id, source)
        # Every sample draws the same numbers in the same order, so that changing one option leaves the others' draws.
        normals[i] = generator.standard_normal(2)
        rotated[i], occluded, area, aspect, left, top = generator.random(6)
        color[i] = generator.uniform(1 - config.color, 1 + config.color, 3)
        if occluded < config.occlusion_probability:
            area, aspect = area * config.occlusion_area, 0.5 + 1.5 * aspect
            height, width = np.sqrt(area * aspect), np.sqrt(area / aspect)
            occlusion[i] = Occlusion(left * (1 - width), top * (1 - height), width, height, generator)
    scale = 1 + config.scale * np.clip(normals[:, 0], -1, 1)
    angle = np.deg2rad(config.rotation_deg * np.clip(normals[:, 1], -2, 2))
    return Augmentation(scale, np.where(rotated < config.rotation_probability, angle, 0.0), color, occlusion)


def sample_generator(seed: int, epoch: int, sample_id: str, source: int = 0) -> np.random.Generator:
    """The generator of one sample in one epoch. source: the number of its pack among several, which may share ids."""
    salt = source.to_bytes(16, "little")  # that of the first, zeros, is none
    digest = hashlib.blake2b(f"{seed}/{epoch}/{sample_id}".encode(), digest_size=16, salt=salt).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
