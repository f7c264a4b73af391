"""The solver `lm`: from joints to a mesh by least squares from the mean pose. It needs no weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.hand.fit.chain import HandChain
from hmr_core.hand.fit.from_mean_pose import MeanPose, fit_from_mean_pose
from hmr_core.hand.fit.lm_config import LmConfig
from hmr_core.hand.fit.outliers import Anatomy
from hmr_core.hand.fit.posing import to_hand_fit
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.solver import HandFit, ignore_progress, solve_in_chunks

CHUNK = 512
"""Hands that are fitted at once: more leave the processor's cache, fewer leave it waiting for Python."""


class LmSolver:
    """Fits a layer's hand to joints by least squares from its mean pose. layer: float32; moved to the device."""

    def __init__(self, config: LmConfig, layer: HandLayer, device: torch.device | str = "cpu") -> None:
        self.config, self.device = config, torch.device(device)
        self.layer = layer.to(self.device)
        self.chain = HandChain(layer.model, torch.float32, self.device)
        self.anatomy = Anatomy(layer.model, torch.float32, self.device)
        self.mean_pose = MeanPose(layer.model, torch.float32, self.device)

    @torch.no_grad()
    def solve(
        self, joints: Float[Tensor, "batch 21 3"], *, on_batch: Callable[[int], None] = ignore_progress
    ) -> HandFit:
        """Fit a hand to each sample's joints; see hmr_core.hand.solver.Solver."""
        return solve_in_chunks(joints, CHUNK, self._solve, device=self.device, on_batch=on_batch)

    def _solve(self, joints: Float[Tensor, "batch 21 3"]) -> HandFit:
        noise, steps = self.config.noise_mm / 1000, self.config.steps
        hands = fit_from_mean_pose(self.chain, self.anatomy, self.mean_pose, joints, noise=noise, steps=steps)
        return to_hand_fit(self.layer, hands)


def build_lm(config: LmConfig, layer: HandLayer, checkpoint: Path | None, device: torch.device) -> LmSolver:
    """The solver; there is no checkpoint for it."""
    assert checkpoint is None, "lm has no weights"
    return LmSolver(config, layer, device)


def fit_hands(layer: HandLayer, joints: Float[Tensor, "batch 21 3"], *, noise_mm: float = 5.0) -> HandFit:
    """Fit a layer's hand to joints by least squares, without any weights.

    layer: float32, of the hands' side. joints: metres, camera space, OpenPose order. noise_mm: the expected error of a
    joint on each axis. Returns float32 on the CPU, metres, camera space. Raises UnsolvableJointsError for joints that
    are no hand's. Source: docs/solver.md.
    """
    return LmSolver(LmConfig(noise_mm=noise_mm), layer, layer.template.device).solve(joints)
