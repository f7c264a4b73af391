"""Whether a hand model is the one that a pack's annotations were made with."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int64
from numpy import ndarray

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError
from hmr_core.hand.joints import MIDDLE_MCP
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.source import HandModelSource, require_side

TOLERANCE_MM = 2.0
"""A larger mismatch than this is another hand model; rounding in the annotations is far below it."""

_SAMPLES = 64


def hand_model_mismatch_mm(layer: HandLayer, pack: Pack, rows: Int64[ndarray, " n"]) -> float:
    """How far the annotated meshes are from what a hand layer makes of the annotated pose and shape, mm on average.

    Both are centred on joint 9 (the layer has no place of its own). At most 64 samples, evenly spread over the rows,
    are looked at. Near zero for the hand model that the annotations were made with.
    """
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLES)).astype(np.int64))]
    pose, shape, verts, joints = (
        torch.from_numpy(pack.array(name, chosen)).float() for name in ("mano_pose", "mano_shape", "verts", "joints")
    )
    with torch.no_grad():
        posed = layer(pose, shape, centre=MIDDLE_MCP).verts
    gap = posed - (verts - joints[:, MIDDLE_MCP : MIDDLE_MCP + 1])
    return float(gap.norm(dim=-1).mean()) * 1000


def layer_of_annotations(source: HandModelSource, pack: Pack, rows: Int64[ndarray, " n"]) -> HandLayer:
    """The hand layer to train a model of joints with, on the CPU.

    Raises HmrError when the hand model is not the one that the annotations of the rows were made with: rotations,
    joints and vertices would then contradict each other.
    """
    require_side(source, "right", "training on OakInk-Image")
    layer = HandLayer(source.model)
    mismatch_mm = hand_model_mismatch_mm(layer, pack, rows)
    if mismatch_mm > TOLERANCE_MM:
        raise HmrError(
            f"the hand model {source.label} is not the one that the annotations of {pack.path} were made with: their "
            f"meshes are {mismatch_mm:.1f} mm apart on average, and {TOLERANCE_MM:g} mm are allowed. Give theirs with "
            "--hand-model (`hmr mano import MANO_RIGHT.pkl --out hand.npz` for OakInk; `hmr synth DIR` leaves "
            "DIR/hand.npz)."
        )
    return layer


def mismatch_note(mismatch_mm: float) -> str | None:
    """What to tell of a mismatch, or None where there is none."""
    if mismatch_mm <= TOLERANCE_MM:
        return None
    return (
        f"the annotations were not made with this hand model ({mismatch_mm:.1f} mm apart on average): mesh figures "
        "mean little; give theirs with --hand-model"
    )
