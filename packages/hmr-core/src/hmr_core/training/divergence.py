"""Numbers that are not finite in training: found before the optimizer sees them, told with step, samples and cause.

Processes see the mean of their losses and gradients, so all of them stop in the same step. Then each looks whether it
was its own numbers, and all end by the same error.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from torch import nn

from hmr_core.data.batch import Batch
from hmr_core.errors import HmrError, Option
from hmr_core.plugins.run import Run
from hmr_core.processes import Group
from hmr_core.shell import command_line
from hmr_core.training.failed_step import FailedStep, save_failed_step
from hmr_core.weights.checkpoint_folders import newest_checkpoint
from hmr_core.wording import counted

GROWN = 1e6
"""No weight of a network that learns is as large; one that is has been made so by the optimizer's steps."""


@dataclass(frozen=True, kw_only=True)
class StepPlace:
    """A step of a run, for its errors."""

    run: Run
    step: int
    epoch: int
    learning_rate: float

    @property
    def when(self) -> str:
        """The step in words."""
        return f"at step {self.step} (epoch {self.epoch})"


@dataclass(frozen=True, kw_only=True)
class StepNumbers:
    """What a step measured, by name. losses: the terms and "total". norms: of the gradients.

    A norm that is infinite although its gradient is finite is not finite either: its square would be in Adam's state
    for good.
    """

    losses: Mapping[str, float]
    norms: Mapping[str, float]

    @property
    def broken(self) -> list[str]:
        """The parameters whose gradients are not finite."""
        return [name for name, norm in self.norms.items() if not math.isfinite(norm)]

    @property
    def finite(self) -> bool:
        """Whether the optimizer may have them."""
        return math.isfinite(self.losses["total"]) and not self.broken


@dataclass(frozen=True, kw_only=True)
class _Own:
    """What one process gave to a step that is not finite: its numbers, and its parts of the batch, on the CPU."""

    rank: int
    numbers: StepNumbers
    parts: Sequence[Batch]
    device: str

    @property
    def ids(self) -> list[str]:
        return [i for part in self.parts for i in part.ids]


def refuse_step(
    numbers: StepNumbers,
    own: Callable[[], StepNumbers],
    parts: Sequence[Batch],
    model: nn.Module,
    at: StepPlace,
    group: Group,
) -> NoReturn:
    """Raise an HmrError, the same one in all processes, for numbers that are not finite; the step is kept for a replay.

    numbers: the whole batch's; the optimizer must not have been run. own: gives those of this process's parts alone.
    """
    mine = _Own(
        rank=group.rank,
        numbers=numbers if group.count == 1 else own(),
        parts=[part.to("cpu") for part in parts],
        device=str(parts[0].targets.root.device),
    )
    # Batches are large: those that are to blame travel, and the first one's, if it was none of them but their sum.
    all_of_them = group.gather(mine if group.first or not mine.numbers.finite else None)
    text = ""
    if group.first:
        known = [one for one in all_of_them if one is not None]
        blamed = [one for one in known if not one.numbers.finite]
        cause = _cause(model, at, blamed or known, group.count)
        kept = _kept((blamed or known)[0], model, at, group)
        text = (
            f"{_what(blamed, numbers, at, group.count)} The optimizer was not run. "
            f"{what_next(newest_checkpoint(at.run.checkpoints))} {cause} {kept}"
        )
    raise HmrError(group.share(text))


def _what(blamed: Sequence[_Own], whole: StepNumbers, at: StepPlace, count: int) -> str:
    """What is not finite, and whose it is, as sentences."""
    if not blamed:
        return _sentence(whole, f"{at.when} in the mean over {count} processes, though in none of them")
    if count == 1:
        return _sentence(blamed[0].numbers, at.when)
    return " ".join(_sentence(one.numbers, f"{at.when} in process {one.rank} of {count}") for one in blamed)


def _sentence(numbers: StepNumbers, where: str) -> str:
    terms = ", ".join(f"{name} {value:g}" for name, value in numbers.losses.items())
    if not math.isfinite(numbers.losses["total"]):
        return f"the loss is not finite {where}: {terms}."
    bad = numbers.broken
    more = f" and of {counted(len(bad) - 1, 'more parameter')}" if len(bad) > 1 else ""
    return (
        f"the gradient of {bad[0]}{more} is not finite {where}: its norm is {numbers.norms[bad[0]]:g}. "
        f"The loss is finite: {terms}."
    )


def _cause(model: nn.Module, at: StepPlace, blamed: Sequence[_Own], count: int) -> str:
    """What is to be blamed: the learning rate if it has made the weights huge, else the batch."""
    largest = {name: float(p.detach().abs().max()) for name, p in model.named_parameters() if p.numel()}
    if grown := [name for name, size in largest.items() if not size <= GROWN]:
        return (
            f"The weights have grown to {largest[grown[0]]:.3g} ({grown[0]}), so it is the optimizer's steps and not "
            f"the samples: use a smaller train.learning_rate (here {at.learning_rate:g}), or set train.clip_norm."
        )
    samples = (
        ", ".join(blamed[0].ids)
        if count == 1
        else "; ".join(f"in process {one.rank}: {', '.join(one.ids)}" for one in blamed)
    )
    doctors = " and ".join(f"`{command_line('hmr doctor', Option('data', pack.path))}`" for pack in at.run.data)
    return (
        f"{doctors} {'tells' if len(at.run.data) == 1 else 'tell'} whether annotations are hands. If they "
        f"are, train.learning_rate (here {at.learning_rate:g}) may be too large. "
        f"The samples of that batch{': ' if count == 1 else ' '}{samples}."
    )


def _kept(one: _Own, model: nn.Module, at: StepPlace, group: Group) -> str:
    """Keep a process's batch, and say how to take the step again."""
    run, hand = at.run, at.run.hand_model
    failed = FailedStep(
        model=run.model,
        split=run.split,
        recipe_name=run.recipe_name,
        recipe=run.recipe,
        hand_model=None if hand is None else {"path": str(hand.path) if hand.path else None, "blake2b": hand.blake2b},
        data=[{"path": str(pack.path.resolve()), **pack.as_json()} for pack in run.data],
        epoch=at.epoch,
        step=at.step,
        rank=one.rank,
        processes=group.count,
        learning_rate=at.learning_rate,
        device=one.device,
        losses={
            name: value if math.isfinite(value) else str(value) for name, value in one.numbers.losses.items()
        },  # JSON has no such numbers
        gradients=one.numbers.broken,
        ids=[part.ids for part in one.parts],
        versions=run.versions,
    )
    try:
        folder = save_failed_step(run, failed, one.parts, model)
    except HmrError as error:
        return f"The batch could not be kept: {error}"
    code = f"from hmr_core.testing import replay; print(replay({json.dumps(str(folder))}, detect_anomaly=True))"
    return f"The batch and the weights are kept; this takes the step again: python -c {shlex.quote(code)}"


def what_next(saved: Path | None) -> str:
    """What there is to go on from when numbers are not finite. saved: the run's last checkpoint, if any."""
    kept = "No checkpoint was written yet" if saved is None else f"The last checkpoint, {saved}, is untouched"
    return f"{kept}; a resumed run would take the same steps, so remove the cause and start a new run."
