"""The plugin system: what a plugin may offer (specs), how it says so (hooks), and how it is found (registry)."""

from hmr_core.plugins.hookspecs import hookimpl
from hmr_core.plugins.recipe_files import recipe_files
from hmr_core.plugins.specs import (
    BackboneFamily,
    BackboneSpec,
    DatasetSpec,
    DetectorSpec,
    ModelSpec,
    PredictorSpec,
    Released,
    SolverSpec,
)

__all__ = [
    "BackboneFamily",
    "BackboneSpec",
    "DatasetSpec",
    "DetectorSpec",
    "ModelSpec",
    "PredictorSpec",
    "Released",
    "SolverSpec",
    "hookimpl",
    "recipe_files",
]
