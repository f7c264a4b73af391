"""The commands that take a file of weights, once it is known what it is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from hmr_core.errors import Option
from hmr_core.nn.backbones.config import BackboneConfig
from hmr_core.plugins.known import KNOWN
from hmr_core.plugins.recipes import options
from hmr_core.plugins.specs import BackboneSpec, ModelSpec
from hmr_core.shell import command_line
from hmr_core.weights.weights_file import ModelState

HAND = Option("hand_model", "hand.npz")
"""As `hmr mano import` writes it; solvers always need it, synthetic data never does."""

_BACKBONE = "backbone.weights"


class Installed(NamedTuple):
    """What is installed, by name: models, solvers, backbones, and the models that are there and cannot be used."""

    models: Mapping[str, ModelSpec]
    solvers: Collection[str] = ()
    backbones: Mapping[str, BackboneSpec] = MappingProxyType({})
    broken: Collection[str] = ()

    def state(self, model: str) -> ModelState:
        """Whether a model can be used."""
        if model in self.models:
            return "installed"
        return "broken" if model in self.broken else "not installed"


def to_evaluate(model: str, path: Path, installed: Installed, *, says_split: bool = False) -> list[str]:
    """Give the commands that evaluate with weights of a model, as a model and as a solver's; else the way there.

    says_split: whether the weights say which split they were trained on, which is then the default.
    """
    if installed.state(model) == "broken":
        return ["hmr plugins"]
    if installed.state(model) == "not installed":
        known = KNOWN["model"].get(model)
        return [command_line("pip install", known.distribution)] if known else []
    spec = installed.models[model]
    split = () if says_split else (Option("split", _a_split(spec)),)
    commands = [command_line("hmr eval", model, Option("ckpt", path), *split, *_hand(spec))]
    if model in installed.solvers:
        as_solver = Option("solver", model), Option("solver_ckpt", path)
        commands.append(command_line("hmr eval MODEL", Option("ckpt", "RUN"), *as_solver, HAND))
    return commands


def to_convert(models: list[str], path: Path) -> list[str]:
    """Give the commands that make a checkpoint of a released file that fits these models."""
    return [
        command_line(
            "hmr ckpt convert",
            path,
            Option("out", f"{model}-released"),
            *([Option("model", model)] if len(models) > 1 else []),
        )
        for model in models
    ]


def to_train_from_backbone(path: Path, config: BackboneConfig, models: Iterable[ModelSpec]) -> list[str]:
    """Give the commands that train a model whose backbone begins with a file's weights."""
    settings = [Option("set", f"backbone.name={config.name}"), Option("set", f"{_BACKBONE}={path}")]
    if not config.class_token:
        settings.append(Option("set", "backbone.class_token=false"))
    return [
        command_line("hmr train", spec.name, Option("split", _a_split(spec)), *settings, *_hand(spec))
        for spec in models
        if spec.consumes == "image" and _BACKBONE in options(spec)
    ]


def _a_split(spec: ModelSpec) -> str:
    """A split that the literature has metrics of, or the word for one."""
    return next(iter(spec.published), "SPLIT")


def _hand(spec: ModelSpec) -> tuple[Option, ...]:
    """What a command needs besides for a model that works with the annotations' hand model."""
    return (HAND,) if spec.needs_hand else ()
