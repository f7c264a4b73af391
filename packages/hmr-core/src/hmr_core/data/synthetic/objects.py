"""The objects of the synthetic data set, as meshes in the release's `obj` folder."""

from __future__ import annotations

import numpy as np

from hmr_core.data.synthetic.scene import OBJECTS

_PRISMS = dict(zip(OBJECTS, ((4, 0.035, 0.06), (6, 0.03, 0.10), (16, 0.03, 0.12), (24, 0.04, 0.05)), strict=True))
"""Sides, radius and height in metres of each object."""


def object_text(name: str) -> str:
    """The Wavefront OBJ text of an object: an upright prism about its centre, metres."""
    sides, radius, height = _PRISMS[name]
    angle = 2 * np.pi * np.arange(sides) / sides
    ring = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for z in (-height / 2, height / 2) for x, y in ring]
    for i in range(sides):
        j = (i + 1) % sides
        lines += [f"f {i + 1} {j + 1} {sides + j + 1}", f"f {i + 1} {sides + j + 1} {sides + i + 1}"]
    for i in range(1, sides - 1):
        lines += [f"f 1 {i + 2} {i + 1}", f"f {sides + 1} {sides + i + 1} {sides + i + 2}"]
    return "\n".join(lines) + "\n"
