"""What is evaluated, loaded: all that the metrics depend on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hmr_core.data.image_dataset import stored_crop
from hmr_core.data.pack.reader import Pack
from hmr_core.evaluation.official import NOTHING_OWN, OwnForms
from hmr_core.evaluation.protocols import OFFICIAL
from hmr_core.evaluation.report_keys import Report, TrainedOn
from hmr_core.hand.back_ends import make_layer
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.layer_names import OWN
from hmr_core.hand.source import HandModelSource, find_hand_model
from hmr_core.inference.solving import LoadedSolver
from hmr_core.plugins.recipes import DataConfig, ImageRecipe
from hmr_core.plugins.specs import ModelSpec
from hmr_core.weights.checkpoints import Checkpoint


@dataclass(frozen=True, kw_only=True)
class LoadedHand:
    """A hand model with the layer that poses it, on the CPU. layer_name: which layer that is."""

    source: HandModelSource
    layer: HandLayer
    layer_name: str = OWN


def load_hand(given: Path | None, layer_name: str = OWN) -> LoadedHand:
    """Load the hand model to use, as find_hand_model has it, and make its layer.

    Raises HmrError where there is no hand model in the file, or no such layer.
    """
    source = find_hand_model(given)
    return LoadedHand(source=source, layer=make_layer(source.model, layer_name), layer_name=layer_name)


@dataclass(frozen=True, kw_only=True)
class Subject(ABC):
    """What is evaluated, and the samples to score it on.

    hand: the hand model that is posed; None where none is. own: what of the data set's own is asked for. notes: what
    the report is to say besides.
    """

    pack: Pack
    split: str
    subset: str
    hand: LoadedHand | None = None
    own: OwnForms = NOTHING_OWN
    notes: Sequence[str] = ()

    @property
    @abstractmethod
    def name(self) -> str:
        """The model's or the predictor's."""

    @property
    @abstractmethod
    def root_joint(self) -> int:
        """The joint whose depth is given, in OpenPose order."""

    @property
    @abstractmethod
    def crop(self) -> DataConfig:
        """How samples are cropped where they are looked at."""

    @abstractmethod
    def as_report(self) -> Report:
        """The part of report.json that is known before anything is predicted."""

    def protocol(self, of_solver: str) -> str:
        """The protocol as a report names it. of_solver: that of the solver's options."""
        if self.own.rules is None:
            return of_solver
        return OFFICIAL if of_solver == "published" else f"{OFFICIAL}, with a solver {of_solver}"

    def _as_report(self) -> Report:
        """What a report says of any subject."""
        hand = self.hand
        return {
            "model": self.name,
            "split": self.split,
            "subset": self.subset,
            "synthetic": self.pack.info.synthetic,
            "hand_model": None if hand is None else hand.source.as_report(),
            "hand_layer": None if hand is None else hand.layer_name,
            "pack": {"path": str(self.pack.path), "blake2b": self.pack.info.digest, "release": self.pack.info.release},
        }


@dataclass(frozen=True, kw_only=True)
class EvaluationSubject(Subject):
    """A checkpoint, the samples to score it on, and what makes their meshes.

    hand: needed for a solver and for a model that uses the hand, and of no use to others.
    """

    spec: ModelSpec
    checkpoint: Checkpoint
    solver: LoadedSolver | None = None

    def __post_init__(self) -> None:
        needed = self.solver is not None or self.spec.needs_hand
        assert (self.hand is not None) == needed, "a solver and some models work with a hand model, and nothing else"

    @property
    def name(self) -> str:
        """The model's."""
        return self.spec.name

    @property
    def root_joint(self) -> int:
        """The joint whose depth is given, in OpenPose order."""
        return self.spec.root_joint

    @property
    def crop(self) -> DataConfig:
        """The crop that the model sees, or, of a model of joints, as much of the published one as is stored."""
        recipe = self.checkpoint.recipe
        return recipe.data if isinstance(recipe, ImageRecipe) else stored_crop(self.pack)

    def as_report(self) -> Report:
        """The part of report.json that is known before anything is predicted."""
        checkpoint, solver = self.checkpoint, self.solver
        record = checkpoint.record
        published = self.spec.published.get(self.split, {}) if self.subset == "test" else {}
        return {
            **self._as_report(),
            "consumes": self.spec.consumes,
            "protocol": self.protocol("published" if solver is None else solver.protocol),
            "solver": None if solver is None else solver.as_report(),
            "published": dict(published),
            "recipe": checkpoint.recipe.model_dump(mode="json"),
            "checkpoint": {
                "path": str(checkpoint.path),
                "blake2b": checkpoint.digest,
                "epoch": None if record is None else record.epoch,
                "released": None if checkpoint.released is None else checkpoint.released.as_json(),
                "init": None if record is None or record.init is None else dict(record.init),
                "trained_on": _trained_on(checkpoint),
            },
        }


def _trained_on(checkpoint: Checkpoint) -> TrainedOn:
    record = checkpoint.record
    trained: TrainedOn = {
        "split": None if record is None else record.split,
        "subset": checkpoint.recipe.train.subset,
    }
    return {**trained, "mixture": record.mixture} if record is not None and record.mixture else trained
