"""Hands a second of the solver's fits, and what they leave of the mesh error: writes results/fit.csv.

Run: python tools/bench_fit.py [--hand-model hand.npz] [--csv results/fit.csv]. Random hands of a hand model (the
made-up one of the tests, unless another is given): pose angles of 0.25 rad standard deviation, betas of 0.7, joints
with noise, and rotations to start from that are off by 0.08 rad on each angle, in IKNet's place. The fits take turns
in one process and each keeps its best round: compare ratios, not hands a second of different runs. Times are of the
fit alone; IKNet, which runs before it, and skinning have rows of their own.
"""

from __future__ import annotations

import csv
import datetime
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click
import torch
from bench_codecs import cpu_name
from torch import Tensor

from hmr_core.hand.layer import HandLayer
from hmr_core.hand.mano_file import read_mano_file
from hmr_core.hand.model import HandModel, load_hand_model
from hmr_core.hand.solver import place
from hmr_core.nn.model import Inputs
from hmr_iknet import fit_lm, fit_published
from hmr_iknet.chain import HandChain
from hmr_iknet.config import IKNetConfig
from hmr_iknet.model import IKNet
from hmr_iknet.outliers import Anatomy
from hmr_iknet.solver import CHUNKS, MESH_CHUNK

REPOSITORY = Path(__file__).parent.parent
MANO_FILE = REPOSITORY / "packages/hmr-core/tests/data/mano_v1_2/models/MANO_RIGHT.pkl"
NOISE_MM = (2, 5)


class Sample(NamedTuple):
    """Joints with noise, rotations to start from, and the mesh without noise."""

    joints: Tensor
    starts: Tensor
    verts: Tensor

    def first(self, count: int) -> Sample:
        """Some of the hands."""
        return Sample(self.joints[:count], self.starts[:count], self.verts[:count])


@dataclass
class Contender:
    """A way to do something with hands, so many of them at once, and what was measured."""

    name: str
    sample: Sample
    chunk: int
    run: Callable[[Tensor, Tensor], Any]
    verts: Callable[[Any, Tensor], Tensor] | None = None
    seconds: float = float("inf")
    error_mm: float | None = None

    def measure(self) -> None:
        """One round; the best one so far is kept."""
        chunks = list(
            zip(torch.split(self.sample.joints, self.chunk), torch.split(self.sample.starts, self.chunk), strict=True)
        )
        start = time.perf_counter()
        results = [self.run(*chunk) for chunk in chunks]
        self.seconds = min(self.seconds, time.perf_counter() - start)
        if self.verts is not None:
            made = [self.verts(result, joints) for result, (joints, _) in zip(results, chunks, strict=True)]
            self.error_mm = 1000 * float((torch.cat(made) - self.sample.verts).norm(dim=-1).mean())

    @property
    def rate(self) -> float:
        """Hands a second."""
        return len(self.sample.joints) / self.seconds


