"""The synthetic hand: a procedural right hand in MANO's layout, so that everything runs without a licensed file.

It lies flat in the x-z plane as MANO's right hand does: fingers towards -x, thumb on the +z side, palm facing -y; the
middle finger's knuckle is near the origin and the wrist 92 mm behind it. `tools/build_synthetic_hand.py` made the file.
"""

from __future__ import annotations

from importlib.resources import as_file, files

from hmr_core.hand.model import HandModel, load_hand_model

NAME = "synthetic"
"""What its file calls it."""


def load_synthetic_hand() -> HandModel:
    """Load the synthetic hand that comes with the package, float64, metres."""
    with as_file(files("hmr_core.hand") / "synthetic_hand.npz") as path:
        return load_hand_model(path)
