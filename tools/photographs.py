"""Made-up photographs for benchmarks: codecs treat them as they treat a camera's pictures, which drawings are not."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from numpy import ndarray


def make_scene(
    width_px: int, height_px: int, generator: np.random.Generator
) -> Float[ndarray, "{height_px} {width_px} 3"]:
    """What a lens would show, in grey levels: texture at several scales, soft edges of objects, a little blur."""
    image: np.ndarray = np.full((height_px, width_px, 3), 120.0, dtype=np.float32)
    for sigma, amplitude in ((40, 45), (16, 20), (6, 10), (2.5, 5), (1.2, 3)):
        texture = cv2.GaussianBlur(generator.standard_normal(image.shape).astype(np.float32), (0, 0), sigma)
        texture = 0.3 * texture + 0.7 * texture.mean(2, keepdims=True)  # light varies more than colour
        image += amplitude * texture / texture.std()
    for _ in range(10 * width_px * height_px // 300**2):
        centre = [int(generator.integers(0, width_px)), int(generator.integers(0, height_px))]
        shape = cv2.circle(np.zeros(image.shape[:2], np.float32), centre, int(generator.integers(8, 60)), 1.0, -1)
        shape = cv2.GaussianBlur(shape, (0, 0), 1.0)[..., None]
        image = image * (1 - shape) + shape * (0.4 * image + 0.6 * generator.uniform(30, 220, 3))
    return np.asarray(cv2.GaussianBlur(image, (0, 0), 0.7))


def expose(
    scene: Float[ndarray, "height width 3"], noise: float, generator: np.random.Generator
) -> UInt8[ndarray, "height width 3"]:
    """The photograph that a sensor takes of a scene: noise is its standard deviation in grey levels."""
    grain = generator.standard_normal(scene.shape, dtype=np.float32)
    return np.asarray(np.clip(scene + noise * grain, 0, 255), dtype=np.uint8)
