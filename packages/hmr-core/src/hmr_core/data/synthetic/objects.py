"""The objects of the synthetic data set: twelve things that a hand can hold, and their files in the `obj` folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from hmr_core.data.synthetic.solids import RoundedBox, Solid, Turned, rounded, sphere_profile
from hmr_core.errors import HmrError

_BAND, _BAND_EDGE_M = 0.29, 0.0004
"""How far a band around an object's middle reaches each way, as a part of its length, and how sharp its edges are."""

_ANGLE = 2 * np.pi * np.arange(12) / 12

_SOLIDS: dict[str, tuple[str, Solid]] = {
    "A01001": (
        "bottle",
        Turned(
            rounded([(0.0, -0.07), (0.021, -0.07), (0.021, 0.025), (0.009, 0.042), (0.009, 0.065), (0.0, 0.065)], 0.005)
        ),
    ),
    "A02014": ("box", RoundedBox((0.015, 0.022, 0.05), 0.003)),
    "C12001": ("can", Turned(rounded([(0.0, -0.045), (0.024, -0.045), (0.024, 0.045), (0.0, 0.045)], 0.004))),
    "C31005": ("ball", Turned(sphere_profile(0.027))),
    "A03005": (
        "cup",
        Turned(
            rounded(
                [(0.0, -0.04), (0.021, -0.04), (0.029, 0.04), (0.026, 0.04), (0.018, -0.036), (0.0, -0.036)], 0.0015
            )
        ),
    ),
    "A06023": ("cone", Turned(rounded([(0.0, -0.045), (0.028, -0.045), (0.004, 0.05), (0.0, 0.05)], 0.005))),
    "C08002": ("roll", Turned(np.stack([0.026 + 0.012 * np.cos(_ANGLE), 0.012 * np.sin(_ANGLE)], axis=1))),
    "C13001": ("stick", Turned(rounded([(0.0, -0.085), (0.008, -0.08), (0.008, 0.06), (0.0, 0.085)], 0.003))),
    "C52001": (
        "bowl",
        Turned(
            rounded(
                [(0.0, -0.02), (0.018, -0.02), (0.036, 0.018), (0.033, 0.018), (0.016, -0.016), (0.0, -0.016)], 0.0015
            )
        ),
    ),
    "S15007": (
        "jar",
        Turned(
            rounded(
                [
                    *((0.0, -0.04), (0.025, -0.04), (0.025, 0.02), (0.017, 0.026)),
                    *((0.017, 0.032), (0.02, 0.032), (0.02, 0.044), (0.0, 0.044)),
                ],
                0.004,
            )
        ),
    ),
    "S20003": ("slab", RoundedBox((0.009, 0.028, 0.055), 0.004)),
    "Y21004": (
        "spindle",
        Turned(
            rounded(
                [
                    *((0.0, -0.06), (0.023, -0.06), (0.023, -0.04), (0.012, -0.025)),
                    *((0.012, 0.025), (0.023, 0.04), (0.023, 0.06), (0.0, 0.06)),
                ],
                0.006,
            )
        ),
    ),
}

OBJECTS = tuple(_SOLIDS)
"""Their names, in the order in which data sets take them."""


@dataclass(frozen=True)
class Object:
    """A thing about its own origin, metres; faces counter-clockwise seen from outside. banded: the vertices of the band
    around its middle that is painted in another colour.
    """

    name: str
    kind: str
    solid: Solid
    verts_m: Float64[ndarray, "v 3"]
    faces: Int64[ndarray, "f 3"]
    banded: Bool[ndarray, "v"]


@cache
def object_named(name: str) -> Object:
    """The object of a name in OBJECTS; HmrError for another."""
    if name not in _SOLIDS:
        raise HmrError(f"there is no synthetic object {name}; there are {', '.join(OBJECTS)}.")
    kind, solid = _SOLIDS[name]
    low, high = solid.height_m
    middle, reach = (low + high) / 2, _BAND * (high - low)
    edges = [middle + sign * (reach + off) for sign in (-1, 1) for off in (-_BAND_EDGE_M / 2, _BAND_EDGE_M / 2)]
    verts, faces = solid.mesh(edges)
    banded = np.abs(verts[:, 2] - middle) < reach
    return Object(name=name, kind=kind, solid=solid, verts_m=verts, faces=faces, banded=banded)


def object_text(name: str) -> str:
    """The Wavefront OBJ text of an object, metres."""
    shown = object_named(name)
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in shown.verts_m.tolist()]
    lines += [f"f {a} {b} {c}" for a, b, c in (shown.faces + 1).tolist()]
    return "\n".join(lines) + "\n"
