"""Parts of a network that learn nothing in the first epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from hmr_core.errors import HmrError, UsageError
from hmr_core.plugins.events import CheckpointSaved
from hmr_core.plugins.recipes import TrainConfig
from hmr_core.training.freezing import Freezing


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.backbone2 = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 2)
        self.head.bias.requires_grad_(False)

    def forward(self, image: torch.Tensor) -> Any:
        return self.head(self.backbone2(self.backbone(image)).mean((2, 3)))


def freezing(model: nn.Module, *prefixes: str, epochs: int = 2) -> Freezing:
    return Freezing(model, TrainConfig(epochs=9, batch_size=1, freeze=prefixes, freeze_epochs=epochs))


def learning(model: nn.Module) -> set[str]:
    return {name for name, parameter in model.named_parameters() if parameter.requires_grad}


def moved(model: Network) -> set[str]:
    """The tensors that a step of training changes."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    optimizer.zero_grad(set_to_none=True)
    model(torch.randn(4, 3, 5, 5)).square().sum().backward()
    optimizer.step()
    return {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}


def test_frozen_parts_stay_as_they_are_for_so_many_epochs_with_their_statistics() -> None:
    model = Network()
    parts = freezing(model, "backbone")
    everything = set(model.state_dict()) - {"head.bias"}
    own = {name for name in everything if name.startswith("backbone.")}
    for epoch, changes, change in ((1, everything - own, True), (2, everything - own, False), (3, everything, True)):
        model.train()
        assert parts.begin_epoch(epoch) is change
        assert moved(model) == changes
        assert model.head.training
    model.train()
    assert parts.begin_epoch(4) is False
    assert moved(model) == everything


def test_a_run_resumed_later_freezes_nothing() -> None:
    model = Network()
    assert freezing(model, "backbone").begin_epoch(3) is False
    assert "backbone.0.weight" in learning(model)


def test_what_the_model_keeps_from_learning_stays_so() -> None:
    model = Network()
    parts = freezing(model, "head")
    for epoch in (1, 3):
        parts.begin_epoch(epoch)
    assert "head.weight" in learning(model)
    assert "head.bias" not in learning(model)


def test_without_freezing_nothing_changes() -> None:
    model = Network()
    before = learning(model)
    assert Freezing(model, TrainConfig(epochs=9, batch_size=1)).begin_epoch(1) is False
    assert Freezing(model, TrainConfig(epochs=9, batch_size=1, freeze=("backbone",))).begin_epoch(1) is False
    assert learning(model) == before


def test_a_part_that_is_not_there_is_refused_by_name() -> None:
    with pytest.raises(UsageError) as caught:
        freezing(Network(), "backbon")
    assert str(caught.value) == (
        'unknown part of the network in train.freeze "backbon". Did you mean "backbone"? Valid: backbone, backbone.0, '
        "backbone.1, backbone2, backbone2.bias, backbone2.weight, head, head.bias, head.weight."
    )


def test_a_run_freezes_for_its_first_epochs_alone(trainer: Any, tmp_path: Path) -> None:
    bias = {}

    def keep(event: Any) -> None:
        if isinstance(event, CheckpointSaved):
            bias[event.epoch] = load_file(event.path / "model.safetensors")["body.2.bias"]

    trainer.on_event = keep
    trainer(tmp_path / "run", 'train.freeze=["body.2.bias"]', "train.freeze_epochs=2")
    assert torch.equal(bias[1], bias[2])
    assert not torch.equal(bias[2], bias[3])


def test_a_part_that_is_not_there_leaves_no_run(trainer: Any, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r'^unknown part of the network in train\.freeze "head"\. Valid: body, body\.2'
    ):
        trainer(tmp_path / "run", 'train.freeze=["head"]', "train.freeze_epochs=2")
    assert not (tmp_path / "run").exists()


def test_a_network_that_would_learn_nothing_is_refused() -> None:
    with pytest.raises(HmrError, match=r"^train\.freeze=\['backbone', 'backbone2', 'head'\] leaves nothing of the"):
        freezing(Network(), "backbone", "backbone2", "head")
