"""The solver: its options, its checkpoints, what it does with joints, and that chunks change nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from hmr_core.errors import HmrError, UsageError
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.model import HandModel
from hmr_core.hand.solver import HandFit, Solver, UnsolvableJointsError, scale_and_place
from hmr_core.plugins.recipes import load_recipe
from hmr_core.plugins.solver_presets import protocol_label, solver_config
from hmr_core.testing import check_solver
from hmr_core.weights.checkpoint_record import CheckpointRecord
from hmr_core.weights.checkpoints import save_checkpoint
from hmr_iknet import solver as solver_module
from hmr_iknet.config import IKNetConfig
from hmr_iknet.model import IKNet
from hmr_iknet.plugin import hmr_models, hmr_solvers
from hmr_iknet.solver import IKNetSolver
from hmr_iknet.solver_config import IKNetSolverConfig

GOLDEN = Path(__file__).parent / "data/golden"
FITS = ("published", "lm", "none")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def released_weights(rule: ModuleType) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = rule.state_dict(json.loads((GOLDEN / "iknet.json").read_text()))
    return weights


@pytest.fixture
def solver(mini_hand: HandModel, released_weights: dict[str, Tensor]) -> Callable[..., IKNetSolver]:
    """Makes the solver with options given by name."""

    def make(**options: object) -> IKNetSolver:
        network = IKNet(IKNetConfig())
        network.load_state_dict(released_weights)
        return IKNetSolver(IKNetSolverConfig.model_validate(options), network, HandLayer(mini_hand))

    return make


def in_camera(recorded: dict[str, Tensor]) -> Tensor:
    return recorded["joints"] + torch.tensor([0.0, 0.0, 0.6])


def test_is_a_solver(solver: Callable[..., IKNetSolver]) -> None:
    assert isinstance(solver(), Solver)


@pytest.mark.parametrize("fit", FITS)
def test_shapes_types_and_progress(solver: Callable[..., IKNetSolver], recorded: dict[str, Tensor], fit: str) -> None:
    done: list[int] = []
    found = solver(fit=fit).solve(in_camera(recorded).double(), on_batch=done.append)
    assert sum(done) == 16
    for name, shape in {"rotations": (16, 3), "betas": (10,), "joints": (21, 3), "verts": (778, 3)}.items():
        array = getattr(found, name)
        assert array.shape == (16, *shape)
        assert array.dtype == torch.float32
        assert bool(torch.isfinite(array).all())


@pytest.mark.parametrize("fit", FITS)
def test_the_mesh_is_the_hand_layers(
    mini_hand: HandModel, solver: Callable[..., IKNetSolver], recorded: dict[str, Tensor], fit: str
) -> None:
    """But for place, and in the published fit and without one for size."""
    joints = in_camera(recorded)
    found = solver(fit=fit).solve(joints)
    posed = HandLayer(mini_hand)(found.rotations, found.betas)
    if fit == "lm":
        shift = found.joints[:, :1] - posed.joints[:, :1]
        expected = posed.joints + shift, posed.verts + shift
    else:
        expected = scale_and_place(posed.joints, posed.verts, joints)
        torch.testing.assert_close(found.joints[:, 9], joints[:, 9])
    torch.testing.assert_close((found.joints, found.verts), expected, atol=2e-6, rtol=0)


def test_without_a_fit_it_is_iknet(solver: Callable[..., IKNetSolver], recorded: dict[str, Tensor]) -> None:
    found = solver(fit="none").solve(in_camera(recorded))
    torch.testing.assert_close(found.rotations.flatten(1), recorded["iknet_so3"], atol=2e-5, rtol=0)
    assert not found.betas.any()


@pytest.mark.parametrize("fit", FITS)
def test_moving_the_joints_moves_the_mesh(
    solver: Callable[..., IKNetSolver], recorded: dict[str, Tensor], fit: str
) -> None:
    shift = torch.tensor([0.125, -0.25, 0.5])  # exact in binary, so that the network sees nearly the same
    options = {"fit": fit} if fit == "none" else {"fit": fit, "steps": 3}
    one = solver(**options).solve(recorded["joints"])
    other = solver(**options).solve(recorded["joints"] + shift)
    torch.testing.assert_close(other.verts - shift, one.verts, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("options", "most_mm"),
    [({"fit": "lm"}, 0.02), ({"fit": "none"}, 0.02), ({"fit": "published", "prior_group": 3}, 5)],
)
def test_chunks_change_nothing_but_rounding(
    mini_hand: HandModel,
    solver: Callable[..., IKNetSolver],
    options: dict[str, object],
    most_mm: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The published objective has kinks: there rounding can move a single hand, but not most of them."""
    generator = torch.Generator().manual_seed(6)
    rotations = 0.25 * torch.randn(128, 16, 3, generator=generator)
    joints = HandLayer(mini_hand).joints(rotations, 0.7 * torch.randn(128, 10, generator=generator))
    joints = joints + 0.002 * torch.randn(128, 21, 3, generator=generator)
    whole = solver(**options).solve(joints)
    # Two groups of three, so that it is cut at six, at twelve, ...
    monkeypatch.setattr(solver_module, "CHUNKS", dict.fromkeys(FITS, 8))
    parts = solver(**options).solve(joints)
    moved_mm = 1000 * torch.linalg.vector_norm(parts.verts - whole.verts, dim=-1).amax(1)
    assert float(moved_mm.max()) < most_mm
    assert float(moved_mm.mean()) < 0.1
    assert float(moved_mm.median()) < 0.01


