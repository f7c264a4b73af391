"""What exists in hmr's own packages, so that a name whose package is not installed is answered with the pip command."""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """A model or solver of a package of ours. distribution: what `pip install` takes."""

    distribution: str
    summary: str


KNOWN: dict[str, dict[str, Known]] = {
    "model": {
        "integral": Known("hmr-integral", "Integral-Pose: joints by soft-argmax over 3D heat maps"),
        "rle": Known("hmr-rle", "RLE: joints by regression with residual log-likelihood"),
        "i2l": Known("hmr-i2l", "I2L-MeshNet: joints and mesh from lixel heat maps"),
        "iknet": Known("hmr-iknet", "IKNet: joints to rotations and shape of the hand"),
    },
    "dataset": {},
    "solver": {
        "iknet": Known("hmr-iknet", "joints to mesh: IKNet and a fit behind it"),
    },
}
"""By kind of thing, then by name."""
