"""The plugin contract as tests: `check_model("name")` in a plugin's own test suite is all that it needs to keep it."""

from hmr_core.testing.backbone import check_backbone, check_backbone_spec
from hmr_core.testing.dataset import check_dataset
from hmr_core.testing.detector import check_detector, check_detector_spec
from hmr_core.testing.imports import check_import
from hmr_core.testing.model import check_model, check_spec
from hmr_core.testing.predictor import check_predictor, check_predictor_spec
from hmr_core.testing.replay import Replay, replay
from hmr_core.testing.solver import check_solver, check_solver_spec

__all__ = [
    "Replay",
    "check_backbone",
    "check_backbone_spec",
    "check_dataset",
    "check_detector",
    "check_detector_spec",
    "check_import",
    "check_model",
    "check_predictor",
    "check_predictor_spec",
    "check_solver",
    "check_solver_spec",
    "check_spec",
    "replay",
]
