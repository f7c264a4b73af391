"""Hands a second of the solver's fits, and what they leave of the mesh error: writes results/fit.csv.

Run: python tools/bench_fit.py [--hand-model hand.npz] [--csv results/fit.csv]. Random hands of a hand model (the
made-up one of the tests, unless another is given): pose angles of 0.25 rad standard deviation, betas of 0.7, joints
with noise, and rotations to start from that are off by 0.08 rad on each angle, in IKNet's place. The contenders take
turns in one process and each keeps its best round: compare ratios, not hands a second of different runs. Rows of a fit,
of IKNet and of skinning are of these alone; "joints to mesh" is the whole solver, and the error is that of its mesh.

python tools/bench_fit.py --sweep measures what `noise_mm` does instead, on those hands and on hands of the synthetic
model with fingers bent within joint limits, starts off by 0.12 rad; it writes results/fit_noise.csv. No times there.

python tools/bench_fit.py --starts [--solver-ckpt RUN] compares where a fit starts, on the same hands: from IKNet's
stand-in, from an IKNet that was trained (RUN), and from the mean pose, without weights (the solver lm); it writes
results/fit_starts.csv. No times there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np
import torch
from provenance import REPOSITORY, write_rows
from torch import Tensor

from hmr_core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from hmr_core.hand.fit.from_mean_pose import ERROR
from hmr_core.hand.fit.from_network import fit_from_network
from hmr_core.hand.fit.least_squares import NOISE_MM as DEFAULT_NOISE_MM
from hmr_core.hand.fit.lm import LmSolver
from hmr_core.hand.fit.lm_config import LmConfig
from hmr_core.hand.fit.posing import MESH_CHUNK
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.mano_file import read_mano_file
from hmr_core.hand.model import load_hand_model
from hmr_core.hand.poses import random_poses, random_shapes
from hmr_core.hand.solver import Solver
from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.nn.model import Inputs, Prediction
from hmr_iknet import fit_published
from hmr_iknet.config import IKNetConfig
from hmr_iknet.model import IKNet
from hmr_iknet.plugin import build_solver
from hmr_iknet.solver import CHUNKS, DEFAULT_PRIOR_GROUP, IKNetSolver
from hmr_iknet.solver_config import IKNetSolverConfig

MANO_FILE = REPOSITORY / "packages/hmr-core/tests/data/mano_v1_2/models/MANO_RIGHT.pkl"
CPU = torch.device("cpu")
NOISE_MM = (2, 5)
SWEPT_NOISE_MM, SWEPT_OPTION_MM = (2, 5, 8), (2, 3, 4, 5, 6, 8, 10)
APART_M = 0.5
"""Between two hands of a sample, which lie on a grid: so their place says which hand it is."""


class Sample(NamedTuple):
    """Joints with noise, rotations to start from, and the mesh without noise."""

    joints: Tensor
    starts: Tensor
    verts: Tensor

    def first(self, count: int) -> Sample:
        """Some of the hands."""
        return Sample(self.joints[:count], self.starts[:count], self.verts[:count])


class KnownStarts(IKNet):
    """IKNet, whose work is done and thrown away: it gives the starts of a sample, whatever part of it is asked for, in
    whatever order, and whatever was done to a single joint.
    """

    def __init__(self, starts: Tensor) -> None:
        super().__init__(IKNetConfig())
        self.starts = starts

    def forward(self, inputs: Inputs) -> Prediction:
        """The starts of the hands that lie where these joints are."""
        assert inputs.joints is not None
        found = super().forward(inputs)
        return Prediction(rotations=self.known(inputs.joints), betas=found.betas)

    def known(self, joints: Tensor) -> Tensor:
        """The same without IKNet's work."""
        side = grid_side(len(self.starts))
        cells = (joints.median(1).values / APART_M).round().long()
        return self.starts[(cells * torch.tensor([side * side, side, 1])).sum(1)]


