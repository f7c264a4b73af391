"""A training run, as those who watch it are given it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run's folder and what it was asked to do.

    recipe: as plain values. data: path of the pack. data_digest: the pack's own. hand_model: path and blake2b of the
    hand model that the model trains with, both None for the hand in the package; None for a model that uses no hand.
    tensorboard: whether to write for it. verify: whether to compare checksums while reading the pack.
    started: by what command, where and when (see `provenance`); config.json keeps how it was first.
    scratch: where watchers of the run's events keep what they need between events, each under its own name.
    """

    folder: Path
    model: str
    split: str
    recipe_name: str
    recipe: Mapping[str, Any]
    data: Path
    data_digest: str
    versions: Mapping[str, str]
    started: Mapping[str, Any]
    hand_model: Mapping[str, str | None] | None = None
    tensorboard: bool = False
    verify: bool = False
    scratch: dict[str, Any] = field(default_factory=dict, compare=False)

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.folder / "checkpoints"

    @property
    def log(self) -> Path:
        """The file of what was said."""
        return self.folder / "train.log"

    def identity(self) -> dict[str, Any]:
        """What makes the run the one it is, wherever its files are; its checkpoints say the same. As values of JSON."""
        return {
            "model": self.model,
            "split": self.split,
            "recipe_name": self.recipe_name,
            "recipe": dict(self.recipe),
            "data_digest": self.data_digest,
            "hand_model": None if self.hand_model is None else {"blake2b": self.hand_model["blake2b"]},
        }
