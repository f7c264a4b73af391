"""A training loop in the manner of the published code, which hmr's own is measured against.

Network, loss, batch, learning rate and augmentation are those of the engine. The rest is plain: images become numbers
in float32 on the CPU, where they are loaded; each batch is copied to the device while the loop waits; the network has
PyTorch's own layout and precision; Adam is PyTorch's own choice, not fused; each parameter tensor is clipped by itself,
in a Python loop that waits for its norm; and each step waits for its loss. Reading and cropping are hmr's own, which
favours the plain loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import cv2
import torch
from training_subject import Subject

from hmr_core.data.batch import Batch, BatchSource, Key
from hmr_core.nn.decode import pose_for_loss
from hmr_core.nn.model import Inputs, Targets

Loaded = tuple[Inputs, Targets]
R = TypeVar("R", Inputs, Targets)


class PlainLoop:
    """A network and its optimizer; each call is a step."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        torch.manual_seed(subject.recipe.train.seed)
        model = subject.spec.build(subject.recipe.model)
        if subject.layer is not None:
            model.use_hand(subject.layer.model)
        self.model = model.to(subject.device).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=subject.recipe.train.learning_rate)

    def __call__(self, loaded: Loaded) -> float:
        """Take a step, and give its loss."""
        inputs, targets = copied(loaded[0], self.subject.device), copied(loaded[1], self.subject.device)
        prediction = pose_for_loss(
            self.model(inputs), targets.root, root_joint=self.subject.spec.root_joint, layer=self.subject.hand
        )
        loss = torch.stack(list(self.model.loss(prediction, targets).values())).sum()
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.clip()
        self.optimizer.step()
        return float(loss.item())

    def clip(self) -> None:
        """Scale each gradient to the recipe's largest norm, if it has one."""
        largest = self.subject.recipe.train.clip_norm
        if largest is None:
            return
        for parameter in self.model.parameters():
            if parameter.grad is not None:
                norm = parameter.grad.norm().item()
                if norm > largest:
                    parameter.grad.mul_(largest / (norm + 1e-6))


def copied(record: R, device: torch.device) -> R:
    """The record with every tensor on the device, once it is there."""
    there = {name: value for name, value in vars(record).items() if value is not None}
    return replace(record, **{name: value.to(device) for name, value in there.items()})


def as_floats(batch: Batch) -> Loaded:
    """A batch as the published code's loader gives it: images as numbers, channel by channel."""
    image = None
    if batch.image is not None:
        image = (batch.image.permute(0, 3, 1, 2).float() / 255 - 0.5).contiguous()
    return Inputs(image=image, intrinsics=batch.intrinsics, joints=batch.joints), batch.targets


def load_plainly(source: BatchSource, batches: Sequence[list[Key]], workers: int) -> Iterator[Loaded]:
    """The batches by torch's DataLoader, as numbers, in ordinary memory."""
    loader: torch.utils.data.DataLoader[Loaded] = torch.utils.data.DataLoader(
        _Plain(source), batch_sampler=batches, collate_fn=_as_it_is, num_workers=workers, worker_init_fn=_one_thread
    )
    return iter(loader)


class _Plain(torch.utils.data.Dataset[Loaded]):
    def __init__(self, source: BatchSource) -> None:
        self.source = source

    def __getitems__(self, keys: list[Key]) -> Loaded:
        return as_floats(self.source.batch(keys))


def _as_it_is(loaded: Any) -> Any:
    return loaded


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)
