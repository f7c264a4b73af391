"""Parts of a network that learn nothing in the first epochs: their weights and batch norm's statistics stay."""

from __future__ import annotations

from torch import nn

from hmr_core.errors import HmrError, unknown_name
from hmr_core.plugins.recipes import TrainConfig
from hmr_core.wording import counted


def freezing_note(config: TrainConfig) -> str | None:
    """What learns nothing at first, in words; None where all learns."""
    if not (config.freeze and config.freeze_epochs):
        return None
    return f"{', '.join(config.freeze)} of the network: frozen for {counted(config.freeze_epochs, 'epoch')}"


class Freezing:
    """Freezes the parts of a model that a recipe names for its first epochs.

    Raises HmrError for a name that none of the model's parameters begins with, and where nothing would be left that
    learns. What the model itself keeps from learning stays so.
    """

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        prefixes = config.freeze if config.freeze_epochs else ()
        names = [name for name, _ in model.named_parameters()]
        for prefix in prefixes:
            if not any(_is_in(name, prefix) for name in names):
                parts = {".".join(name.split(".")[:depth]) for name in names for depth in (1, 2)}
                raise unknown_name("part of the network in train.freeze", prefix, parts)

        def frozen(name: str) -> bool:
            return any(_is_in(name, prefix) for prefix in prefixes)

        learning = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        self._epochs = config.freeze_epochs
        self._parameters = [parameter for name, parameter in learning.items() if frozen(name)]
        self._modules = [module for name, module in model.named_modules() if frozen(name)]
        if self._parameters and len(self._parameters) == len(learning):
            raise HmrError(
                f"train.freeze={list(config.freeze)} leaves nothing of the network that learns. Name fewer parts."
            )

    def begin_epoch(self, epoch: int) -> bool:
        """Freeze the parts, or let them learn, as an epoch has it; epoch counts from 1. Call it after model.train().

        Gives whether it has changed what learns.
        """
        frozen = epoch <= self._epochs
        changed = False
        for parameter in self._parameters:
            changed |= parameter.requires_grad is frozen
            parameter.requires_grad_(not frozen)
            if frozen:
                parameter.grad = None
        if frozen:
            for module in self._modules:
                module.eval()
        return changed


def _is_in(name: str, prefix: str) -> bool:
    """Whether a name is a prefix's or below it: `backbone` has `backbone.conv1`, and not `backbone2`."""
    return name == prefix or name.startswith(f"{prefix}.")
