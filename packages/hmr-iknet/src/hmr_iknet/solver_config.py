"""The solver's options."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from hmr_core.config import Section

FITS_OF = {"steps": ("lm", "published"), "prior_group": ("published",), "noise_mm": ("lm",)}
"""The fits that each of the other options is of."""


class IKNetSolverConfig(Section):
    """What turns IKNet's rotations into a hand. An option that the fit does not have is refused."""

    fit: Literal["lm", "published", "none"] = Field(
        "lm",
        description="lm: least squares, robust to a wrong joint; published: the published objective and optimiser; "
        "none: IKNet's rotations as they are, mean shape",
    )
    steps: int | None = Field(
        None, ge=1, le=1_000_000, description="published, lm: iterations of the fit; null: 20 for published, 8 for lm"
    )
    prior_group: int | None = Field(
        None,
        ge=1,
        le=1_000_000,
        description="published: how many consecutive samples are pulled towards the mean of their starts; null: 256, "
        "as the published code does it with each batch; 1 is what the paper means",
    )
    noise_mm: float | None = Field(
        None,
        ge=1,
        le=1000,
        description="lm: the expected error of a joint, on each axis; more of it trusts IKNet and the mean shape more; "
        "null: 5",
    )

    @model_validator(mode="after")
    def _of_the_fit(self) -> IKNetSolverConfig:
        for option, fits in FITS_OF.items():
            if getattr(self, option) is not None and self.fit not in fits:
                named = " and ".join(f"fit={fit}" for fit in fits)
                raise PydanticCustomError(
                    "option_of_another_fit",
                    f"{option} is an option of {named}, and the fit is {self.fit}. Set fit={fits[0]}, or leave "
                    f"{option} at null; where fit is not set, the protocol sets it",
                )
        return self
