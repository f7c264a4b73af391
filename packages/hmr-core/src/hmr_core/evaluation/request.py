"""What an evaluation is of: all that its figures depend on, and what tells it from another one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hmr_core.data.pack.reader import Pack
from hmr_core.files import read_bytes
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.source import HandModelSource
from hmr_core.inference.solving import LoadedSolver
from hmr_core.plugins.specs import ModelSpec
from hmr_core.weights.checkpoints import Checkpoint


@dataclass(frozen=True, kw_only=True)
class HandInUse:
    """The hand model that an evaluation's meshes are of. kind: what poses it, own or manotorch; layer: on the CPU."""

    source: HandModelSource
    kind: str
    layer: HandLayer


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """A checkpoint, the samples to score it on, and what makes their meshes.

    hand: needed for a solver and for a model that uses the hand, and of no use to others.
    notes: what the report is to say besides.
    """

    spec: ModelSpec
    checkpoint: Checkpoint
    pack: Pack
    split: str
    subset: str
    hand: HandInUse | None = None
    solver: LoadedSolver | None = None
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        needed = self.solver is not None or self.spec.needs_hand
        assert (self.hand is not None) == needed, "a solver and some models work with a hand model, and nothing else"

    def as_report(self) -> dict[str, Any]:
        """The part of report.json that is known before anything is predicted."""
        checkpoint, hand, solver = self.checkpoint, self.hand, self.solver
        published = self.spec.published.get(self.split, {}) if self.subset == "test" else {}
        return {
            "model": self.spec.name,
            "consumes": self.spec.consumes,
            "split": self.split,
            "subset": self.subset,
            "synthetic": self.pack.info.synthetic,
            "protocol": "published" if solver is None else solver.protocol,
            "solver": None if solver is None else solver.as_report(),
            "hand_model": None if hand is None else hand.source.as_report(),
            "hand_layer": None if hand is None else hand.kind,
            "published": dict(published),
            "recipe": checkpoint.recipe.model_dump(mode="json"),
            "checkpoint": {
                "path": str(checkpoint.path),
                "blake2b": checkpoint.digest,
                "epoch": checkpoint.info.get("epoch"),
                "released": None if checkpoint.released is None else checkpoint.released.as_json(),
                "trained_on": {"split": checkpoint.info.get("split"), "subset": checkpoint.recipe.train.subset},
            },
            "pack": {"path": str(self.pack.path), "blake2b": self.pack.info.digest, "release": self.pack.info.release},
        }


def evaluated(folder: Path) -> dict[str, Any] | None:
    """The report of the evaluation that a folder holds; None if it holds none."""
    try:
        report: dict[str, Any] = json.loads(read_bytes(folder / "report.json"))
        identity(report)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return report


def identity(report: Mapping[str, Any]) -> dict[str, Any]:
    """What makes an evaluation the one it is, of its report: another one of the same identity may replace it."""
    solver, hand_model = report["solver"], report["hand_model"]
    return {
        "split": report["split"],
        "subset": report["subset"],
        "checkpoint": report["checkpoint"]["blake2b"],
        "pack": report["pack"]["blake2b"],
        "data options": report["recipe"]["data"],
        "protocol": report["protocol"],
        "solver": solver and solver["name"],
        "solver checkpoint": solver and solver["checkpoint"] and solver["checkpoint"]["blake2b"],
        "solver options": solver and solver["config"],
        "hand model": hand_model and (hand_model["name"], hand_model["blake2b"]),
        "hand layer": report["hand_layer"],
    }
