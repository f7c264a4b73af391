"""What hmr finds through this package's entry point."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hmr_core.plugins import DetectorSpec, PredictorSpec, hookimpl

if TYPE_CHECKING:
    import torch

    from hmr_core.hand.layer import HandLayer
    from hmr_core.plugins.photo_hands import Detector, HandPredictor
    from hmr_mediapipe.config import DetectorConfig, PredictorConfig


@hookimpl
def hmr_detectors() -> list[DetectorSpec]:
    """The detector."""
    from hmr_mediapipe.config import DetectorConfig

    return [
        DetectorSpec(
            name="mediapipe",
            summary="MediaPipe's palm and hand networks: boxes, sides and scores",
            config=DetectorConfig,
            build=_detector,
        )
    ]


@hookimpl
def hmr_predictors() -> list[PredictorSpec]:
    """The predictor."""
    from hmr_mediapipe.config import PredictorConfig

    return [
        PredictorSpec(
            name="mediapipe",
            summary="MediaPipe's hand networks and a fit of image and joints: hands of any photo, without training",
            config=PredictorConfig,
            build=_predictor,
        )
    ]


@hookimpl
def hmr_commands(cli: click.Group) -> None:
    """Add `hmr mediapipe`."""
    from hmr_mediapipe.cli import mediapipe

    cli.add_command(mediapipe)


def _detector(config: DetectorConfig, device: torch.device) -> Detector:
    from hmr_mediapipe.detector import MediapipeDetector

    return MediapipeDetector(config, device)


def _predictor(config: PredictorConfig, layer: HandLayer, device: torch.device) -> HandPredictor:
    from hmr_mediapipe.predictor import MediapipePredictor

    return MediapipePredictor(config, layer, device)
