"""From joints to a mesh by IKNet and a fit, as the solver `iknet` runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.errors import Option
from hmr_core.hand.fit.chain import HandChain
from hmr_core.hand.fit.from_network import STEPS, fit_from_network
from hmr_core.hand.fit.least_squares import NOISE_MM
from hmr_core.hand.fit.outliers import Anatomy
from hmr_core.hand.fit.posing import pose_in_chunks, to_hand_fit
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.solver import HandFit, ignore_progress, scale_and_place, solve_in_chunks
from hmr_core.nn.model import Inputs, PoseModel
from hmr_core.plugins import ModelSpec
from hmr_core.weights.checkpoints import load_checkpoint
from hmr_iknet import fit_published
from hmr_iknet.solver_config import IKNetSolverConfig

CHUNKS = {"published": 2048, "lm": 512, "none": 2048}
"""Hands that are fitted at once: more leave the processor's cache, fewer leave it waiting for Python."""

DEFAULT_STEPS = {"published": 20, "lm": STEPS, "none": 0}
DEFAULT_PRIOR_GROUP = 256


class IKNetSolver:
    """IKNet's rotations, then the fit that the configuration names. network: a model of joints; moved to the device."""

    def __init__(
        self, config: IKNetSolverConfig, network: PoseModel, layer: HandLayer, device: torch.device | str = "cpu"
    ) -> None:
        self.config, self.device = config, torch.device(device)
        self.network = network.to(self.device).eval()
        self.layer = layer.to(self.device)
        self.chain = HandChain(layer.model, torch.float32, self.device)
        self.anatomy = Anatomy(layer.model, torch.float32, self.device)
        self.steps = config.steps or DEFAULT_STEPS[config.fit]
        self.prior_group = config.prior_group or DEFAULT_PRIOR_GROUP
        self.noise_mm = config.noise_mm or NOISE_MM

    @torch.no_grad()
    def solve(
        self, joints: Float[Tensor, "batch 21 3"], *, on_batch: Callable[[int], None] = ignore_progress
    ) -> HandFit:
        """Fit a hand to each sample's joints; see hmr_core.hand.solver.Solver."""
        group = self.prior_group if self.config.fit == "published" else 1
        # A chunk holds whole groups, so that it makes no difference to them but by rounding.
        size = max(1, CHUNKS[self.config.fit] // group) * group
        return solve_in_chunks(joints, size, self._solve, device=self.device, on_batch=on_batch)

    def _solve(self, joints: Float[Tensor, "batch 21 3"]) -> HandFit:
        if self.config.fit == "lm":
            noise = self.noise_mm / 1000
            hands = fit_from_network(self.chain, self.anatomy, joints, self.start, noise=noise, steps=self.steps)
            return to_hand_fit(self.layer, hands)
        rotations, betas = self.start(joints), joints.new_zeros(len(joints), 10)
        if self.config.fit == "published":
            rotations, betas = fit_published.fit(
                self.chain, joints, rotations, steps=self.steps, prior_group=self.prior_group
            )
        places, verts = scale_and_place(*pose_in_chunks(self.layer, rotations, betas), joints)
        return HandFit(rotations=rotations, betas=betas, joints=places, verts=verts)

    def start(self, joints: Float[Tensor, "batch 21 3"]) -> Float[Tensor, "batch 16 3"]:
        """IKNet's rotations."""
        rotations = self.network(Inputs(joints=joints)).rotations
        assert isinstance(rotations, Tensor)
        return rotations


def build_solver(
    config: IKNetSolverConfig, layer: HandLayer, checkpoint: Path, device: torch.device, spec: ModelSpec
) -> IKNetSolver:
    """The solver with the weights of a run, a checkpoint or a released file of the model that spec describes.

    layer: float32; moved to the device. Raises HmrError for a file that is missing, damaged or another model's.
    """
    return IKNetSolver(config, load_checkpoint(checkpoint, spec, option=Option("solver_ckpt")).model, layer, device)
