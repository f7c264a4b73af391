"""Who is told of a run's events, and what happens when one of them raises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from hmr_core.errors import HmrError
from hmr_core.plugins.discovery import CATCH, cause
from hmr_core.plugins.events import Event
from hmr_core.plugins.registry import Registry
from hmr_core.plugins.run import Run
from hmr_core.training.run_log import RunLog
from hmr_core.training.tensorboard import TensorBoard

Observer = Callable[[Run, Event], None]
"""Watches a run; what it raises is told, and training goes on."""

Tell = Callable[[str], None]
"""Takes a line for the user that begins with "note: " or "warning: "."""


class Watchers:
    """All that is told of a run's events: its own log first, then whoever watches. None of them stops the run."""

    def __init__(self, run: Run, observers: Sequence[Observer], registry: Registry, tell: Tell) -> None:
        own: list[Observer] = [RunLog(), *([TensorBoard()] if run.tensorboard else [])]
        self._observers, self._registry, self._tell = [*own, *observers], registry, tell
        self._told: set[int | str] = set()

    def __call__(self, run: Run, event: Event) -> None:
        """Tell all of an event."""
        for number, observer in enumerate(self._observers):
            try:
                observer(run, event)
            except CATCH as error:
                self._failed(number, str(error) if isinstance(error, HmrError) else cause(error))
        for failure in self._registry.notify(run, event):
            self._failed(failure.plugin, str(failure))

    def _failed(self, who: int | str, text: str) -> None:
        """Tell of what a watcher raised, of each once: it may raise at every step."""
        if who not in self._told:
            self._told.add(who)
            with suppress(OSError):  # nobody may be listening
                self._tell(f"warning: {text.rstrip('.')}; training goes on")
