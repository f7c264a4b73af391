"""From joints to a mesh by IKNet and a fit, as `--solver iknet` runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.errors import Option
from hmr_core.geometry.rotations import matrix_to_axis_angle
from hmr_core.hand.fit import least_squares
from hmr_core.hand.fit.chain import HandChain
from hmr_core.hand.fit.outliers import Anatomy
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.solver import HandFit, check_joints, ignore_progress, scale_and_place
from hmr_core.nn.model import Inputs, PoseModel
from hmr_core.plugins import ModelSpec
from hmr_core.weights.checkpoints import load_checkpoint
from hmr_iknet import fit_published
from hmr_iknet.solver_config import IKNetSolverConfig

CHUNKS = {"published": 2048, "lm": 512, "none": 2048}
"""Hands that are fitted at once: more leave the processor's cache, fewer leave it waiting for Python."""

MESH_CHUNK = 256
"""Hands that are skinned at once: their vertices' matrices still fit the cache."""

DEFAULT_STEPS = {"published": 20, "lm": least_squares.STEPS, "none": 0}
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
        self.noise_mm = config.noise_mm or least_squares.NOISE_MM

    @torch.no_grad()
    def solve(
        self, joints: Float[Tensor, "batch 21 3"], *, on_batch: Callable[[int], None] = ignore_progress
    ) -> HandFit:
        """Fit a hand to each sample's joints; see hmr_core.hand.solver.Solver."""
        check_joints(joints)
        group = self.prior_group if self.config.fit == "published" else 1
        parts = []
        # A chunk holds whole groups, so that it makes no difference to them but by rounding.
        size = max(1, CHUNKS[self.config.fit] // group) * group
        for chunk in torch.split(joints.float(), size):
            parts.append(self._solve(chunk.to(self.device)))
            on_batch(len(chunk))
        names = ("rotations", "betas", "joints", "verts")
        return HandFit(**{name: torch.cat([getattr(part, name) for part in parts]) for name in names})

    def _solve(self, joints: Float[Tensor, "batch 21 3"]) -> HandFit:
        if self.config.fit == "lm":
            rotations, betas, places, verts = self._least_squares(joints)
        else:
            rotations, betas = self.start(joints), joints.new_zeros(len(joints), 10)
            if self.config.fit == "published":
                rotations, betas = fit_published.fit(
                    self.chain, joints, rotations, steps=self.steps, prior_group=self.prior_group
                )
            places, verts = scale_and_place(*self._mesh(rotations, betas), joints)
        return HandFit(rotations=rotations.cpu(), betas=betas.cpu(), joints=places.cpu(), verts=verts.cpu())

    def _least_squares(self, joints: Float[Tensor, "batch 21 3"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        hands = least_squares.fit(
            self.chain, self.anatomy, joints, self.start, noise=self.noise_mm / 1000, steps=self.steps
        )
        rotations, betas = matrix_to_axis_angle(hands.local.permute(3, 0, 1, 2)), hands.betas.T.contiguous()
        places, verts = self._mesh(rotations, betas)
        shift = hands.place.T[:, None] - places[:, :1]  # the wrist is joint 0
        return rotations, betas, places + shift, verts + shift

    def start(self, joints: Float[Tensor, "batch 21 3"]) -> Float[Tensor, "batch 16 3"]:
        """IKNet's rotations."""
        rotations = self.network(Inputs(joints=joints)).rotations
        assert isinstance(rotations, Tensor)
        return rotations

    def _mesh(
        self, rotations: Float[Tensor, "batch 16 3"], betas: Float[Tensor, "batch 10"]
    ) -> tuple[Float[Tensor, "batch 21 3"], Float[Tensor, "batch 778 3"]]:
        chunks = zip(torch.split(rotations, MESH_CHUNK), torch.split(betas, MESH_CHUNK), strict=True)
        posed = [self.layer(*chunk) for chunk in chunks]
        return torch.cat([p.joints for p in posed]), torch.cat([p.verts for p in posed])


def build_solver(
    config: IKNetSolverConfig, layer: HandLayer, checkpoint: Path, device: torch.device, spec: ModelSpec
) -> IKNetSolver:
    """The solver with the weights of a run, a checkpoint or a released file of the model that spec describes.

    layer: float32; moved to the device. Raises HmrError for a file that is missing, damaged or another model's.
    """
    return IKNetSolver(config, load_checkpoint(checkpoint, spec, option=Option("solver_ckpt")).model, layer, device)
