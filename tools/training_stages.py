"""The stages of training that are measured: the engine's step alone, and steps of a whole run with their loading."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import TypeVar

import torch
from plain_loop import PlainLoop, load_plainly
from training_subject import Subject

from hmr_core.data.batch import Batch
from hmr_core.plugins.events import Event, StepDone
from hmr_core.plugins.recipes import override
from hmr_core.plugins.registry import discover
from hmr_core.plugins.run import Run
from hmr_core.processes import Group
from hmr_core.training.asked_data import asked_packs
from hmr_core.training.divergence import StepPlace
from hmr_core.training.losses import Losses, SharedLosses
from hmr_core.training.precision import step_arithmetic
from hmr_core.training.request import TrainingRequest
from hmr_core.training.session import start
from hmr_core.training.state import restore_or_begin
from hmr_core.training.step import StepResult, take_step
from hmr_core.training.watchers import StopRun

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How the engine computes."""

    precision: str = "float32"
    channels_last: bool = False
    compile: bool = False

    def overrides(self) -> tuple[str, ...]:
        """As a recipe takes it."""
        flags = {"channels_last": self.channels_last, "compile": self.compile}
        return (
            f"train.precision={self.precision}",
            *(f"train.{name}={str(value).lower()}" for name, value in flags.items()),
        )


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What a step took, from the end of the one before. waited_s: of that, for its batch."""

    seconds: float
    waited_s: float = 0.0


class EngineLoop:
    """The state of a run, as the engine makes it; each call is one of its steps. last: what that measured."""

    last: StepResult

    def __init__(self, subject: Subject, setting: Setting) -> None:
        self.subject = subject
        spec, recipe = subject.spec, override(subject.spec, subject.recipe, setting.overrides())
        self.config = recipe.train
        self.run = Run(
            folder=subject.folder / "steps",  # where no checkpoint is, and none is written
            model=spec.name,
            split=subject.split,
            recipe_name=subject.recipe_name,
            recipe=recipe.model_dump(mode="json"),
            data=(),
            versions={},
            started={},
        )
        self.state = restore_or_begin(self.run, spec, recipe, subject.layer, subject.device, 10**9, Group())
        self.state.model.train()
        self.losses = SharedLosses(Losses(self.state.model, spec, self.config, subject.hand), Group())

    def __call__(self, batch: Batch) -> None:
        """Take a step on a batch that was loaded: it is in memory, page-locked for a GPU."""
        own = [batch.to(self.subject.device)]
        rate, step = self.config.learning_rate, self.state.step + 1
        at = StepPlace(step=step, epoch=1, learning_rate=rate, run=self.run)
        with step_arithmetic(self.config):
            self.last = take_step(
                self.state, own, at, losses=self.losses, spec=self.subject.spec, config=self.config, group=Group()
            )


def steps_taken(step: Callable[[T], object], batches: Iterable[T], count: int) -> list[Taken]:
    """What each of so many steps took after a first one, which is not counted: the device comes to it idle.

    A GPU may still work on a step's end when the next one begins; the time from end to end has all of it.
    """
    found: list[Taken] = []
    given = iter(batches)
    ended = time.perf_counter()
    for number in range(count + 1):
        batch = next(given)
        waited = time.perf_counter() - ended
        step(batch)
        now = time.perf_counter()
        if number:
            found.append(Taken(seconds=now - ended, waited_s=waited))
        ended = now
    return found


def run_taken(subject: Subject, setting: Setting, count: int, workers: int) -> list[Taken]:
    """What the steps of a whole run took, their loading included, as the run's own events tell it.

    The first step of the run and of each of its epochs is not counted: the workers have just begun.
    """
    seen: list[StepDone] = []
    needed = count

    def watch(run: Run, event: Event) -> None:
        nonlocal needed
        if isinstance(event, StepDone):
            first = not seen or seen[-1].epoch != event.epoch
            needed += first
            seen.append(event)
            if len(seen) >= needed:
                raise StopRun("measured")

    with tempfile.TemporaryDirectory() as folder, suppress(StopRun):
        request = TrainingRequest(
            model=subject.spec.name,
            split=subject.split,
            recipe=subject.recipe_name,
            overrides=(*subject.overrides, *setting.overrides()),
            epochs=10**6,
            data=asked_packs(subject.pack.path),
            device=str(subject.device),
            workers=workers,
            out=Path(folder) / "run",
        )
        start(request, discover(), [watch], tell=lambda line: None)
    return [
        Taken(seconds=seconds, waited_s=done.data_wait * seconds)
        for before, done in zip([None, *seen], seen, strict=False)
        if before is not None and before.epoch == done.epoch
        for seconds in (subject.batch_size / done.samples_per_second,)
    ]


def plain_run_taken(subject: Subject, workers: int, count: int) -> list[Taken]:
    """The same of the plain loop, with its own loading."""
    loop = PlainLoop(subject)
    return steps_taken(loop, load_plainly(subject.source(), subject.keys(count + 1), workers), count)


def take_turns(ways: Sequence[Callable[[int], list[Taken]]], rounds: int, steps: int) -> list[list[Taken]]:
    """What the steps of each way took, so many a round; the ways take turns, so that all meet the same machine."""
    found: list[list[Taken]] = [[] for _ in ways]
    for _ in range(rounds):
        for own, way in zip(found, ways, strict=True):
            own += way(steps)
    return found


def ready(batch: Batch, device: torch.device) -> Batch:
    """A batch as the engine's loader has it before it goes to the device."""
    return batch.pin_memory() if device.type == "cuda" else batch


def repeated(step: Callable[[T], object], batches: Sequence[T]) -> Callable[[int], list[Taken]]:
    """A way for `take_turns` that goes through the same batches again and again."""
    endless = cycle(batches)
    return lambda count: steps_taken(step, endless, count)
