"""Numbers that are not finite in training: found before the optimizer sees them, told with step, samples and cause."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from hmr_core.errors import HmrError, Option
from hmr_core.plugins.run import Run
from hmr_core.shell import command_line
from hmr_core.weights.checkpoint_folders import newest_checkpoint
from hmr_core.wording import counted

GROWN = 1e6
"""No weight of a network that learns is as large; one that is has been made so by the optimizer's steps."""


@dataclass(frozen=True, kw_only=True)
class StepPlace:
    """A step of a run, for its errors. ids: of the batch's samples. pack: the file that they are from."""

    run: Run
    step: int
    epoch: int
    learning_rate: float
    ids: Sequence[str]
    pack: Path

    @property
    def when(self) -> str:
        """The step in words."""
        return f"at step {self.step} (epoch {self.epoch})"


def refuse_non_finite(losses: Mapping[str, float], norms: Mapping[str, float], model: nn.Module, at: StepPlace) -> None:
    """HmrError for a loss or a gradient that is not finite; the optimizer must not have been run.

    losses: the terms and "total". norms: of the gradients. A norm that is infinite although its gradient is finite is
    refused, too: its square would be in Adam's state for good.
    """
    terms = ", ".join(f"{name} {value:g}" for name, value in losses.items())
    if not math.isfinite(losses["total"]):
        what = f"the loss is not finite {at.when}: {terms}."
    elif bad := [name for name, norm in norms.items() if not math.isfinite(norm)]:
        more = f" and of {counted(len(bad) - 1, 'more parameter')}" if len(bad) > 1 else ""
        what = (
            f"the gradient of {bad[0]}{more} is not finite {at.when}: its norm is {norms[bad[0]]:g}. "
            f"The loss is finite: {terms}."
        )
    else:
        return
    raise HmrError(
        f"{what} The optimizer was not run. {what_next(newest_checkpoint(at.run.checkpoints))} {_cause(model, at)}"
    )


def _cause(model: nn.Module, at: StepPlace) -> str:
    """What is to be blamed: the learning rate if it has made the weights huge, else the batch."""
    largest = {name: float(p.detach().abs().max()) for name, p in model.named_parameters() if p.numel()}
    if grown := [name for name, size in largest.items() if not size <= GROWN]:
        return (
            f"The weights have grown to {largest[grown[0]]:.3g} ({grown[0]}), so it is the optimizer's steps and not "
            f"the samples: use a smaller train.learning_rate (here {at.learning_rate:g}), or set train.clip_norm."
        )
    return (
        f"`{command_line('hmr doctor', Option('data', at.pack))}` tells whether annotations are hands. If they "
        f"are, train.learning_rate (here {at.learning_rate:g}) may be too large. "
        f"The samples of that batch: {', '.join(at.ids)}."
    )


def what_next(saved: Path | None) -> str:
    """What there is to go on from when numbers are not finite. saved: the run's last checkpoint, if any."""
    kept = "No checkpoint was written yet" if saved is None else f"The last checkpoint, {saved}, is untouched"
    return f"{kept}; a resumed run would take the same steps, so remove the cause and start a new run."
