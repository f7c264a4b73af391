"""RealNVP in three dimensions: a density over the residuals of a joint.

Dinh et al., Density estimation using Real NVP, ICLR 2017 (arXiv 1605.08803). Names are those of the released files.
Deviations, all of them the benchmark's: the shift `t` ends in a tanh and the log-scale `s` does not (usually it is the
other way round, so that no scale can explode); every coupling adds 1e-8 to all values, which the log-determinant, being
that of a shift, need not know. Weights start by Xavier's rule with gain 0.01, near the identity.

Our own: a log-density below LOWEST, or that is no number, counts as LOWEST and has no gradient, so that a residual far
out of the ordinary cannot stop a run by itself. The benchmark replaces what is no finite number after it was computed
(nan_to_num), whose backward pass gives NaN to every weight of the flow.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

COUPLINGS = 6
WIDTH = 64

LOWEST = -1e8
"""The log-density of a point some ten thousand standard deviations off; gradients grow with its square."""


def _network(*last: nn.Module) -> nn.Sequential:
    layers = (nn.Linear(3, WIDTH), nn.LeakyReLU(), nn.Linear(WIDTH, WIDTH), nn.LeakyReLU(), nn.Linear(WIDTH, 3))
    for layer in layers:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight, gain=0.01)
    return nn.Sequential(*layers, *last)


class RealNVP(nn.Module):
    """Six affine couplings between points and a standard normal distribution.

    loc and cov are that distribution's, as released files hold them; nothing is computed from them.
    """

    loc: Tensor
    cov: Tensor
    mask: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("loc", torch.zeros(3))
        self.register_buffer("cov", torch.eye(3))
        self.register_buffer("mask", torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).repeat(COUPLINGS // 2, 1))
        self.t = nn.ModuleList(_network(nn.Tanh()) for _ in range(COUPLINGS))
        self.s = nn.ModuleList(_network() for _ in range(COUPLINGS))

    def to_normal(
        self, points: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, "points 3"], Float[Tensor, " points"]]:
        """Where the points come from under the normal distribution, and the log-determinant of that map's Jacobian."""
        z = points
        log_det = points.new_zeros(len(points))
        for i in reversed(range(COUPLINGS)):
            mask = self.mask[i]
            kept = mask * z
            s = self.s[i](kept) * (1 - mask)
            t = self.t[i](kept) * (1 - mask)
            z = 1e-8 + (1 - mask) * (z - t) * torch.exp(-s) + kept
            log_det = log_det - s.sum(1)
        return z, log_det

    def log_prob(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """The log-density at the points, in float32 at least; LOWEST, without gradient, where it is less or NaN."""
        with torch.autocast(points.device.type, enabled=False):
            points = points if points.dtype == torch.float64 else points.float()
            log_prob = self._log_prob(points)
            lost = ~(log_prob >= LOWEST)  # NaN, too
            if bool(lost.any()):
                # Computed again without them: what overflowed would be NaN in the backward pass, even times zero.
                log_prob = torch.where(lost, LOWEST, self._log_prob(torch.where(lost[:, None], 0, points)))
            return log_prob

    def _log_prob(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        z, log_det = self.to_normal(points)
        return log_det - 0.5 * (z * z).sum(1) - 1.5 * math.log(2 * math.pi)