def test_a_shared_prior_is_not_each_samples_own(
    solver: Callable[..., IKNetSolver], recorded: dict[str, Tensor]
) -> None:
    found = [solver(fit="published", prior_group=n).solve(in_camera(recorded)) for n in (1, 8)]
    assert float((found[0].verts - found[1].verts).abs().max()) > 1e-3


def test_the_expected_noise_matters_and_is_five_millimetres_by_default(
    solver: Callable[..., IKNetSolver], recorded: dict[str, Tensor]
) -> None:
    found = [solver(noise_mm=n).solve(in_camera(recorded)).verts for n in (None, 5, 15)]
    assert torch.equal(found[0], found[1])
    assert float((found[0] - found[2]).abs().max()) > 1e-3


def test_no_hands(solver: Callable[..., IKNetSolver]) -> None:
    for fit in FITS:
        found = solver(fit=fit).solve(torch.zeros(0, 21, 3))
        assert found.verts.shape == (0, 778, 3)


@pytest.mark.parametrize("fit", FITS)
def test_joints_of_no_hand_are_refused(
    solver: Callable[..., IKNetSolver], recorded: dict[str, Tensor], fit: str
) -> None:
    joints = in_camera(recorded)
    joints[3, 4, 0] = float("nan")
    with pytest.raises(UnsolvableJointsError, match="no mesh for sample 3: its joints are not all finite numbers"):
        solver(fit=fit).solve(joints)
    with pytest.raises(UnsolvableJointsError, match=r"sample 0: .* are these millimetres"):
        solver(fit=fit).solve(1000 * in_camera(recorded))


def test_the_released_file_and_our_checkpoint_load(
    mini_hand: HandModel,
    solver: Callable[..., IKNetSolver],
    recorded: dict[str, Tensor],
    tmp_path: Path,
    released_weights: dict[str, Tensor],
) -> None:
    spec = hmr_solvers()[0]
    torch.save({"model": released_weights}, tmp_path / "iknet.pt")
    released = spec.build(IKNetSolverConfig(), HandLayer(mini_hand), tmp_path / "iknet.pt", CPU)
    expected = solver().solve(in_camera(recorded))
    assert torch.equal(released.solve(in_camera(recorded)).verts, expected.verts)

    recipe = load_recipe(hmr_models()[0], "tiny")
    network = IKNet(recipe.model)
    record = CheckpointRecord(model="iknet", recipe=recipe.model_dump(mode="json"))
    save_checkpoint(tmp_path / "epoch-0001", network, torch.optim.Adam(network.parameters()), record)
    ours = spec.build(IKNetSolverConfig(), HandLayer(mini_hand), tmp_path / "epoch-0001", CPU)
    assert isinstance(ours.solve(in_camera(recorded)), HandFit)


def test_a_checkpoint_of_another_model_is_refused(mini_hand: HandModel, tmp_path: Path) -> None:
    build = hmr_solvers()[0].build
    network = IKNet(IKNetConfig(widths=(4,)))
    record = CheckpointRecord(model="integral", recipe={})
    save_checkpoint(tmp_path / "epoch-0001", network, torch.optim.Adam(network.parameters()), record)
    text = 'is a checkpoint of the model "integral", not of "iknet". Give solver_ckpt one of iknet, or use it with '
    with pytest.raises(HmrError, match=re.escape(text) + r"integral\.$"):
        build(IKNetSolverConfig(), HandLayer(mini_hand), tmp_path / "epoch-0001", CPU)
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "IntegralPose.pth.tar")
    with pytest.raises(HmrError, match=r'IntegralPose.pth.tar does not fit the model "iknet": it lacks invk_layers'):
        build(IKNetSolverConfig(), HandLayer(mini_hand), tmp_path / "IntegralPose.pth.tar", CPU)


