"""Products of 3x3 matrices with the batch last against torch's own."""

from __future__ import annotations

import torch
from torch import Tensor

from hmr_core.hand.fit.matrices import (
    skew_vector,
    times,
    times_transposed,
    times_vector,
    transposed_times,
    transposed_times_vector,
)


def random(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)), dtype=torch.float64)


def test_products() -> None:
    a, b, c, v = random(2, 5, 3, 3, 7), random(2, 5, 3, 4, 7), random(2, 5, 4, 3, 7), random(2, 5, 3, 7)
    torch.testing.assert_close(times(a, b), torch.einsum("...ijn,...jkn->...ikn", a, b))
    torch.testing.assert_close(transposed_times(a, b), torch.einsum("...jin,...jkn->...ikn", a, b))
    torch.testing.assert_close(times_transposed(a, c), torch.einsum("...ijn,...kjn->...ikn", a, c))
    torch.testing.assert_close(times_vector(a, v), torch.einsum("...ijn,...jn->...in", a, v))
    torch.testing.assert_close(transposed_times_vector(a, v), torch.einsum("...jin,...jn->...in", a, v))


def test_axes_are_broadcast() -> None:
    a, b = random(5, 3, 3, 7), random(2, 5, 3, 4, 1)
    torch.testing.assert_close(times(a, b), torch.einsum("...ijn,...jkn->...ikn", a, b.expand(2, 5, 3, 4, 7)))


def test_the_skew_vector() -> None:
    a, v = random(5, 3, 3, 7), random(5, 3, 7)
    skew = (a - a.transpose(1, 2)).permute(0, 3, 1, 2)
    torch.testing.assert_close(
        (skew @ v.permute(0, 2, 1)[..., None])[..., 0].permute(0, 2, 1), torch.linalg.cross(skew_vector(a), v, dim=1)
    )
