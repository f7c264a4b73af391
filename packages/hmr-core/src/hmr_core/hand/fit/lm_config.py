"""The options of the solver `lm`."""

from __future__ import annotations

from pydantic import Field

from hmr_core.config import Section


class LmConfig(Section):
    """Least squares from the hand model's mean pose."""

    noise_mm: float = Field(
        5,
        ge=1,
        le=1000,
        description="the expected error of a joint, on each axis; more of it trusts the mean pose and shape more",
    )
    steps: int = Field(16, ge=1, le=1_000_000, description="the most iterations; a hand that has settled takes fewer")
