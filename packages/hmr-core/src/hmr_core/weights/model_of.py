"""Which model weights are of, where nobody says it."""

from __future__ import annotations

from pathlib import Path

from hmr_core.errors import HmrError, Option
from hmr_core.weights.checkpoint_record import read_record
from hmr_core.weights.find_weights import find_weights, is_ours, without_choice


def model_of(path: Path) -> str:
    """Name the model that a run, a checkpoint or a released file is of; HmrError where neither says it.

    torch is imported only to look into a file.
    """
    weights = find_weights(path)
    if is_ours(without_choice(path), weights):
        return read_record(weights).model

    from hmr_core.nn.files import read_state_dict
    from hmr_core.weights.released import known_model

    name = known_model(read_state_dict(weights, valid=()))
    if name is None:
        raise HmrError(
            f"{path} does not say of which model it is, and is no file that is known.", "Give ", Option("model"), "."
        )
    return name
