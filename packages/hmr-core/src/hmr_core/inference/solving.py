"""A solver as an evaluation uses it: from its file of weights to the mesh of a whole subset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.config import Section
from hmr_core.digests import file_digest
from hmr_core.errors import HmrError, Option
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.solver import HandFit, Solver, UnsolvableJointsError
from hmr_core.plugins.failures import failures_told
from hmr_core.plugins.solver_presets import check_weights, protocol_label, solver_config
from hmr_core.plugins.specs import SolverSpec
from hmr_core.weights.find_weights import find_weights

_SHAPES = {"rotations": (16, 3), "betas": (10,), "joints": (21, 3), "verts": (778, 3)}


class WeightsRecord(TypedDict):
    """A file of weights."""

    path: str
    blake2b: str


class SolverRecord(TypedDict):
    """What a report says of a solver. checkpoint: None for one that needs no weights."""

    name: str
    config: dict[str, Any]
    checkpoint: WeightsRecord | None


@dataclass(frozen=True, kw_only=True)
class LoadedSolver:
    """A solver with its weights and what a report says of it.

    protocol: as `protocol_label` names it. checkpoint, digest: its file of weights and that file's BLAKE2b; None for a
    solver that needs no weights.
    """

    name: str
    config: Section
    protocol: str
    checkpoint: Path | None
    digest: str | None
    solver: Solver

    def as_report(self) -> SolverRecord:
        """What report.json says of it."""
        weights: WeightsRecord | None = None
        if self.checkpoint is not None and self.digest is not None:
            weights = {"path": str(self.checkpoint), "blake2b": self.digest}
        return {"name": self.name, "config": self.config.model_dump(mode="json"), "checkpoint": weights}


def load_solver(
    spec: SolverSpec,
    layer: HandLayer,
    checkpoint: Path | None,
    *,
    protocol: str,
    overrides: Sequence[str] = (),
    device: torch.device,
) -> LoadedSolver:
    """A solver with its options under a protocol, and its weights if it needs any.

    layer: on the CPU; the solver gets a copy, which it may move. checkpoint: a run, a checkpoint's folder or a file.
    Raises UsageError for options that do not exist, and for weights that lack or are of no use; HmrError for a
    checkpoint that is not there or not the solver's.
    """
    check_weights(spec, checkpoint)
    config = solver_config(spec, protocol, overrides)
    weights = None if checkpoint is None else find_weights(checkpoint, option=Option("solver_ckpt"))
    with failures_told(f'the solver "{spec.name}"', "when it was made"):
        solver: object = spec.build(config, deepcopy(layer), weights, device)
    if not isinstance(solver, Solver):
        kind = type(solver).__name__
        raise HmrError(f'the solver "{spec.name}": it gave {kind}, which has no method solve(joints, on_batch=...).')
    return LoadedSolver(
        name=spec.name,
        config=config,
        protocol=protocol_label(spec, protocol, config),
        checkpoint=weights,
        digest=None if weights is None else file_digest(weights),
        solver=solver,
    )


def solve(
    loaded: LoadedSolver, ids: Sequence[str], joints: Float[Tensor, "batch 21 3"], on_batch: Callable[[int], None]
) -> HandFit:
    """The solver's hands of a whole subset; on_batch is told 0 when it begins, then how many hands were done.

    The arrays are cut off from any graph. HmrError names the sample that has no mesh, or what the solver did wrong.
    """
    on_batch(0)  # it has begun
    try:
        with failures_told(f'the solver "{loaded.name}"', "while it solved"):
            fit = loaded.solver.solve(joints, on_batch=on_batch)
    except UnsolvableJointsError as error:
        raise HmrError(
            f"no mesh for {ids[error.index]}: {error.reason}.",
            "Check the model's output. Without a solver there are its joints alone.",
        ) from error
    if not isinstance(fit, HandFit):
        raise HmrError(f'the solver "{loaded.name}" gave {type(fit).__name__}; valid: a HandFit of all samples.')
    return HandFit(**{name: _checked(loaded.name, name, getattr(fit, name), ids) for name in _SHAPES})


def _checked(solver: str, name: str, array: object, ids: Sequence[str]) -> Tensor:
    """One of a fit's arrays, detached; HmrError unless it is what a solver has to give."""
    wanted = (len(ids), *_SHAPES[name])
    gave = f'the solver "{solver}" gave {name}'
    if not isinstance(array, Tensor):
        raise HmrError(f"{gave} as {type(array).__name__}; valid: a tensor.")
    if array.dtype != torch.float32 or array.device.type != "cpu":
        kind = str(array.dtype).removeprefix("torch.")
        raise HmrError(f"{gave} in {kind} on {array.device}; valid: float32 on cpu.")
    if tuple(array.shape) != wanted:
        raise HmrError(f"{gave} of shape {tuple(array.shape)}; valid: {wanted}.")
    if bad := (~torch.isfinite(array).flatten(1).all(1)).nonzero().flatten().tolist():
        raise HmrError(f'the {name} of the solver "{solver}" are not finite for {ids[bad[0]]} ({len(bad)} samples).')
    return array.detach()
