"""Early stopping: a run ends when val has not improved for some epochs.

The records of the run's checkpoints decide, of which the newest and the best on val are always kept. So a resumed run
stops where one stops that was never interrupted, and one that has stopped is finished.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from hmr_core.config import first_problem
from hmr_core.errors import HmrError
from hmr_core.plugins.recipes import TrainConfig
from hmr_core.plugins.run import CONFIG, Run
from hmr_core.weights.checkpoint_folders import saved_checkpoints
from hmr_core.weights.checkpoint_record import CheckpointRecord, best_on_val
from hmr_core.weights.damage import readable_records


def check_patience(config: TrainConfig, val_samples: int) -> None:
    """HmrError where a run is to stop by what val says, and there is no val."""
    if config.patience is not None and config.subset == "train" and not val_samples:
        raise HmrError("train.patience waits for a lower MPJPE on val, and there is no val. Set train.patience=null.")


def patience_note(config: TrainConfig) -> str | None:
    """What the user should know where train.patience has no effect."""
    if config.patience is None or config.subset == "train":
        return None
    return "train.patience has no effect: on samples that are trained on, the error falls as long as training goes on"


def reason_to_stop(config: TrainConfig, kept: Mapping[Path, CheckpointRecord]) -> str | None:
    """Why a run stops early, in words; None where it goes on, as it always does where val is trained on.

    kept: the records of the run's checkpoints by their folders, oldest first.
    """
    best = best_on_val(kept)
    if config.patience is None or config.subset != "train" or best is None:
        return None
    best_epoch = kept[best].epoch or 0
    last = max(record.epoch or 0 for record in kept.values() if record.mpjpe_on_val is not None)
    if last - best_epoch < config.patience:
        return None
    return f"MPJPE on val was lowest at epoch {best_epoch}, {kept[best].mpjpe_on_val:.3f} mm"


def stopped_early(run: Run) -> str | None:
    """Why a run stops, or has stopped, before its last epoch, by its files; None where it does not.

    A checkpoint whose record cannot be read decides nothing: the run may go on without it.
    """
    if run.recipe["train"].get("patience") is None:
        return None
    try:
        config = TrainConfig.model_validate(run.recipe["train"])
    except ValidationError as error:
        raise HmrError(f"{run.folder / CONFIG} was altered or damaged: {first_problem(error)}") from error
    return reason_to_stop(config, readable_records(saved_checkpoints(run.checkpoints)))
