"""The contract of a solver as a test: `check_solver("name")` in a plugin's own test suite is all that it needs.

Each rule is a function below, in the order in which they are checked; a solver that breaks one fails with an
AssertionError that says what is broken and why it matters.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.config import Section
from hmr_core.errors import HmrError
from hmr_core.geometry.rotations import axis_angle_to_matrix
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.poses import random_poses, random_shapes
from hmr_core.hand.solver import HandFit, UnsolvableJointsError, ignore_progress
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.inference.solving import LoadedSolver, load_solver, solve
from hmr_core.plugins.registry import discover
from hmr_core.plugins.solver_presets import PROTOCOLS, solver_config
from hmr_core.plugins.specs import SolverSpec
from hmr_core.testing.imports import check_import

HANDS = 12
"""How many hands are solved."""

SAME_MM = 0.1
"""Largest distance between two computations of the same vertex: float32 sums in another order."""


def check_solver(
    name: str,
    *,
    checkpoint: Path | None = None,
    protocol: str = "published",
    options: Sequence[str] = (),
    most_mm: float = 5.0,
    device: str = "cpu",
) -> None:
    """Check an installed solver against the whole contract; AssertionError says what it breaks and why it matters.

    checkpoint: its weights, if it needs any. protocol, options: how to set it, as `key=value`. most_mm: the largest
    mean distance of a mesh from the hand whose exact joints were given.
    """
    registry = discover()
    try:
        spec = registry.solver(name)
    except HmrError as error:
        raise AssertionError(f"{error}") from error
    check_import("solver", name, registry)
    check_solver_spec(spec, checkpoint=checkpoint, protocol=protocol, options=options, most_mm=most_mm, device=device)


def check_solver_spec(
    spec: SolverSpec,
    *,
    checkpoint: Path | None = None,
    protocol: str = "published",
    options: Sequence[str] = (),
    most_mm: float = 5.0,
    device: str = "cpu",
) -> None:
    """Check a spec and its solver against all rules but that of the import; see check_solver."""
    _check_options(spec)
    layer = HandLayer(load_synthetic_hand())
    try:
        loaded = load_solver(spec, layer, checkpoint, protocol=protocol, overrides=options, device=torch.device(device))
    except HmrError as error:
        raise AssertionError(f'solver "{spec.name}": {error}') from error
    _check_weights(spec, layer, torch.device(device))
    contract = _Contract(spec, loaded, layer)
    contract.check_fit()
    contract.check_input_and_progress()
    contract.check_mesh()
    contract.check_accuracy(most_mm)
    contract.check_repetition()
    contract.check_independence()
    contract.check_translation()
    contract.check_refusals()


def _check_options(spec: SolverSpec) -> None:
    """The config is frozen and refuses unknown keys, and every protocol sets options that there are."""
    if not (isinstance(spec.config, type) and issubclass(spec.config, Section)):
        raise AssertionError(
            f'solver "{spec.name}": its config is {spec.config!r}, not a subclass of hmr_core.config.Section, which '
            "refuses unknown keys."
        )
    settings = spec.config.model_config
    if settings.get("extra") != "forbid" or not settings.get("frozen"):
        raise AssertionError(
            f'solver "{spec.name}": its config class must be frozen and refuse unknown keys, so that a misspelt option '
            "is told and a report's options are those that were used."
        )
    for protocol in spec.protocols:
        if protocol not in PROTOCOLS:
            raise AssertionError(
                f'solver "{spec.name}": there is no protocol "{protocol}", so that nobody could choose it. Protocols: '
                f"{', '.join(PROTOCOLS)}."
            )
        try:
            solver_config(spec, protocol)
        except HmrError as error:
            raise AssertionError(f"{error}") from error


def _check_weights(spec: SolverSpec, layer: HandLayer, device: torch.device) -> None:
    """A file that is not the solver's is refused by an HmrError."""
    if not spec.needs_weights:
        return
    with tempfile.TemporaryDirectory() as folder:
        wrong = Path(folder) / "wrong.pt"
        wrong.write_bytes(b"no weights of anything")
        try:
            spec.build(solver_config(spec, "published"), deepcopy(layer), wrong, device)
        except HmrError:
            return
        except Exception as error:
            raise AssertionError(
                f'solver "{spec.name}": a file that is not its own makes build() raise {type(error).__name__}, which a '
                "user sees as a traceback: raise an HmrError that names the file."
            ) from error
    raise AssertionError(
        f'solver "{spec.name}": build() takes a file that holds no weights at all. It would solve with whatever it was '
        "initialised with: read the file, and raise an HmrError where it is not the solver's."
    )


