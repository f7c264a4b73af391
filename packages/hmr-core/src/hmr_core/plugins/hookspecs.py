"""The hooks that a plugin may implement, and the two markers: `hookspec` is ours, `hookimpl` is for plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import click

    from hmr_core.plugins.events import Event
    from hmr_core.plugins.run import Run
    from hmr_core.plugins.specs import BackboneOffer, DatasetSpec, DetectorSpec, ModelSpec, PredictorSpec, SolverSpec

hookspec = pluggy.HookspecMarker("hmr")
hookimpl = pluggy.HookimplMarker("hmr")


@hookspec
def hmr_models() -> list[ModelSpec]:  # type: ignore[empty-body]  # a hook's specification has no body
    """Models to train and evaluate."""


@hookspec
def hmr_datasets() -> list[DatasetSpec]:  # type: ignore[empty-body]  # a hook's specification has no body
    """Readers of data sets that `hmr pack` can pack."""


@hookspec
def hmr_solvers() -> list[SolverSpec]:  # type: ignore[empty-body]  # a hook's specification has no body
    """Ways from joints to a mesh."""


@hookspec
def hmr_detectors() -> list[DetectorSpec]:  # type: ignore[empty-body]  # a hook's specification has no body
    """What finds the hands of a picture."""


@hookspec
def hmr_predictors() -> list[PredictorSpec]:  # type: ignore[empty-body]  # a hook's specification has no body
    """What predicts the hands of photos and is not trained here."""


@hookspec
def hmr_backbones() -> list[BackboneOffer]:  # type: ignore[empty-body]  # a hook's specification has no body
    """What makes feature maps of an image, for every model of images."""


@hookspec
def hmr_commands(cli: click.Group) -> None:
    """Add subcommands to `hmr`."""


@hookspec
def hmr_on_event(run: Run, event: Event) -> None:
    """Watch a training run: what starts, what is measured, what is saved."""
