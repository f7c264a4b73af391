"""A plugin with a model that trains in no time, for tests that run the command in processes of their own."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from torch import Tensor, nn, sigmoid

from hmr_core.config import ModelConfig
from hmr_core.nn.model import Inputs, PoseModel, Prediction, Targets
from hmr_core.plugins import ModelSpec, hookimpl
from hmr_core.staging import write_text

RECIPE = """
[model]
image_size = 32

[train]
epochs = 3
batch_size = 12
learning_rate = 1e-2
seed = 3
"""


class SmallConfig(ModelConfig):
    """Which of the layers there are that make a model depend on more than its samples."""

    batch_norm: bool = False
    dropout: bool = False


class SmallModel(PoseModel):
    """A linear map of a shrunken image, and a parameter that nothing uses."""

    def __init__(self, config: SmallConfig) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.AdaptiveAvgPool2d(4), nn.Flatten()]
        layers += [nn.BatchNorm1d(48)] if config.batch_norm else []
        layers += [nn.Dropout(0.5)] if config.dropout else []
        self.body = nn.Sequential(*layers, nn.Linear(48, 63))
        self.unused = nn.Linear(3, 3)

    def forward(self, inputs: Inputs) -> Prediction:
        assert inputs.image is not None
        return Prediction(joints_uvd=sigmoid(self.body(inputs.image)).view(-1, 21, 3))

    def loss(self, prediction: Prediction, targets: Targets) -> dict[str, Tensor]:
        assert prediction.joints_uvd is not None
        return {"uvd": (prediction.joints_uvd - targets.joints_uvd).abs().mean()}


@hookimpl
def hmr_on_event(run: Any, event: Any) -> None:
    """Stop the run as a scheduler does, after the step that SMALL_STOP_AT names, by the signal SMALL_SIGNAL.

    SMALL_WHOM: "parent" for what started this process, in its place. SMALL_STEP_S: how long to wait after each step.
    """
    if getattr(event, "losses", None):
        time.sleep(float(os.environ.get("SMALL_STEP_S", "0")))
        if str(event.step) == os.environ.get("SMALL_STOP_AT"):
            whom = os.getppid() if os.environ.get("SMALL_WHOM") == "parent" else os.getpid()
            os.kill(whom, signal.Signals[os.environ.get("SMALL_SIGNAL", "SIGTERM")])


@hookimpl
def hmr_models() -> list[ModelSpec]:
    recipe = Path(__file__).with_suffix(".toml")
    write_text(recipe, RECIPE)  # whole: each process of a run writes it, and reads it at once
    return [
        ModelSpec(
            name="small",
            summary="a small model",
            config=SmallConfig,
            recipes={"tiny": recipe},
            root_joint=9,
            build=SmallModel,
        )
    ]
