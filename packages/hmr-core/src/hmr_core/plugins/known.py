"""What hmr's own packages offer: a package that is not installed is answered with its pip command."""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """What a package of ours offers.

    distribution: what `pip install` takes. tensor: a name that only this model's released files have, to tell them by.
    """

    distribution: str
    summary: str
    tensor: str = ""


_MEDIAPIPE = Known("hmr-mediapipe", "MediaPipe's hand networks: hands of any photo or video, without training")

KNOWN: dict[str, dict[str, Known]] = {
    "model": {
        "integral": Known(
            "hmr-integral", "Integral-Pose: joints by soft-argmax over 3D heat maps", "pose_head.final_layer.weight"
        ),
        "rle": Known("hmr-rle", "RLE: joints by regression with residual log-likelihood", "fc_sigma.weight"),
        "i2l": Known("hmr-i2l", "I2L-MeshNet: joints and mesh from lixel heat maps", "pose_net.conv_x.0.weight"),
        "pyramid": Known("hmr-pyramid", "Pyramid: joints, rotations, shape and mesh in one pass"),
        "iknet": Known("hmr-iknet", "IKNet: joints to rotations and shape of the hand", "invk_layers.0.weight"),
    },
    "dataset": {
        "freihand": Known("hmr-datasets", "FreiHAND v2"),
        "ho3d": Known("hmr-datasets", "HO-3D v2 and v3"),
        "dexycb": Known("hmr-datasets", "DexYCB"),
        "interhand": Known("hmr-datasets", "InterHand2.6M"),
    },
    "solver": {
        "iknet": Known("hmr-iknet", "joints to mesh: IKNet and a fit behind it"),
    },
    "detector": {"mediapipe": _MEDIAPIPE},
    "backbone": {
        "trunk": Known("hmr-pyramid", "depthwise convolutions, from scratch in minutes"),
        "timm/": Known("hmr-timm", "any of timm's backbones: timm/NAME"),
    },
    "predictor": {"mediapipe": _MEDIAPIPE},
}
"""By kind of thing, then by name."""
