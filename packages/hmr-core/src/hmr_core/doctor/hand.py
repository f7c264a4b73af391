"""The hand model in use: what it is, whether it is sound, and whether the pack's meshes are of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hmr_core.data.hand_model_check import (
    ANOTHER_HAND_MM,
    TOLERANCE_MM,
    comparable,
    hand_model_gaps_mm,
    import_command,
)
from hmr_core.data.pack.reader import Pack
from hmr_core.doctor.choose import chosen
from hmr_core.doctor.finding import Finding
from hmr_core.errors import Option
from hmr_core.hand.arrays import ENVIRONMENT
from hmr_core.hand.joints import N_FACES, N_VERTS
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.side import side_of
from hmr_core.hand.source import HandModelSource
from hmr_core.shell import flag
from hmr_core.wording import listed

SECTION = "hand model"

SAMPLES = 64
"""How many samples' meshes are compared."""

GET = (
    f"Give the annotations' own by {flag(Option('hand_model'))} or {ENVIRONMENT}: `{import_command()}` makes MANO's, "
    "`hmr synth DIR` leaves DIR/hand.npz."
)

COMPARE = "Compare these annotations with the data set's; where they differ, unpack and pack them again."


def contents(source: HandModelSource) -> Iterator[Finding]:
    """Which hand model it is, and whether its arrays are a hand's."""
    model = source.model
    yield Finding(section=SECTION, level="ok", text=f"{source.label} opens")
    if source.synthetic:
        text = "the hand model is synthetic: meshes and results made with it are labelled so"
        remedy = f"{import_command()}, then export {ENVIRONMENT}=$PWD/hand.npz, for MANO's"
        yield Finding(section=SECTION, level="note", text=text, remedy=remedy)
    off = max(float((array.sum(1) - 1).abs().max()) for array in (model.skin_weights, model.joint_regressor))
    rows, columns = model.joint_regressor.shape
    yield Finding(
        section=SECTION,
        level="ok",
        text=f"{N_VERTS} vertices, {N_FACES} faces, {rows} joints of {columns} vertices; rows of weights and regressor "
        f"sum to 1 (off by {off:.1g} at most)",
    )
    seen = side_of((model.joint_regressor @ model.template).double().numpy())
    if seen is not None and seen != model.side:
        text = f"the file says that it is of a {model.side} hand, and its shape is a {seen} one's"
        yield Finding(section=SECTION, level="wrong", text=text, remedy="Import the file again, with its side.")
    if model.side != "right":
        text = f"the hand model is of a {model.side} hand; hmr poses right ones, and mirrors a data set's left ones"
        yield Finding(section=SECTION, level="wrong", text=text, remedy=GET)


def of_pack(source: HandModelSource, pack: Pack, rng: np.random.Generator, *, given: bool) -> Iterator[Finding]:
    """Whether the pack's meshes are what the hand model makes of its poses and shapes.

    given: whether the user chose the hand model. One that nobody chose need not be the right one: most models of
    images do without.
    """
    there = comparable(pack, np.arange(len(pack)))
    if not len(there):
        text = f"{pack.path} has no meshes with rotations and betas, so that the hand model is not compared with it"
        yield Finding(section=SECTION, level="note", text=text)
        return
    rows = there[chosen(len(there), SAMPLES, rng)]
    gaps = hand_model_gaps_mm(HandLayer(source.model), pack, rows)
    mean, worst = float(gaps.mean()), float(gaps.max())
    apart = np.flatnonzero((gaps.amax(dim=1) > ANOTHER_HAND_MM).numpy())
    measured = f"{mean:.2f} mm apart on average, {worst:.2f} mm at most ({len(rows)} samples)"
    if mean <= TOLERANCE_MM and len(apart):
        text = (
            f"{len(apart)} of {len(rows)} meshes of {pack.path} are not what it makes of their poses and shapes "
            f"({listed(pack.ids(rows[apart]))}): {measured}"
        )
        yield Finding(section=SECTION, level="wrong", text=text, remedy=COMPARE)
    elif mean <= TOLERANCE_MM:
        text = f"it makes the meshes of {pack.path} from their poses and shapes: {measured}"
        yield Finding(section=SECTION, level="ok", text=text)
    elif mean <= ANOTHER_HAND_MM:
        text = f"it does not quite make the meshes of {pack.path}: {measured}"
        yield Finding(section=SECTION, level="warning", text=text, remedy=GET)
    else:
        text = f"it is not the hand of the annotations of {pack.path}: {measured}"
        note = (
            ""
            if given
            else "; what poses hands (IKNet, solvers) refuses this pack without theirs, the rest does not need it"
        )
        yield Finding(section=SECTION, level="wrong" if given else "warning", text=text + note, remedy=GET)
