"""Take a training step again whose numbers were not finite, from what the run kept of it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from hmr_core.data.batch import Batch
from hmr_core.devices import choose_device
from hmr_core.errors import HmrError
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.source import HandModelSource, find_hand_model, packaged_hand
from hmr_core.nn.model import TensorRecord
from hmr_core.plugins.failures import failures_told
from hmr_core.plugins.recipes import Recipe, parse_recipe
from hmr_core.plugins.registry import Registry, discover
from hmr_core.plugins.specs import ModelSpec
from hmr_core.processes import Group
from hmr_core.training.failed_step import RECORD, WEIGHTS, FailedStep, read_failed_step
from hmr_core.training.freezing import Freezing
from hmr_core.training.losses import Losses, SharedLosses
from hmr_core.training.precision import lay_out, step_arithmetic
from hmr_core.training.step import leave_gradients
from hmr_core.weights.state_dict import Uninitialised, load_weights

_TRACE_LINES = 2
"""How many lines of the failing operation's trace are shown: where it stands, and what stands there."""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What came of a step that was taken again.

    terms: the model's losses. total: their sum. gradients: the parameters whose gradients are not finite.
    module: the first part of the model that made numbers that are not finite of finite ones, with its class. operation:
    the first one on the way back whose gradient is not a number, and where the model asked for it. Both are None where
    there is none, and where nobody looked (detect_anomaly).
    """

    failed: FailedStep
    terms: Mapping[str, float]
    total: float
    gradients: tuple[str, ...]
    module: str | None = None
    operation: str | None = None

    def __str__(self) -> str:
        """Tell it in lines."""
        failed = self.failed
        process = "" if failed.processes == 1 else f", process {failed.rank} of {failed.processes}"
        samples = [i for part in failed.ids for i in part]
        lines = [
            f"{failed.model}, step {failed.step} (epoch {failed.epoch}){process}: {len(samples)} samples of "
            f"{failed.split}, learning rate {failed.learning_rate:g}",
            "losses: " + ", ".join(f"{name} {value:g}" for name, value in {**self.terms, "total": self.total}.items()),
            "gradients that are not finite: " + (", ".join(self.gradients) or "none"),
        ]
        lines += [f"first module whose output is not finite: {self.module}"] if self.module else []
        lines += [f"first operation whose gradient is not a number: {self.operation}"] if self.operation else []
        return "\n".join(lines)


def replay(
    path: str | Path,
    registry: Registry | None = None,
    *,
    hand_model: str | Path | None = None,
    device: str | None = None,
    detect_anomaly: bool = False,
) -> Replay:
    """Take a step again that a training kept because its numbers were not finite, and give what came of it.

    path: RUN/failed/step-00000123. registry: the plugins; by default the installed ones. hand_model: where the hand
    model's file is now, if it was moved. device: by default the one that the step was taken on. detect_anomaly: whether
    to look for the module and the operation that failed first, which is slow.
    On the same device, by the same versions, the numbers are those of the training to the bit.
    HmrError for a folder that is none, another hand model, and weights that do not fit.
    """
    folder = Path(path)
    failed, kept, weights = read_failed_step(folder)
    spec = (registry or discover()).model(failed.model)
    recipe = parse_recipe(spec, failed.recipe, source=f"the recipe in {folder / RECORD}")
    chosen = choose_device(device or failed.device)
    parts = [part.to(chosen) for part in kept]
    # Nothing of the process that asks is changed by what the step draws.
    with torch.random.fork_rng(devices=[chosen] if chosen.type == "cuda" else []):
        losses = _losses(spec, recipe, failed, folder / WEIGHTS, weights, hand_model, chosen)
        names, measured = _gradients(losses, parts, failed, spec, recipe)
        values = dict(zip(names, measured.tolist(), strict=True))
        found = {
            "failed": failed,
            "total": values.pop("total"),
            "terms": values,
            "gradients": tuple(
                name for name, p in losses.model.named_parameters() if p.grad is not None and not _finite(p.grad)
            ),
        }
        if detect_anomaly:
            found["module"], found["operation"] = _first_failures(losses, parts, failed, spec, recipe)
    return Replay(**found)


def _losses(
    spec: ModelSpec,
    recipe: Recipe,
    failed: FailedStep,
    source: Path,
    weights: Mapping[str, Tensor],
    hand_model: str | Path | None,
    device: torch.device,
) -> Losses:
    """The model as the step had it, and its losses."""
    layer = None if failed.hand_model is None else HandLayer(_hand(failed.hand_model, hand_model).model)
    with Uninitialised(), failures_told(f'the model "{spec.name}"', "when it was made"):
        model = spec.build(recipe.model)
    load_weights(model, weights, source=f"{source}", model_name=spec.name)
    if layer is not None:
        model.use_hand(layer.model)
    model.to(device).train()
    config = recipe.train.model_copy(update={"compile": False})  # nobody can look into a compiled network
    lay_out(model, config)
    Freezing(model, config).begin_epoch(failed.epoch)
    return Losses(model, spec, config, None if layer is None else layer.to(device))


def _hand(recorded: Mapping[str, str | None], given: str | Path | None) -> HandModelSource:
    """The hand model that the run was trained with; HmrError for another."""
    path = given or recorded["path"]
    source = find_hand_model(Path(path)) if path else packaged_hand()
    if source.digest != recorded["blake2b"]:
        raise HmrError(
            f"{source.label} is not the hand model that the step was taken with, {recorded['path'] or 'that of hmr'} "
            "(its digest differs)."
        )
    return source


def _gradients(
    losses: Losses, parts: list[Batch], failed: FailedStep, spec: ModelSpec, recipe: Recipe
) -> tuple[list[str], Tensor]:
    with step_arithmetic(recipe.train):
        return leave_gradients(
            SharedLosses(losses, Group()),
            parts=parts,
            step=failed.step,
            when=f"at step {failed.step} (epoch {failed.epoch})",
            spec=spec,
            seed=recipe.train.seed,
            rank=failed.rank,
        )


def _first_failures(
    losses: Losses, parts: list[Batch], failed: FailedStep, spec: ModelSpec, recipe: Recipe
) -> tuple[str | None, str | None]:
    """The first module whose output, and the first operation whose gradient is not a number."""
    with _first_module(losses.model) as modules, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with torch.autograd.set_detect_anomaly(True):
                _gradients(losses, parts, failed, spec, recipe)
        except HmrError as error:  # what autograd's own says of the operation
            return next(iter(modules), None), f"{_said(error.__cause__)}{_where(caught)}"
    return next(iter(modules), None), None


def _said(error: BaseException | None) -> str:
    """What autograd says of an operation: `Function 'SqrtBackward0' returned nan values in its 0th output.`"""
    return str(error).strip().splitlines()[0].rstrip(".")


def _where(caught: list[warnings.WarningMessage]) -> str:
    """Where the model asked for the operation, by the trace that autograd warns with; empty where it does not."""
    for warning in caught:
        _, found, trace = str(warning.message).partition("Traceback of forward call that caused the error:")
        lines = [line.strip() for line in trace.strip().splitlines() if line.strip() and set(line.strip()) != {"^"}]
        places = [index for index, line in enumerate(lines) if line.startswith("File ")]
        if found and places:
            return "; it stands at " + ": ".join(lines[places[-1] : places[-1] + _TRACE_LINES])
    return ""


@contextmanager
def _first_module(model: nn.Module) -> Iterator[list[str]]:
    """The modules that make numbers that are not finite of finite ones, as they run."""
    found: list[str] = []

    def look(name: str, module: nn.Module, given: Any, made: Any) -> None:
        if _finite(given) and not _finite(made):
            found.append(f"{name or 'the model itself'} ({type(module).__name__})")

    hooks = [
        module.register_forward_hook(lambda module, given, made, name=name: look(name, module, given, made))
        for name, module in model.named_modules()
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _finite(value: Any) -> bool:
    """Whether all numbers in what a module was given, or has made, are finite."""
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(value.isfinite().all())
    if isinstance(value, TensorRecord):
        return all(map(_finite, value.tensors()))
    if isinstance(value, Mapping):
        return all(map(_finite, value.values()))
    return all(map(_finite, value)) if isinstance(value, list | tuple) else True
