"""Which samples a check looks at, where it does not look at all of them: always the same ones."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64
from numpy import ndarray


def chosen(samples: int, most: int, rng: np.random.Generator) -> Int64[ndarray, " chosen"]:
    """Draw at most `most` of the numbers below samples by rng, in rising order."""
    return np.sort(rng.choice(samples, size=min(samples, most), replace=False)).astype(np.int64)
