"""Make the hand layer that was chosen."""

from __future__ import annotations

from hmr_core.errors import unknown_name
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.layer_names import HAND_LAYERS, MANOTORCH, OWN
from hmr_core.hand.model import HandModel


def make_layer(model: HandModel, kind: str = OWN) -> HandLayer:
    """Make a hand model's layer, in single precision: our own, or manotorch behind the same interface.

    Raises UsageError for another kind, HmrError where manotorch is not installed.
    """
    if kind == OWN:
        return HandLayer(model)
    if kind == MANOTORCH:
        from hmr_core.hand.manotorch_layer import ManotorchLayer

        return ManotorchLayer(model)
    raise unknown_name("hand layer", kind, HAND_LAYERS)