class Bench:
    """The fits on a hand model."""

    def __init__(self, model: HandModel) -> None:
        self.layer = HandLayer(model)
        self.chain = HandChain(model, torch.float32)
        self.anatomy = Anatomy(model, torch.float32)
        self.network = IKNet(IKNetConfig()).eval()

    def sample(self, count: int, noise_mm: float) -> Sample:
        """Random hands in front of a camera."""
        generator = torch.Generator().manual_seed(0)
        rotations = 0.25 * torch.randn(count, 16, 3, generator=generator)
        betas = 0.7 * torch.randn(count, 10, generator=generator)
        starts = rotations + 0.08 * torch.randn(count, 16, 3, generator=generator)
        camera = torch.tensor([0.0, 0.0, 0.6])
        joints = self.layer.joints(rotations, betas) + camera
        noise = noise_mm / 1000 * torch.randn(count, 21, 3, generator=generator)
        return Sample(joints + noise, starts, self.mesh(rotations, betas) + camera)

    def mesh(self, rotations: Tensor, betas: Tensor) -> Tensor:
        """The layer's vertices."""
        chunks = zip(torch.split(rotations, MESH_CHUNK), torch.split(betas, MESH_CHUNK), strict=True)
        return torch.cat([self.layer(*chunk).verts for chunk in chunks])

    def contenders(self, count: int, loop: int, noise_mm: float) -> list[Contender]:
        """What is compared on hands with that noise; the first one is what the others are held against."""
        sample = self.sample(count, noise_mm)

        def published(joints: Tensor, starts: Tensor) -> Any:
            return fit_published.fit(self.chain, joints, starts)

        def published_verts(found: Any, joints: Tensor) -> Tensor:
            return place(self.layer.joints(*found), self.mesh(*found), joints)[1]

        def least_squares(joints: Tensor, starts: Tensor) -> Any:
            return fit_lm.fit(self.chain, self.anatomy, joints, lambda _: starts, noise=0.003)

        def least_squares_verts(hands: fit_lm.Hands, joints: Tensor) -> Tensor:
            rotations, betas = hands.local.permute(3, 0, 1, 2), hands.betas.T
            wrist = self.layer.joints(rotations, betas)[:, :1]
            return self.mesh(rotations, betas) - wrist + hands.place.T[:, None]

        return [
            Contender("published, one hand at a time", sample.first(loop), 1, published, published_verts),
            Contender("published, batched", sample, CHUNKS["published"], published, published_verts),
            Contender("lm, one hand at a time", sample.first(loop), 1, least_squares, least_squares_verts),
            Contender("lm, batched", sample, CHUNKS["lm"], least_squares, least_squares_verts),
            Contender("IKNet alone", sample, CHUNKS["none"], lambda joints, _: self.network(Inputs(joints=joints))),
            Contender("skinning alone", sample, MESH_CHUNK, lambda _, starts: self.mesh(starts, starts[:, :10, 0])),
        ]


@click.command()
@click.option("--hand-model", type=click.Path(path_type=Path), help="An .npz; default: the made-up one of the tests.")
@click.option("--count", default=4096, show_default=True, help="Hands.")
@click.option("--loop", default=16, show_default=True, help="How many of them are fitted one at a time.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), default=REPOSITORY / "results" / "fit.csv")
@torch.no_grad()
def main(hand_model: Path | None, count: int, loop: int, rounds: int, threads: int, csv_path: Path) -> None:
    """Measure the fits, print a table, write it."""
    torch.set_num_threads(threads)
    bench = Bench(load_hand_model(hand_model) if hand_model else read_mano_file(MANO_FILE))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=REPOSITORY, capture_output=True, text=True)
    proof = {
        "hand_model": hand_model.name if hand_model else "made up (the tests')", "seed": 0, "threads": threads,
        "machine": f"{platform.machine()}, {cpu_name()}", "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        "commit": commit.stdout.strip() or "unknown", "command": " ".join(["python tools/bench_fit.py", *sys.argv[1:]]),
    }  # fmt: skip
    rows = []
    for noise_mm in NOISE_MM:
        contenders = bench.contenders(count, loop, noise_mm)
        for _ in range(rounds):
            for contender in contenders:
                contender.measure()
        click.echo(
            f"\njoint noise {noise_mm} mm\n{'':32}{'at once':>8}{'hands/s':>10}{'ratio':>8}{'mesh error, mm':>16}"
        )
        for c in contenders:
            ratio, error = c.rate / contenders[0].rate, "" if c.error_mm is None else f"{c.error_mm:.2f}"
            click.echo(f"{c.name:32}{c.chunk:8}{c.rate:10.0f}{ratio:8.1f}{error:>16}")
            measured = {
                "noise_mm": noise_mm, "what": c.name, "hands": len(c.sample.joints), "at_once": c.chunk,
                "hands_per_s": f"{c.rate:.0f}", "ratio": f"{ratio:.1f}", "mesh_error_mm": error,
            }  # fmt: skip
            rows.append(measured | proof)
    csv_path.parent.mkdir(parents=True, exist_ok=True)
    with csv_path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    click.echo(f"\nwritten: {csv_path}")


if __name__ == "__main__":
    main()
