"""A training run, as those who watch it are given it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict

CONFIG, CHECKPOINTS, LOG, METRICS = "config.json", "checkpoints", "train.log", "metrics.jsonl"
"""In a run's folder: what it was asked to do, its checkpoints, what was said, what was measured."""


TRAIN, VAL, OVERFIT = "train", "val", "overfit"
"""The limits of how many samples a run uses: to train on, to validate on, and for both without augmentation."""


class Digest(TypedDict):
    """The digest of a pack or a hand model, as JSON has it; None for the hand in the package.

    name, split, share: of a pack of a mixture alone, as `RunData` has them.
    """

    blake2b: str | None
    name: NotRequired[str]
    split: NotRequired[str]
    share: NotRequired[float]


@dataclass(frozen=True, kw_only=True)
class RunData:
    """A pack that a run trains on: where it is, and the digest of its content, which it has wherever it is.

    Of a mixture also name: what it is called in it, split: what is trained on, and share: of the samples that an epoch
    draws. Of the only pack of a run all three are None: the split is the run's.
    """

    path: Path
    blake2b: str
    name: str | None = None
    split: str | None = None
    share: float | None = None

    @property
    def part(self) -> str:
        """What it is of a mixture, in brackets after a space; empty for the only pack of a run."""
        return "" if self.share is None else f" ({self.name}: {self.split}, {100 * self.share:.3g} % of an epoch)"

    def as_json(self) -> Digest:
        """The record but for the path, which a file may change."""
        if self.name is None or self.split is None or self.share is None:
            return {"blake2b": self.blake2b}
        return {"blake2b": self.blake2b, "name": self.name, "split": self.split, "share": self.share}


@dataclass(frozen=True, kw_only=True)
class RunHand:
    """The hand model that a run's model trains with. path, blake2b: of its file; None for the hand in the package."""

    path: Path | None
    blake2b: str | None


@dataclass(frozen=True, kw_only=True)
class RunInit:
    """The weights of another checkpoint that a run started from.

    model: that they are of; None where that is not known. partial: whether not all of them had to fit.
    drawn: the tensors that were drawn anew instead.
    """

    path: Path
    blake2b: str
    model: str | None
    partial: bool
    drawn: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The record but for the path, which a file may change."""
        return {"blake2b": self.blake2b, "model": self.model, "partial": self.partial, "drawn": list(self.drawn)}


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run's folder and what it was asked to do.

    split: of its pack; of several, their names, joined by +. recipe: as plain values. data: the packs that it trains
    on. hand_model: None for a model that uses no hand.
    limits: how many samples it uses, by the names above; empty for all of its subsets.
    processes: how many share the work. checkpoint_every: how often to save in the middle of an epoch, as it was asked
    for; None for never. keep_last: how many of the newest checkpoints are kept.
    tensorboard, wandb: whether to write for them. verify: whether to compare checksums while reading the packs.
    started: by what command, where and when (see `provenance`); config.json keeps how it was first.
    init: what it started from, if not from its recipe's own first weights.
    lengthened: each change of its number of epochs: from, to, at_epoch (how many were done), date and command.
    """

    folder: Path
    model: str
    split: str
    recipe_name: str
    recipe: Mapping[str, Any]
    data: tuple[RunData, ...]
    versions: Mapping[str, str]
    started: Mapping[str, Any]
    hand_model: RunHand | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    processes: int = 1
    checkpoint_every: str | None = None
    keep_last: int = 2
    tensorboard: bool = False
    wandb: bool = False
    verify: bool = False
    init: RunInit | None = None
    lengthened: tuple[Mapping[str, Any], ...] = ()

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.folder / CHECKPOINTS

    @property
    def log(self) -> Path:
        """The file of what was said."""
        return self.folder / LOG

    @property
    def metrics(self) -> Path:
        """The file of what was measured."""
        return self.folder / METRICS

    def identity(self) -> dict[str, Any]:
        """What makes the run the one it is, wherever its files are; its checkpoints say the same. As values of JSON."""
        return {
            "model": self.model,
            "split": self.split,
            "recipe_name": self.recipe_name,
            "recipe": dict(self.recipe),
            "data": [pack.as_json() for pack in self.data],
            "hand_model": None if self.hand_model is None else {"blake2b": self.hand_model.blake2b},
            "init": None if self.init is None else self.init.as_json(),
            "limits": dict(self.limits),
        }
