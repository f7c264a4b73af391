"""How much the hands of a video are smoothed, by quantity."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from pydantic import Field

from hmr_core.config import GivenBy, Section, configure
from hmr_core.errors import UsageError


def weight(cutoff_hz: ndarray | float, dt_s: float) -> ndarray:
    """The weight of a new value, 0 to 1, that comes dt_s after the one before."""
    tau = 1 / (2 * math.pi * np.asarray(cutoff_hz, np.float64))
    return np.asarray(1 / (1 + tau / dt_s))


@dataclass(frozen=True)
class Cutoff:
    """How much is smoothed. least_hz: the cutoff of what rests. beta: how it grows, in Hz for one unit a second."""

    least_hz: float
    beta: float

    def weights(self, speeds: Float64[ndarray, " n"], dt_s: float) -> Float64[ndarray, " n"]:
        """The weights of new values that move at these speeds, units a second."""
        return weight(self.least_hz + self.beta * speeds, dt_s)


class Smoothing(Section):
    """The cutoffs of the One-Euro filter. A lower cutoff takes more jitter away; a larger beta lags less."""

    place_cutoff: float = Field(4.0, gt=0, description="of the palm's place across the picture at rest, Hz")
    place_beta: float = Field(8.0, ge=0, description="Hz more for each hand length a second")
    depth_cutoff: float = Field(1.5, gt=0, description="of the palm's depth at rest, Hz")
    depth_beta: float = Field(8.0, ge=0, description="Hz more when the depth grows by 100 % a second")
    rotation_cutoff: float = Field(3.0, gt=0, description="of each joint's rotation at rest, Hz")
    rotation_beta: float = Field(2.0, ge=0, description="Hz more for each radian a second")

    @property
    def place(self) -> Cutoff:
        """Of the place across the picture, in hand lengths."""
        return Cutoff(self.place_cutoff, self.place_beta)

    @property
    def depth(self) -> Cutoff:
        """Of the logarithm of the depth."""
        return Cutoff(self.depth_cutoff, self.depth_beta)

    @property
    def rotation(self) -> Cutoff:
        """Of rotations, in radians."""
        return Cutoff(self.rotation_cutoff, self.rotation_beta)


def smoothing_of(smooth: bool | Smoothing) -> Smoothing | None:
    """The smoothing that is asked for; None for none. UsageError for what is none."""
    if isinstance(smooth, Smoothing):
        return smooth
    if not isinstance(smooth, bool):
        raise UsageError(f"smooth={smooth!r}; valid: True, False, or a Smoothing.")
    return Smoothing() if smooth else None


def smoothing_options(overrides: tuple[str, ...]) -> Smoothing:
    """The smoothing with each `key=value` applied in turn; UsageError for unknown keys and values of a wrong type."""
    return configure(Smoothing, {}, overrides, GivenBy("smooth_set", "hmr predict -h", "rotation_cutoff=1"))
