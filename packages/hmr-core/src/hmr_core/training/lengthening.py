"""More epochs for a run that was to have fewer, be it finished or not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from hmr_core.errors import UsageError
from hmr_core.plugins.recipes import TrainConfig
from hmr_core.plugins.run import Run
from hmr_core.training.schedule import learning_rate
from hmr_core.wording import counted


def lengthen(run: Run, epochs: int, done: int, started: Mapping[str, Any]) -> Run:
    """The run with so many epochs in its recipe, and with a record of the change; itself where it has them already.

    done: how many epochs are done. started: how the change was asked for, as `provenance` has it.
    Raises UsageError where no epoch would be left.
    """
    before = run.recipe["train"]["epochs"]
    if epochs == before:
        return run
    if epochs <= done:
        raise UsageError(
            f"{run.folder} has done {counted(done, 'epoch')} already, so {epochs} leave nothing to do. Give more than "
            f"{done}."
        )
    change = {
        "from": before, "to": epochs, "at_epoch": done, "date": started["date"], "command": started["command"]
    }  # fmt: skip
    recipe = {**run.recipe, "train": {**run.recipe["train"], "epochs": epochs}}
    return replace(run, recipe=recipe, lengthened=(*run.lengthened, change))


def lengthening_notes(before: TrainConfig, now: TrainConfig, step: int, steps_per_epoch: int) -> list[str]:
    """What a change of the number of epochs means for a run. step: how many steps are done."""
    notes = [f"{counted(now.epochs, 'epoch')} now, and {before.epochs} before"]
    if step == 0:
        return notes
    epoch = math.ceil(step / steps_per_epoch)
    was = learning_rate(before, epoch, step, steps_per_epoch)
    if was != learning_rate(now, epoch, step, steps_per_epoch):
        following = learning_rate(now, step // steps_per_epoch + 1, step + 1, steps_per_epoch)
        rates = f"{was:.3g}", f"{following:.3g}"
        jumps = f": the learning rate goes from {rates[0]} at step {step} to {rates[1]}" if len(set(rates)) > 1 else ""
        notes.append(f"{now.schedule} is now over {counted(now.epochs, 'epoch')}{jumps}")
    return notes