def grid_side(count: int) -> int:
    """The side of the cube of places that holds so many hands."""
    return next(side for side in range(1, count + 1) if side**3 >= count)


def make_sample(layer: HandLayer, rotations: Tensor, betas: Tensor, starts: Tensor, noise: Tensor) -> Sample:
    """Hands on a grid. noise: metres."""
    count = len(rotations)
    index, side = torch.arange(count), grid_side(count)
    place = APART_M * torch.stack([index // side**2, index // side % side, index % side], dim=1)[:, None]
    chunks = [
        layer(*chunk) for chunk in zip(torch.split(rotations, MESH_CHUNK), torch.split(betas, MESH_CHUNK), strict=True)
    ]
    joints, verts = (torch.cat([getattr(chunk, name) for chunk in chunks]) for name in ("joints", "verts"))
    middle = joints[:, 9:10]
    return Sample(joints - middle + noise + place, starts, verts - middle + place)


def bench_hands(layer: HandLayer, count: int, noise_mm: float) -> Sample:
    """Random rotations about any axis."""
    generator = torch.Generator().manual_seed(0)
    rotations = 0.25 * torch.randn(count, 16, 3, generator=generator)
    betas = 0.7 * torch.randn(count, 10, generator=generator)
    starts = rotations + 0.08 * torch.randn(count, 16, 3, generator=generator)
    noise = noise_mm / 1000 * torch.randn(count, 21, 3, generator=generator)
    return make_sample(layer, rotations, betas, starts, noise)


def bent_hands(layer: HandLayer, count: int, noise_mm: float) -> Sample:
    """Fingers bent within joint limits, turned anywhere; starts off by 0.12 rad about each axis."""
    numbers, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    rotations = random_poses(layer.model, count, numbers).float()
    rotations[:, 0] = axis_angle_to_matrix(2 * torch.randn(count, 3, generator=generator))
    betas = random_shapes(count, numbers).float()
    off = axis_angle_to_matrix(0.12 * torch.randn(count, 16, 3, generator=generator))
    noise = noise_mm / 1000 * torch.randn(count, 21, 3, generator=generator)
    return make_sample(layer, rotations, betas, matrix_to_axis_angle(rotations @ off), noise)


def mesh_error_mm(solver: Solver, sample: Sample) -> float:
    """The mean distance of the solver's vertices from the clean hand's."""
    return 1000 * float((solver.solve(sample.joints).verts - sample.verts).norm(dim=-1).mean())


@dataclass
class Contender:
    """A way to do something with hands, so many of them at once, and what was measured."""

    name: str
    sample: Sample
    chunk: int
    run: Callable[[Tensor, Tensor], object]
    error_mm: float | None = None
    seconds: float = float("inf")

    def measure(self) -> None:
        """One round; the best one so far is kept."""
        chunks = list(
            zip(torch.split(self.sample.joints, self.chunk), torch.split(self.sample.starts, self.chunk), strict=True)
        )
        start = time.perf_counter()
        for chunk in chunks:
            self.run(*chunk)
        self.seconds = min(self.seconds, time.perf_counter() - start)

    @property
    def rate(self) -> float:
        """Hands a second."""
        return len(self.sample.joints) / self.seconds


def contenders(layer: HandLayer, count: int, loop: int, noise_mm: float) -> list[Contender]:
    """What is compared on hands with that noise; the first one is what the others are held against."""
    sample = bench_hands(layer, count, noise_mm)
    network = KnownStarts(sample.starts)
    solvers = {
        fit: IKNetSolver(IKNetSolverConfig.model_validate({"fit": fit}), network, layer) for fit in ("published", "lm")
    }
    chain, anatomy = solvers["lm"].chain, solvers["lm"].anatomy

    def published(joints: Tensor, starts: Tensor) -> object:
        return fit_published.fit(chain, joints, starts, prior_group=DEFAULT_PRIOR_GROUP)

    def fit_lm(joints: Tensor, _: Tensor) -> object:
        noise = DEFAULT_NOISE_MM / 1000
        return fit_from_network(chain, anatomy, joints, network.known, noise=noise)

    def whole(fit: str) -> Contender:
        solver = solvers[fit]
        name = f"joints to mesh, {fit}"
        return Contender(name, sample, count, lambda joints, _: solver.solve(joints), mesh_error_mm(solver, sample))

    return [
        Contender("published, one hand at a time", sample.first(loop), 1, published),
        Contender("published, batched", sample, CHUNKS["published"], published),
        Contender("lm, one hand at a time", sample.first(loop), 1, fit_lm),
        Contender("lm, batched", sample, CHUNKS["lm"], fit_lm),
        Contender("IKNet alone", sample, CHUNKS["none"], lambda joints, _: network(Inputs(joints=joints))),
        Contender("skinning alone", sample, MESH_CHUNK, lambda _, starts: layer(starts, starts[:, :10, 0])),
        whole("published"),
        whole("lm"),
    ]


def sweep(layer: HandLayer, count: int) -> list[dict[str, object]]:
    """The mesh error for each `noise_mm` on hands with each noise."""
    rows: list[dict[str, object]] = []
    kinds = {"bench": (bench_hands, layer), "bent": (bent_hands, HandLayer(load_synthetic_hand()))}
    for kind, (make, own_layer) in kinds.items():
        for joint_noise_mm in SWEPT_NOISE_MM:
            sample = make(own_layer, count, joint_noise_mm)
            network = KnownStarts(sample.starts)
            errors = [
                mesh_error_mm(IKNetSolver(IKNetSolverConfig(noise_mm=option_mm), network, own_layer), sample)
                for option_mm in SWEPT_OPTION_MM
            ]
            click.echo(f"| {kind} | {joint_noise_mm} mm | " + " | ".join(f"{error:.2f}" for error in errors) + " |")
            for option_mm, error in zip(SWEPT_OPTION_MM, errors, strict=True):
                what = {"hands_kind": kind, "joint_noise_mm": joint_noise_mm, "noise_mm": option_mm, "hands": count}
                rows.append({**what, "mesh_error_mm": f"{error:.2f}"})
    return rows


def starts(layer: HandLayer, count: int, checkpoint: Path | None) -> list[dict[str, object]]:
    """The mesh error by where the fit starts."""
    kinds = {"bench": (bench_hands, layer), "bent": (bent_hands, HandLayer(load_synthetic_hand()))}
    found: dict[str, list[tuple[str, int, float]]] = {}
    for kind, (make, own_layer) in kinds.items():
        for joint_noise_mm in SWEPT_NOISE_MM[:2]:
            sample = make(own_layer, count, joint_noise_mm)
            for what, solver in solvers_by_start(own_layer, sample, checkpoint).items():
                found.setdefault(what, []).append((kind, joint_noise_mm, mesh_error_mm(solver, sample)))
    rows: list[dict[str, object]] = []
    for what, errors in found.items():
        click.echo(f"| {what} | " + " | ".join(f"{error:.2f}" for _, _, error in errors) + " |")
        for kind, joint_noise_mm, error in errors:
            where = {"hands_kind": kind, "joint_noise_mm": joint_noise_mm, "hands": count}
            rows.append({"start": what, **where, "mesh_error_mm": f"{error:.2f}"})
    return rows


def solvers_by_start(layer: HandLayer, sample: Sample, checkpoint: Path | None) -> dict[str, Solver]:
    """What is compared, by what a row says."""
    flat = HandLayer(replace(layer.model, pose_mean=torch.zeros_like(layer.model.pose_mean)))
    options = IKNetSolverConfig(fit="lm")
    trained = {} if checkpoint is None else {"a trained IKNet": build_solver(options, layer, checkpoint, CPU)}
    return {
        "IKNet's stand-in": IKNetSolver(options, KnownStarts(sample.starts), layer),
        **trained,
        "the mean pose (`lm`)": LmSolver(LmConfig(), layer),
        "the flat hand": LmSolver(LmConfig(), flat),
        "the mean pose, 0.5 rad about every axis": equally_stiff(layer, 0.5),
        "the flat hand, 0.25 rad about every axis": equally_stiff(flat, 0.25),
    }


def equally_stiff(layer: HandLayer, error: float) -> LmSolver:
    """lm without hinges. error: radians by which a joint leaves the mean pose about any axis."""
    solver = LmSolver(LmConfig(), layer)
    solver.mean_pose.stiffness = (ERROR / error) ** 2 * torch.eye(3).expand(16, 3, 3)
    return solver


def compare(layer: HandLayer, count: int, loop: int, rounds: int) -> list[dict[str, object]]:
    """Times and errors; prints the rows of the table in docs/solver.md."""
    measured = {noise_mm: contenders(layer, count, loop, noise_mm) for noise_mm in NOISE_MM}
    for compared in measured.values():
        for _ in range(rounds):
            for contender in compared:
                contender.measure()
    rows: list[dict[str, object]] = []
    for noise_mm, compared in measured.items():
        for c in compared:
            error = "" if c.error_mm is None else f"{c.error_mm:.2f}"
            what = {"noise_mm": noise_mm, "what": c.name, "hands": len(c.sample.joints), "at_once": c.chunk}
            speed = {"hands_per_s": f"{c.rate:.0f}", "ratio": f"{c.rate / compared[0].rate:.1f}"}
            rows.append({**what, **speed, "mesh_error_mm": error})
    half = len(rows) // 2
    for one, other in zip(rows[:half], rows[half:], strict=True):
        rate, ratio = int(str(one["hands_per_s"])), float(str(one["ratio"]))
        errors = [f"{row['mesh_error_mm']} mm" if row["mesh_error_mm"] else "" for row in (one, other)]
        cells = [one["what"], one["at_once"], f"{rate:,}", f"{ratio:,.0f}", *errors]
        click.echo(f"| {' | '.join(str(cell) for cell in cells)} |")
    return rows


@click.command()
@click.option("--hand-model", type=click.Path(path_type=Path), help="An .npz; default: the made-up one of the tests.")
@click.option("--sweep", "sweeps", is_flag=True, help="Measure what noise_mm does instead.")
@click.option("--starts", "compares_starts", is_flag=True, help="Compare where a fit starts instead.")
@click.option("--solver-ckpt", type=click.Path(path_type=Path), help="With --starts: a run of IKNet, to be compared.")
@click.option("--count", default=4096, show_default=True, help="Hands.")
@click.option("--loop", default=16, show_default=True, help="How many of them are fitted one at a time.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Default: in results/.")
@torch.no_grad()
def main(
    hand_model: Path | None,
    sweeps: bool,
    compares_starts: bool,
    solver_ckpt: Path | None,
    count: int,
    loop: int,
    rounds: int,
    threads: int,
    csv_path: Path | None,
) -> None:
    """Measure the fits, print the rows of the tables in docs/solver.md, write them all."""
    torch.set_num_threads(threads)
    layer = HandLayer(load_hand_model(hand_model) if hand_model else read_mano_file(MANO_FILE))
    setting = {
        "hand_model": hand_model.name if hand_model else "made up (the tests')", "seed": 0, "threads": threads,
        "torch": torch.__version__,
    }  # fmt: skip
    if sweeps:
        name, rows = "fit_noise.csv", sweep(layer, count)
    elif compares_starts:
        name, rows = "fit_starts.csv", starts(layer, count, solver_ckpt)
    else:
        name, rows = "fit.csv", compare(layer, count, loop, rounds)
    path = csv_path or REPOSITORY / "results" / name
    write_rows(path, [row | setting for row in rows])


if __name__ == "__main__":
    main()
