"""check_solver passes a solver that keeps the contract, and names the rule that one breaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from hmr_core.builtin import hmr_solvers
from hmr_core.errors import HmrError
from hmr_core.hand.fit.lm import LmSolver
from hmr_core.hand.fit.lm_config import LmConfig
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.solver import HandFit, UnsolvableJointsError, check_joints, ignore_progress
from hmr_core.plugins import SolverSpec
from hmr_core.testing import check_import, check_solver, check_solver_spec

LM = hmr_solvers()[0]


def test_lm_keeps_it() -> None:
    check_solver("lm")


class Broken(LmSolver):
    """lm, but for what it does with the joints before and with the hands after."""

    before: Callable[[Tensor], Tensor] = staticmethod(lambda joints: joints)
    after: Callable[[Tensor, HandFit], Any] = staticmethod(lambda joints, fit: fit)

    def solve(self, joints: Tensor, *, on_batch: Callable[[int], None] = ignore_progress) -> HandFit:
        given = self.before(joints)
        fit: HandFit = self.after(given, super().solve(given, on_batch=on_batch))
        return fit


def spec_of(**methods: Any) -> SolverSpec:
    kind: Any = type("Made", (Broken,), {name: staticmethod(method) for name, method in methods.items()})
    return replace(LM, name="made", build=lambda config, layer, checkpoint, device: kind(config, layer, device))


def changed(fit: HandFit, **arrays: Tensor) -> HandFit:
    return replace(fit, **arrays)


def millimetres(joints: Tensor) -> Tensor:
    joints.mul_(1.0).add_(0.001)
    return joints


def shared_betas(joints: Tensor, fit: HandFit) -> HandFit:
    """As where hands are drawn towards their batch's mean."""
    shift = 0.01 * (joints - joints[:, :1]).mean(0)[9]
    return changed(fit, verts=fit.verts + shift, joints=fit.joints + shift)


def in_order(joints: Tensor, fit: HandFit) -> HandFit:
    shift = 0.001 * torch.arange(len(joints))[:, None, None]
    return changed(fit, verts=fit.verts + shift)


def by_place(joints: Tensor, fit: HandFit) -> HandFit:
    shift = 0.01 * joints[:, :1]
    return changed(fit, verts=fit.verts + shift, joints=fit.joints + shift)


def randomly(joints: Tensor, fit: HandFit) -> HandFit:
    shift = 0.005 * torch.rand(1)
    return changed(fit, verts=fit.verts + shift, joints=fit.joints + shift)


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "no HandFit": ({"after": lambda joints, fit: None}, "gave NoneType; valid: a HandFit"),
    "a hand lacks": (
        {"after": lambda joints, fit: HandFit(**{name: array[1:] for name, array in vars(fit).items()})},
        "gave rotations of shape (11, 16, 3); valid: (12, 16, 3)",
    ),
    "a type": ({"after": lambda joints, fit: changed(fit, verts=fit.verts.double())}, "verts in float64 on cpu"),
    "not finite": ({"after": lambda joints, fit: changed(fit, betas=fit.betas / 0)}, "are not finite for hand 0"),
    "input": ({"before": millimetres}, "it changes the joints that it is given"),
    "mesh of another pose": (
        {"after": lambda joints, fit: changed(fit, rotations=fit.rotations + 0.1)},
        "from what the hand layer makes of its rotations and betas",
    ),
    "mesh of another shape": (
        {"after": lambda joints, fit: changed(fit, betas=fit.betas + 1)},
        "from what the hand layer makes of its rotations and betas",
    ),
    "accuracy": (
        {"after": lambda joints, fit: changed(fit, verts=fit.verts + 0.006)},
        "mm from theirs, and at most 5 mm were asked for",
    ),
    "random": ({"after": randomly}, "the same joints give another mesh the next time"),
    "order": ({"after": in_order}, "a mesh depends on the order of the hands"),
    "the others": ({"after": shared_betas}, "a mesh depends on the other hands"),
    "place": ({"after": by_place}, "the mesh depends on where the hand is"),
}


