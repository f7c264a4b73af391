"""A predictor of photos that is evaluated: nothing of it was trained on the data."""

from __future__ import annotations

from dataclasses import dataclass

from hmr_core.data.image_dataset import stored_crop
from hmr_core.evaluation.report_keys import Report
from hmr_core.evaluation.subject import LoadedHand, Subject
from hmr_core.inference.plugin_predictor import PluginPredictor
from hmr_core.plugins.recipes import DataConfig

TRAINED_ON = "nothing of this data set"


@dataclass(frozen=True, kw_only=True)
class PredictorSubject(Subject):
    """A predictor, and the samples to score it on. hand: the hand model that its meshes are of."""

    predictor: PluginPredictor
    hand: LoadedHand

    @property
    def name(self) -> str:
        """The predictor's."""
        return self.predictor.name

    @property
    def root_joint(self) -> int:
        """The joint whose depth is given, in OpenPose order."""
        return self.predictor.predictor.root_joint

    @property
    def crop(self) -> DataConfig:
        """As much of the published crop as is stored."""
        return stored_crop(self.pack)

    def as_report(self) -> Report:
        """The part of report.json that is known before anything is predicted."""
        return {
            **self._as_report(),
            "consumes": "image",
            "protocol": self.protocol("published"),
            "solver": None,
            "published": {},
            "recipe": None,
            "checkpoint": None,
            "predictor": {"name": self.name, "options": self.predictor.config.model_dump(mode="json")},
            "trained_on": TRAINED_ON,
        }
