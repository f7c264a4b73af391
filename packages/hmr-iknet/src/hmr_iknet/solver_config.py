"""The solver's options."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hmr_core.config import Section


class IKNetSolverConfig(Section):
    """What turns IKNet's rotations into a hand."""

    fit: Literal["lm", "published", "none"] = Field(
        "lm",
        description="lm: least squares, robust to a wrong joint; published: the published objective and optimiser; "
        "none: IKNet's rotations as they are, mean shape",
    )
    steps: int | None = Field(None, ge=1, description="iterations of the fit; null: 20 for published, 8 for lm")
    prior_group: int = Field(
        1,
        ge=1,
        description="published: how many consecutive samples are pulled towards the mean of their starts; 1 is what "
        "the paper means, the published code does it with each batch (256)",
    )
    noise_mm: float = Field(
        3,
        ge=1,
        description="lm: the expected error of a joint, on each axis; more of it trusts IKNet and the mean shape more",
    )
