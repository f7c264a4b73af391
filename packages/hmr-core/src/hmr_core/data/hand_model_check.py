"""Whether a hand model is the one that a pack's annotations were made with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy import ndarray
from torch import Tensor

from hmr_core.data.pack.reader import Pack
from hmr_core.data.sides import mirror_left
from hmr_core.errors import HmrError, Option
from hmr_core.hand.joints import MIDDLE_MCP
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.source import HandModelSource, require_side
from hmr_core.shell import command_line

TOLERANCE_MM = 2.0
"""A larger mismatch than this is worth a note; rounding in the annotations is far below it."""

ANOTHER_HAND_MM = 10.0
"""A larger mismatch than this is another hand: no vertex of the one is the same place on the other.

Well above the first, so that a data set whose annotations are a little inconsistent is not locked out.
"""

COMPARED = ("rotations", "betas", "verts")
"""The annotations that a hand model is compared with, beside the joints."""

_SAMPLES = 64


def comparable(pack: Pack, rows: Int64[ndarray, " n"]) -> Int64[ndarray, " m"]:
    """The rows whose mesh, middle knuckle, rotations and betas are known: a hand model can be compared with these."""
    if not set(COMPARED) <= set(pack.info.arrays):
        return rows[:0]
    known: ndarray = pack.verts_valid(rows) & pack.pose_valid(rows) & pack.joints_valid(rows)[:, MIDDLE_MCP]
    return np.asarray(rows[known], dtype=np.int64)


def hand_model_gaps_mm(layer: HandLayer, pack: Pack, rows: Int64[ndarray, " n"]) -> Float[Tensor, "n 778"]:
    """How far each annotated vertex of the rows is from what a hand layer makes of the annotated pose and shape, in mm.

    The rows are comparable ones. Left hands are compared mirrored: the layer is a right hand's. Both meshes are centred
    on joint 9: the layer has no place of its own. Raises HmrError where that is no number, and for a pack without
    meshes, rotations or betas.
    """
    pack.require(*COMPARED, by="Comparing the hand model with the annotations")
    given = {name: torch.from_numpy(pack.array(name, rows)).float() for name in (*COMPARED, "joints")}
    hands = mirror_left(pack, rows, given)
    with torch.no_grad():
        posed = layer(hands["rotations"], hands["betas"], centre=MIDDLE_MCP).verts
    gaps: Tensor = 1000 * (posed - (hands["verts"] - hands["joints"][:, MIDDLE_MCP, None])).norm(dim=-1)
    bad = np.flatnonzero(~torch.isfinite(gaps).all(dim=1).numpy())
    if len(bad):
        raise HmrError(
            f"the mesh of sample {pack.ids(rows[bad[:1]])[0]} in {pack.path} cannot be compared with the hand model's: "
            f"how far they are apart is no finite number, in {len(bad)} of {len(rows)} samples looked at.",
            f"`{command_line('hmr doctor', Option('data', pack.path))}` tells whether its annotations are hands.",
        )
    return gaps


def hand_model_mismatch_mm(layer: HandLayer, pack: Pack, rows: Int64[ndarray, " n"]) -> float:
    """How far the annotated meshes are from what a hand layer makes of the annotated pose and shape, mm on average.

    At most 64 samples, evenly spread over the comparable rows, are looked at. Near zero for the hand model that the
    annotations were made with. Raises HmrError naming a sample whose annotations are damaged, or are not finite, and
    where no row is comparable.
    """
    pack.require(*COMPARED, by="Comparing the hand model with the annotations")
    rows = comparable(pack, rows)
    if not len(rows):
        raise HmrError(
            f"of no sample in question {pack.path} has a mesh and rotations and betas, so that nothing tells whether "
            "the hand model is that of the annotations."
        )
    chosen = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _SAMPLES)).astype(np.int64))]
    pack.verify_annotations(chosen)  # also where training takes them unverified: a damaged one would blame the hand
    return float(hand_model_gaps_mm(layer, pack, chosen).mean())


def check_hand_model(
    source: HandModelSource,
    layer: HandLayer,
    pack: Pack,
    rows: Int64[ndarray, " n"],
    *,
    otherwise: Sequence[str | Option] = (),
) -> float:
    """The mismatch of a hand model with the annotations of the rows in mm, as hand_model_mismatch_mm has it.

    layer: of that model, on the CPU. otherwise: what else can be done, for the error.
    Raises HmrError for a left hand's model (left hands of a pack are mirrored), for annotations that are damaged or not
    finite, and for another hand than theirs: above ANOTHER_HAND_MM rotations, joints and vertices contradict each
    other. A mismatch below that may be worth a mismatch_note.
    """
    require_side(source, "right", f"posing the hands of {pack.path}")
    mismatch_mm = hand_model_mismatch_mm(layer, pack, rows)
    if mismatch_mm > ANOTHER_HAND_MM:
        raise HmrError(
            f"the hand model in use, {source.label}, is not the one that the annotations of {pack.path} were made "
            f"with: their meshes are {mismatch_mm:.1f} mm apart on average, and beyond {ANOTHER_HAND_MM:g} mm they are "
            "of different hands.",
            "Give theirs with ",
            Option("hand_model"),
            f" (`{import_command()}` makes MANO's; `hmr synth DIR` leaves DIR/hand.npz).",
            *((" ", *otherwise) if otherwise else ()),
        )
    return mismatch_mm


def import_command() -> str:
    """The command that makes a hand model of MANO's licensed file."""
    return command_line("hmr mano import", "MANO_RIGHT.pkl", Option("out", "hand.npz"))


def mismatch_note(mismatch_mm: float) -> str | None:
    """What to tell of a mismatch that was not refused, or None where there is none."""
    if mismatch_mm <= TOLERANCE_MM:
        return None
    return (
        f"the hand model and the annotations do not quite agree ({mismatch_mm:.1f} mm apart on average): meshes are "
        "off by about as much; if the annotations were made with another hand model, use that one"
    )
