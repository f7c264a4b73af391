"""A model and its loss as one module, which is what processes share the gradients of."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from hmr_core.data.batch import Batch
from hmr_core.hand.layer import HandLayer
from hmr_core.nn.decode import pose_for_loss
from hmr_core.nn.model import Inputs, PoseModel, Targets
from hmr_core.plugins.recipes import TrainConfig
from hmr_core.plugins.specs import ModelSpec
from hmr_core.processes import Group
from hmr_core.training.precision import network_precision


class Losses(nn.Module):
    """From a batch to the model's loss terms.

    hand: the layer, on the device, of a model that uses the hand; it learns nothing and is no part of this module.
    """

    def __init__(self, model: PoseModel, spec: ModelSpec, config: TrainConfig, hand: HandLayer | None) -> None:
        super().__init__()
        self.model, self._spec, self._config, self._hand = model, spec, config, (hand,)
        # Beside the model, which stays as it is: validation does not go through the compiler.
        self._network: tuple[Any] = (torch.compile(model) if config.compile else model,)

    def forward(self, inputs: Inputs, targets: Targets) -> dict[str, Tensor]:
        """The terms by name; the network alone runs in reduced precision."""
        (network,) = self._network
        with network_precision(self._config, targets.root.device):
            prediction = network(inputs)
        (hand,) = self._hand
        prediction = pose_for_loss(prediction, targets.root, root_joint=self._spec.root_joint, layer=hand)
        return self.model.loss(prediction, targets)


class SharedLosses:
    """The losses of one process's part of a batch, whose gradients are the mean over all processes'."""

    def __init__(self, losses: Losses, group: Group, *, sync_batch_norm: bool = False) -> None:
        self._losses = losses
        if group.count > 1 and sync_batch_norm:
            nn.SyncBatchNorm.convert_sync_batchnorm(losses)  # type: ignore[no-untyped-call]  # in place, but for a root
        self._shared: DistributedDataParallel | None = None
        self._group = group
        self.share()

    def share(self) -> None:
        """Share the gradients of what learns now; to be called again when that has changed."""
        if self._group.count > 1:
            # Not every model uses all of its parameters in every step. A batch is on its device already.
            self._shared = DistributedDataParallel(self._losses, find_unused_parameters=True)

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """The terms of a batch."""
        terms: dict[str, Tensor] = (self._shared or self._losses)(batch.inputs(), batch.targets)
        return terms

    @property
    def alone(self) -> SharedLosses:
        """The same, with the gradients of this process's parts alone."""
        return SharedLosses(self._losses, Group())

    def forget_gradients(self) -> None:
        """Begin a step without any."""
        self._losses.zero_grad(set_to_none=True)

    def kept_back(self) -> AbstractContextManager[None]:
        """While gradients are added up and not yet shared: for all but the last part of a step."""
        return nullcontext() if self._shared is None else self._shared.no_sync()
