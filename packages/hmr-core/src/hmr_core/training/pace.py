"""How fast the steps of a run were, all together."""

from __future__ import annotations

from dataclasses import dataclass

from hmr_core.plugins.events import StepDone


@dataclass
class Pace:
    """Means over steps of batches of one size, each step counted by the time that it took."""

    steps: int = 0
    _time: float = 0.0  # of a step, in units of the time that a sample takes at one sample a second
    _waited: float = 0.0

    def add(self, event: StepDone) -> None:
        """Count a step."""
        time = 1 / event.samples_per_second
        self.steps += 1
        self._time += time
        self._waited += event.data_wait * time

    @property
    def samples_per_second(self) -> float:
        """The samples of all steps over the time of all steps; there must be some."""
        return self.steps / self._time

    @property
    def data_wait(self) -> float:
        """The share of the steps' time in which they waited for data, 0 to 1; there must be some."""
        return self._waited / self._time