def test_a_file_without_weights_is_refused(mini_hand: HandModel, tmp_path: Path) -> None:
    (tmp_path / "iknet.pt").write_bytes(b"no weights")
    text = r"iknet\.pt cannot be loaded .* solver_ckpt takes a run's folder, .* or a released file\.$"
    with pytest.raises(HmrError, match=text):
        hmr_solvers()[0].build(IKNetSolverConfig(), HandLayer(mini_hand), tmp_path / "iknet.pt", CPU)


def test_keeps_the_contract_of_solvers(tmp_path: Path) -> None:
    """With a network that was not trained: what is left of a mesh's error is the fit's, and without one all of it.

    The published fit shares its prior with the samples before and after, which the contract does not allow; it is what
    the golden file holds it to.
    """
    recipe = load_recipe(hmr_models()[0], "tiny")
    network = IKNet(recipe.model)
    record = CheckpointRecord(model="iknet", recipe=recipe.model_dump(mode="json"))
    save_checkpoint(tmp_path / "epoch-0001", network, torch.optim.Adam(network.parameters()), record)
    check_solver("iknet", checkpoint=tmp_path / "epoch-0001", options=["fit=lm"])
    check_solver("iknet", checkpoint=tmp_path / "epoch-0001", options=["fit=none"], most_mm=200.0)


def test_protocols() -> None:
    spec = hmr_solvers()[0]
    assert spec.name == "iknet"
    assert solver_config(spec, "published", []) == IKNetSolverConfig(fit="published")
    assert solver_config(spec, "best", []) == IKNetSolverConfig(fit="lm")


@pytest.mark.parametrize("key", ["steps", "prior_group"])
def test_counts_that_no_fit_could_have_are_refused(key: str) -> None:
    with pytest.raises(
        UsageError, match=f'{key}=0: "0" is not valid for {key}: Input should be greater than or equal to 1'
    ):
        solver_config(hmr_solvers()[0], "published", [f"{key}=0"])
    with pytest.raises(UsageError, match="Input should be less than or equal to 1000000"):
        solver_config(hmr_solvers()[0], "published", [f"{key}=1000000000000000000000"])


def test_default_steps(solver: Callable[..., IKNetSolver]) -> None:
    assert solver(fit="published").steps == 20
    assert solver(fit="lm").steps == 8
    assert solver(fit="lm", steps=3).steps == 3
    assert solver(fit="published").prior_group == 256
    assert solver(fit="published", prior_group=1).prior_group == 1


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["noise_mm=5"], "noise_mm=5: noise_mm is an option of fit=lm, and the fit is published. Set fit=lm, or leave"),
        (
            ["prior_group=8", "fit=lm"],
            "fit=lm: prior_group is an option of fit=published, and the fit is lm. Set fit=p",
        ),
        (["prior_group=1", "fit=none"], "fit=none: prior_group is an option of fit=published, and the fit is none."),
        (["fit=none", "steps=3"], "steps=3: steps is an option of fit=lm and fit=published, and the fit is none. Set"),
    ],
)
def test_an_option_of_another_fit_is_refused(overrides: list[str], text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(text)):
        solver_config(hmr_solvers()[0], "published", overrides)


def test_options_of_the_fit_in_any_order_over_a_protocol() -> None:
    spec = hmr_solvers()[0]
    for overrides in (["fit=lm", "noise_mm=5"], ["noise_mm=5", "fit=lm"]):
        made = solver_config(spec, "published", overrides)
        assert made == IKNetSolverConfig(fit="lm", noise_mm=5)
        assert protocol_label(spec, "published", made) == "published, but fit=lm, noise_mm=5"
    assert solver_config(spec, "published", ["fit=none"]) == IKNetSolverConfig(fit="none")
    assert solver_config(spec, "best", ["fit=published", "prior_group=1"]) == IKNetSolverConfig(
        fit="published", prior_group=1
    )


def test_a_noise_below_a_millimetre_is_refused() -> None:
    with pytest.raises(
        UsageError, match='noise_mm=0: "0" is not valid for noise_mm: Input should be greater than or equal to 1'
    ):
        solver_config(hmr_solvers()[0], "best", ["noise_mm=0"])