@pytest.mark.parametrize(("methods", "text"), BROKEN.values(), ids=BROKEN)
def test_a_broken_rule_is_named(methods: dict[str, Any], text: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_solver_spec(spec_of(**methods), most_mm=5.0 if "asked for" in text else 50.0)
    assert str(caught.value).startswith('solver "made": ')
    assert text in str(caught.value)


class Silent(LmSolver):
    """Tells half of the hands."""

    def solve(self, joints: Tensor, *, on_batch: Callable[[int], None] = ignore_progress) -> HandFit:
        return super().solve(joints, on_batch=lambda hands: on_batch(hands // 2))


class Credulous(LmSolver):
    """Makes a hand of anything."""

    def solve(self, joints: Tensor, *, on_batch: Callable[[int], None] = ignore_progress) -> HandFit:
        return super().solve(joints.nan_to_num() + 1e-4 * torch.arange(21)[:, None], on_batch=on_batch)


class Misnaming(LmSolver):
    """Refuses, but names another sample."""

    def solve(self, joints: Tensor, *, on_batch: Callable[[int], None] = ignore_progress) -> HandFit:
        try:
            return super().solve(joints, on_batch=on_batch)
        except UnsolvableJointsError as error:
            raise UnsolvableJointsError(0, error.reason) from error


class Raising(LmSolver):
    """Refuses by another error."""

    def solve(self, joints: Tensor, *, on_batch: Callable[[int], None] = ignore_progress) -> HandFit:
        try:
            check_joints(joints)
        except UnsolvableJointsError as error:
            raise ValueError(error.reason) from error
        return super().solve(joints, on_batch=on_batch)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Silent, "of 12 hands, on_batch was told [0, 6]"),
        (Credulous, "where the joints of a sample are not finite, it makes a hand of them all the same"),
        (Misnaming, "where the joints of sample 3 are not finite, its error names sample 0"),
        (Raising, "where the joints of a sample are not finite, it raises ValueError, not an UnsolvableJointsError"),
        (lambda *given: object(), "it gave object, which has no method solve(joints, on_batch=...)"),
    ],
)
def test_progress_and_refusals(kind: Any, text: str) -> None:
    made = replace(LM, build=lambda config, layer, checkpoint, device: kind(config, layer, device))
    with pytest.raises(AssertionError) as caught:
        check_solver_spec(made)
    assert text in str(caught.value)


class Loose(BaseModel):
    """No Section."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Open(LmConfig):
    model_config = ConfigDict(extra="ignore")


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"config": Loose}, "not a subclass of hmr_core.config.Section"),
        ({"config": Open}, "must be frozen and refuse unknown keys"),
        ({"protocols": {"bset": {}}}, 'there is no protocol "bset"'),
        ({"protocols": {"best": {"steps": 0}}}, 'its own options under the protocol "best" are not valid'),
        ({"needs_weights": True}, 'the solver "lm" needs its weights'),
    ],
)
def test_a_spec_that_cannot_be(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(AssertionError) as caught:
        check_solver_spec(replace(LM, **changes))
    assert text in str(caught.value)


def test_a_solver_with_weights_refuses_others(tmp_path: Path) -> None:
    right = tmp_path / "right.pt"
    right.write_text("right")

    def strict(config: LmConfig, layer: HandLayer, checkpoint: Path | None, device: torch.device) -> LmSolver:
        assert checkpoint is not None
        if checkpoint.read_bytes() != b"right":
            raise HmrError(f"{checkpoint} is not right.")
        return LmSolver(config, layer, device)

    def raising(config: LmConfig, layer: HandLayer, checkpoint: Path | None, device: torch.device) -> LmSolver:
        assert checkpoint is not None
        if checkpoint.read_bytes() != b"right":
            raise KeyError("weights")
        return LmSolver(config, layer, device)

    trained = replace(LM, needs_weights=True)
    check_solver_spec(replace(trained, build=strict), checkpoint=right)
    with pytest.raises(AssertionError, match=r"build\(\) takes a file that holds no weights at all"):
        check_solver_spec(
            replace(trained, build=lambda config, layer, checkpoint, device: LmSolver(config, layer, device)),
            checkpoint=right,
        )
    with pytest.raises(AssertionError, match=r"a file that is not its own makes build\(\) raise KeyError"):
        check_solver_spec(replace(trained, build=raising), checkpoint=right)


PLUGIN = """
from hmr_core.plugins import SolverSpec, hookimpl

@hookimpl
def hmr_solvers():
    from hmr_core.config import Section
    return [SolverSpec(name="toy", summary="", config=Section, build=None)]
"""


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (PLUGIN, ""),
        (PLUGIN.replace("    return", "    import torch\n    return"), 'hmr_solvers() of plugin "x" imports torch'),
    ],
)
def test_torch_may_not_be_imported(
    tmp_path: Path, fakes: Any, monkeypatch: pytest.MonkeyPatch, code: str, text: str
) -> None:
    fakes.install(tmp_path, "x", code)
    monkeypatch.syspath_prepend(tmp_path)
    registry = fakes.registry(fakes.plugin("x", hmr_solvers=lambda: [fakes.solver("toy")]))
    if not text:
        check_import("solver", "toy", registry)
        return
    with pytest.raises(AssertionError) as caught:
        check_import("solver", "toy", registry)
    assert text in str(caught.value)
