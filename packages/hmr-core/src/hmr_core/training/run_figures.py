"""A run's figures on val, epoch by epoch."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hmr_core.plugins.run import Run
from hmr_core.training.run_metrics import measured_epochs

Value = TypeVar("Value", float, float | None)


def of_all(val: Mapping[str, Value]) -> dict[str, Value]:
    """The metrics of all that is validated on: of several packs their means."""
    return {name: value for name, value in val.items() if "/" not in name}


def by_pack(val: Mapping[str, Value]) -> dict[str, dict[str, Value]]:
    """The metrics on each pack of a mixture, by its name; empty where there is but one pack."""
    found: dict[str, dict[str, Value]] = {}
    for name, value in val.items():
        pack, slash, metric = name.rpartition("/")
        if slash:
            found.setdefault(pack, {})[metric] = value
    return found


@dataclass(frozen=True, kw_only=True)
class EpochFigures:
    """The metrics on val after an epoch (keys of a report's `metrics`); those that could be measured.

    Of a mixture those of each pack are there besides, as NAME/mpjpe_mm.
    """

    epoch: int
    val: Mapping[str, float]

    @property
    def mpjpe_mm(self) -> float:
        """The MPJPE in mm; infinite where there is none."""
        return self.val.get("mpjpe_mm", math.inf)


def epoch_figures(run: Run) -> list[EpochFigures]:
    """What a run's metrics.jsonl has of each epoch, the first one first."""
    return [
        EpochFigures(
            epoch=values["epoch"],
            val={name: float(value) for name, value in values["val"].items() if _is_figure(value)},
        )
        for values in measured_epochs(run)
    ]


def _is_figure(value: object) -> bool:
    """Whether a value is a number, and none that only a damaged line has."""
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def best_epoch(figures: Sequence[EpochFigures]) -> EpochFigures | None:
    """Choose the epoch with the lowest MPJPE on val, the first of equal ones; None where none was scored."""
    scored = [each for each in figures if math.isfinite(each.mpjpe_mm)]
    return min(scored, key=lambda each: each.mpjpe_mm, default=None)
