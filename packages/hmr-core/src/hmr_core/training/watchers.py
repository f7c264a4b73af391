"""Who is told of a run's events, and what happens when one of them raises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from hmr_core.errors import HmrError
from hmr_core.plugins.discovery import CATCH, cause
from hmr_core.plugins.events import Event, RunEnded
from hmr_core.plugins.registry import Registry
from hmr_core.plugins.run import Run
from hmr_core.training.run_log import RunLog
from hmr_core.training.run_text import say
from hmr_core.training.tensorboard import TensorBoard
from hmr_core.training.wandb import WandB

Observer = Callable[[Run, Event], None]
"""Watches a run; what it raises is told, and training goes on, unless it is StopRun."""

Tell = Callable[[str], None]
"""Takes a line for the user that begins with "note: " or "warning: "."""


class StopRun(Exception):  # noqa: N818  # it is no error
    """Raised by an observer to end the run that it watches. reason: how the run ended, in words ("pruned").

    At EpochDone the epoch's checkpoint is on disk, so that the run may be resumed.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def tell_on_stderr(line: str) -> None:
    """Print a line on stderr, if anybody is there."""
    with suppress(OSError):
        say(line)


def nobody(line: str) -> None:
    """Tell nobody: the first of several processes tells."""


class Watchers:
    """All that is told of a run's events: its own log first, then whoever watches. StopRun alone stops the run."""

    def __init__(self, run: Run, observers: Sequence[Observer], registry: Registry, tell: Tell) -> None:
        own: list[Observer] = [RunLog()]
        own += [TensorBoard()] if run.tensorboard else []
        own += [WandB()] if run.wandb else []
        self._observers, self._registry, self._tell = [*own, *observers], registry, tell
        self._told: set[int | str] = set()

    def __call__(self, run: Run, event: Event) -> None:
        """Tell all of an event; then raise the first StopRun that an observer raised, if any did."""
        stop: StopRun | None = None
        for number, observer in enumerate(self._observers):
            try:
                observer(run, event)
            except StopRun as asked:
                stop = stop or asked
            except CATCH as error:
                self._failed(number, str(error) if isinstance(error, HmrError) else cause(error))
        for failure in self._registry.notify(run, event):
            self._failed(failure.plugin, str(failure))
        if stop is not None and not isinstance(event, RunEnded):  # at its end there is nothing left to stop
            raise stop

    def _failed(self, who: int | str, text: str) -> None:
        """Tell of what a watcher raised, of each once: it may raise at every step."""
        if who not in self._told:
            self._told.add(who)
            with suppress(OSError):  # nobody may be listening
                self._tell(f"warning: {text.rstrip('.')}; training goes on")
