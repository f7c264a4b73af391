"""A run's metrics for Weights & Biases (W&B), in the run's own folder; offline unless it is told to go online."""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path
from typing import Any

from hmr_core.files import read_bytes
from hmr_core.optional_packages import require_package
from hmr_core.plugins.events import EpochDone, Event, RunEnded, RunStarted, StepDone
from hmr_core.plugins.run import Run
from hmr_core.staging import write_text
from hmr_core.training.run_log import is_written
from hmr_core.training.scalars import scalars

FOLDER, ID = "wandb", "id"
"""In a run's folder: what W&B writes, and in that the name by which it knows the run."""

MODE, PROJECT = "WANDB_MODE", "WANDB_PROJECT"
"""W&B's own variables of the environment that count here: offline (the default), online or disabled; the project."""


class WandB:
    """Writes a run's metrics as W&B has them. A resumed run goes on with the run that W&B knows."""

    def __init__(self) -> None:
        self._run: Any = None
        self._steps_per_epoch = 1

    def __call__(self, run: Run, event: Event) -> None:
        """Write an event's metrics."""
        if isinstance(event, RunStarted):
            self._steps_per_epoch = event.steps_per_epoch
            self._run = _begin(run)
        elif self._run is None:
            return
        elif isinstance(event, EpochDone) or (
            isinstance(event, StepDone) and is_written(event.step, self._steps_per_epoch)
        ):
            self._run.log({**scalars(event), "step": event.step, "epoch": event.epoch})
        elif isinstance(event, RunEnded):
            self._run.finish(exit_code=0 if event.reason.startswith("finished") else 1)


def require_wandb() -> None:
    """HmrError if W&B is not installed, or its package cannot be used."""
    if _mode() == "offline":
        # From its import on errors would be sent, offline or not.
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    require_package("wandb", "W&B", 'pip install "hmr-core[wandb]"', has="init")


def _mode() -> str:
    return os.environ.get(MODE) or "offline"


def _begin(run: Run) -> Any:
    require_wandb()
    mode: Any = _mode()
    import wandb

    (run.folder / FOLDER).mkdir(exist_ok=True)  # W&B would write elsewhere, without a word
    drawn = wandb.init(
        project=os.environ.get(PROJECT) or "hmr",
        name=run.folder.resolve().name,
        id=_identity(run.folder / FOLDER / ID),
        resume=None if mode == "offline" else "allow",  # a part that is sent later goes to the run of its id anyway
        mode=mode,
        dir=str(run.folder),
        config={"model": run.model, "split": run.split, "recipe_name": run.recipe_name, **run.recipe},
        # The terminal, the code and its commits are the run's own affair: config.json and train.log have them.
        settings=wandb.Settings(console="off", silent=True, disable_git=True, disable_code=True),
    )
    # Steps that are taken again after a stop count again: W&B's own count only goes up.
    drawn.define_metric("step")
    drawn.define_metric("*", step_metric="step")
    return drawn


def _identity(path: Path) -> str:
    """The name by which W&B knows a run, made when it is first asked for."""
    if path.exists():
        known = read_bytes(path).decode("utf-8", "replace").strip()
        if re.fullmatch(r"[0-9a-f]{8}", known):
            return known
    made = secrets.token_hex(4)
    write_text(path, f"{made}\n")
    return made