class _Contract:
    """The rules, on one solver of the synthetic hand."""

    def __init__(self, spec: SolverSpec, loaded: LoadedSolver, layer: HandLayer) -> None:
        self.spec, self.loaded, self.layer = spec, loaded, layer
        numbers, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
        rotations = random_poses(layer.model, HANDS, numbers).float()
        rotations[:, 0] = axis_angle_to_matrix(torch.randn(HANDS, 3, generator=generator))
        hands = layer(rotations, 0.5 * random_shapes(HANDS, numbers).float())
        camera = torch.tensor([0.0, 0.0, 0.6])
        self.joints, self.verts = hands.joints + camera, hands.verts + camera

    def check_fit(self) -> None:
        """It gives a HandFit of all hands: shapes, float32 on the CPU, finite."""
        self.fit = self._solve(self.joints)

    def check_input_and_progress(self) -> None:
        """The joints stay as they are, and on_batch is told of every hand once."""
        given, told = self.joints.clone(), list[int]()
        self._solve(given, told.append)
        if not torch.equal(given, self.joints):
            self._fail("it changes the joints that it is given, which are scored afterwards: work on a copy")
        if sum(told) != HANDS or min(told) < 0:
            self._fail(
                f"of {HANDS} hands, on_batch was told {told}: say after each chunk how many hands it had, so that the "
                "progress bar is right"
            )

    def check_mesh(self) -> None:
        """The mesh is the hand layer's for the rotations and betas, but for place and size."""
        posed = self.layer(self.fit.rotations, self.fit.betas)
        for name in ("joints", "verts"):
            found, expected = (
                points - points.mean(1, keepdim=True) for points in (getattr(self.fit, name), getattr(posed, name))
            )
            size = (found * expected).sum((1, 2), keepdim=True) / expected.square().sum((1, 2), keepdim=True)
            off_mm = _apart_mm(found, size * expected)
            if off_mm > SAME_MM:
                self._fail(
                    f"its {name} are up to {off_mm:.2g} mm from what the hand layer makes of its rotations and betas. "
                    "Both are written down as one hand: give the rotations (relative to the flat hand) and betas that "
                    "the mesh was made with"
                )

    def check_accuracy(self, most_mm: float) -> None:
        """From the exact joints of hands of its layer it finds their meshes."""
        off_mm = 1000 * float(torch.linalg.vector_norm(self.fit.verts - self.verts, dim=-1).mean())
        if off_mm > most_mm:
            self._fail(
                f"from the exact joints of {HANDS} hands its meshes are {off_mm:.1f} mm from theirs, and at most "
                f"{most_mm:g} mm were asked for. Are places in metres, in camera space, in OpenPose's order?"
            )

    def check_repetition(self) -> None:
        """The same joints give the same hands again, whatever the state of torch's generator."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            again = self._solve(self.joints)
        if (off_mm := _apart_mm(again.verts, self.fit.verts)) > SAME_MM:
            self._fail(f"the same joints give another mesh the next time ({off_mm:.2g} mm apart): no report would hold")

    def check_independence(self) -> None:
        """A hand is the same alone, and among others in another order."""
        backwards = self._solve(self.joints.flip(0)).verts.flip(0)
        alone = torch.cat([self._solve(self.joints[i : i + 1]).verts for i in range(HANDS)])
        for verts, what in ((backwards, "the order of the hands"), (alone, "the other hands")):
            if (off_mm := _apart_mm(verts, self.fit.verts)) > SAME_MM:
                self._fail(
                    f"a mesh depends on {what} ({off_mm:.2g} mm apart), so that metrics would depend on how samples "
                    "are cut into chunks: solve each hand on its own"
                )

    def check_translation(self) -> None:
        """Joints that are moved give the same hand, moved."""
        shift = torch.tensor([0.125, -0.25, 0.5])  # exact in binary
        moved = self._solve(self.joints + shift).verts - shift
        if (off_mm := _apart_mm(moved, self.fit.verts)) > SAME_MM:
            self._fail(
                f"the mesh depends on where the hand is ({off_mm:.2g} mm apart after moving the joints): a hand's "
                "shape does not change with its place before the camera"
            )

    def check_refusals(self) -> None:
        """Joints that are no hand's are refused by an UnsolvableJointsError that names the first such sample."""
        bad = {"are not finite": self.joints.clone(), "are all in one place": self.joints.clone()}
        bad["are not finite"][3, 4, 0] = torch.nan
        bad["are all in one place"][3] = bad["are all in one place"][3, :1].clone()
        for what, joints in bad.items():
            try:
                self.loaded.solver.solve(joints)
            except UnsolvableJointsError as error:
                if error.index != 3:
                    self._fail(f"where the joints of sample 3 {what}, its error names sample {error.index}")
            except Exception as error:
                self._fail(
                    f"where the joints of a sample {what}, it raises {type(error).__name__}, not an "
                    "UnsolvableJointsError: call hmr_core.hand.solver.check_joints first",
                    error,
                )
            else:
                self._fail(
                    f"where the joints of a sample {what}, it makes a hand of them all the same: call "
                    "hmr_core.hand.solver.check_joints first, which raises UnsolvableJointsError"
                )

    def _solve(self, joints: Float[Tensor, "batch 21 3"], on_batch: Callable[[int], None] = ignore_progress) -> HandFit:
        """The solver's hands, held to their form."""
        try:
            return solve(self.loaded, [f"hand {i}" for i in range(len(joints))], joints, on_batch)
        except HmrError as error:
            raise AssertionError(f'solver "{self.spec.name}": {error}') from error

    def _fail(self, text: str, cause: BaseException | None = None) -> NoReturn:
        raise AssertionError(f'solver "{self.spec.name}": {text}.') from cause


def _apart_mm(one: Float[Tensor, "batch n 3"], other: Float[Tensor, "batch n 3"]) -> float:
    """The largest distance between two points that should be the same; metres in, millimetres out."""
    return 1000 * float(torch.linalg.vector_norm(one - other, dim=-1).max())
