"""I2L-MeshNet's step time and memory against a version that builds all heat maps: writes results/i2l.csv.

Run: python tools/bench_i2l.py. Both versions are the published network, random weights and images, one model whose
Pose2Feat alone is exchanged; what they give is checked to be the same. They take turns in one process, and each keeps
its best round: compare ratios, not seconds of different runs. Denormal numbers are flushed to zero. Memory is the
largest number of bytes in live tensors at any moment of a step (parameters, gradients and Adam's moments included where
there are any), counted as operations make and free them; not what an allocator or a library takes besides.

python tools/bench_i2l.py --memory counts the same for training steps of the published recipe at several batch sizes,
on tensors without data, so that no GPU is needed, and writes results/i2l_memory.csv. No times there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import click
import torch
from live_bytes import peak_gib
from provenance import REPOSITORY, write_rows
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from hmr_core.hand.synthetic import load_synthetic_hand
from hmr_core.nn.model import Inputs, Targets
from hmr_core.plugins.recipes import load_recipe
from hmr_i2l.gaussians import Pose2Feat
from hmr_i2l.model import I2LMeshNet
from hmr_i2l.plugin import hmr_models

GPU_GIB = (8, 12, 16, 24, 40, 80)
LEFT_FREE = 0.1
"""Share of a GPU's memory that is kept for what is not counted."""

BATCHES = (8, 16, 32, 64, 128, 640)
PUBLISHED_BATCH = 128
"""The one at which the other way is counted, too."""


class BuildingPose2Feat(nn.Module):
    """Pose2Feat with heat maps that are built, laid behind the features and convolved. It shares the layers given."""

    def __init__(self, other: Pose2Feat) -> None:
        super().__init__()
        self.conv, self.depth, self.sigma = other.conv, other.depth, other.sigmas[2]

    def forward(self, features: Tensor, joints: Tensor) -> Tensor:
        """The same as Pose2Feat.forward."""
        sizes = (features.shape[3], features.shape[2], self.depth)
        x, y, z = (
            0.5 * ((torch.arange(n, device=joints.device) - joints[..., axis, None]) / self.sigma) ** 2
            for axis, n in enumerate(sizes)
        )
        maps = torch.exp(-(z[..., :, None, None] + y[..., None, :, None] + x[..., None, None, :]))
        mixed: Tensor = self.conv(torch.cat([features, maps.flatten(1, 2)], dim=1))
        return mixed


@dataclass
class Contender:
    """A way to do some work, and what was measured of it."""

    what: str
    how: str
    run: Callable[[], object]
    held: tuple[nn.Module | torch.optim.Optimizer | Tensor, ...] = ()
    seconds: float = field(default=float("inf"))
    peak_gib: float = 0.0

    def measure(self) -> None:
        """One round; the best one so far is kept."""
        start = time.perf_counter()
        self.run()
        self.seconds = min(self.seconds, time.perf_counter() - start)

    def count(self) -> None:
        """The peak of the bytes in live tensors."""
        self.peak_gib = peak_gib(self.run, *self.held)


def make_model() -> I2LMeshNet:
    """The published network, with the synthetic hand."""
    spec = hmr_models()[0]
    torch.manual_seed(0)
    model = spec.build(load_recipe(spec, "published").model)
    assert isinstance(model, I2LMeshNet)
    model.use_hand(load_synthetic_hand())
    return model


def make_batch(model: I2LMeshNet, batch: int) -> tuple[Inputs, Targets]:
    """Random images and targets."""
    size = model.config.image_size
    joints, verts = (0.1 * torch.rand(batch, n, 3) + torch.tensor([-0.05, -0.05, 0.5]) for n in (21, 778))
    camera = torch.tensor([[2.5 * size, 0, size / 2], [0, 2.5 * size, size / 2], [0, 0, 1]]).repeat(batch, 1, 1)
    targets = Targets(
        joints_uvd=joints,
        joints_vis=torch.ones(batch, 21),
        verts_uvd=verts,
        verts_vis=torch.ones(batch, 778),
        joints=joints,
        verts=verts,
        rotations=torch.zeros(batch, 16, 3),
        betas=torch.zeros(batch, 10),
        joints_known=torch.ones(batch, 21),
        verts_known=torch.ones(batch),
        pose_known=torch.ones(batch),
        root=joints[:, 0],
        intrinsics=camera,
    )
    return Inputs(image=(torch.rand(batch, size, size, 3) - 0.5).permute(0, 3, 1, 2)), targets


def train_step(
    model: I2LMeshNet, optimizer: torch.optim.Optimizer, inputs: Inputs, targets: Targets, *, bfloat16: bool = False
) -> None:
    """What the trainer does with a batch."""
    model.train()
    autocast: AbstractContextManager[object] = torch.autocast("cpu", torch.bfloat16) if bfloat16 else nullcontext()
    with autocast:
        prediction = model(inputs)
    total = torch.stack(list(model.loss(prediction, targets).values())).sum()
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(total)
    optimizer.step()


def infer(model: I2LMeshNet, inputs: Inputs) -> Tensor:
    """The mesh."""
    model.eval()
    with torch.no_grad():
        verts: Tensor = model(inputs).verts_uvd
    return verts


def check_same(model: I2LMeshNet, ways: dict[str, nn.Module], inputs: Inputs) -> None:
    """Both ways give the same mesh; AssertionError otherwise."""
    found = []
    for way in ways.values():
        model.pose2feat = way  # type: ignore[assignment]
        found.append(infer(model, inputs))
    torch.testing.assert_close(*found, atol=1e-5, rtol=0)


def contenders(model: I2LMeshNet, batch: int) -> list[Contender]:
    """Each work done in both ways, the straightforward one first."""
    inputs, targets = make_batch(model, batch)
    assert inputs.image is not None
    ours = model.pose2feat
    ways: dict[str, nn.Module] = {"heat maps built": BuildingPose2Feat(ours), "ours": ours}
    check_same(model, ways, inputs)
    plane = model.config.image_size // 4
    features = torch.rand(batch, ours.channels, plane, plane).requires_grad_()
    joints = plane * torch.rand(batch, 21, 3)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    image = inputs.image

    def whole(way: nn.Module, work: Callable[[], object]) -> Callable[[], object]:
        def run() -> object:
            model.pose2feat = way  # type: ignore[assignment]
            return work()

        return run

    def alone(way: nn.Module, training: bool) -> Callable[[], object]:
        def run() -> object:
            with torch.set_grad_enabled(training):
                out = way.train(training)(features, joints)
            if training:
                torch.autograd.backward(out.sum())
            return out

        return run

    found = []
    for how, way in ways.items():
        found += [
            Contender(
                "training step", how, whole(way, lambda: train_step(model, optimizer, inputs, targets)),
                (model, optimizer, image),
            ),
            Contender("inference", how, whole(way, lambda: infer(model, inputs)), (model, image)),
            Contender("Pose2Feat alone, forward and backward", how, alone(way, True), (way, features)),
            Contender("Pose2Feat alone, inference", how, alone(way, False), (way, features)),
        ]  # fmt: skip
    return found


def compare(batch: int, rounds: int) -> list[dict[str, object]]:
    """Times and peaks of both ways; prints the rows of the table in the package's README."""
    compared = contenders(make_model(), batch)
    for _ in range(rounds):
        for contender in compared:
            contender.measure()
    for contender in compared:
        contender.count()
    rows: list[dict[str, object]] = []
    half = len(compared) // 2
    for built, ours in zip(compared[:half], compared[half:], strict=True):
        for c in (built, ours):
            measured = {"seconds": f"{c.seconds:.4f}", "peak_gib": f"{c.peak_gib:.4f}"}
            ratios = {
                "time_ratio": f"{c.seconds / built.seconds:.4f}",
                "peak_ratio": f"{c.peak_gib / built.peak_gib:.4f}",
            }
            rows.append({"what": c.what, "how": c.how, "batch": batch, **measured, **ratios})
        time_ratio, peak_ratio = ours.seconds / built.seconds, ours.peak_gib / built.peak_gib
        click.echo(f"| {ours.what} | {time_ratio:.3f} | {peak_ratio:.3f} |")
    return rows


def memory() -> list[dict[str, object]]:
    """Peaks of training steps by batch and precision; prints the rows of the table in the package's README."""
    rows: list[dict[str, object]] = []
    for precision in ("float32", "bfloat16"):
        peaks: dict[int, float] = {}
        for how, batches in (("heat maps built", (PUBLISHED_BATCH,)), ("ours", BATCHES)):
            for batch in batches:
                peaks[batch] = count_training(batch, built=how != "ours", bfloat16=precision == "bfloat16")
                rows.append({"precision": precision, "how": how, "batch": batch, "peak_gib": f"{peaks[batch]:.2f}"})
                click.echo(f"{precision}, {how}, batch {batch}: {peaks[batch]:.2f} GiB")
        fits = [str(largest_batch(peaks, (1 - LEFT_FREE) * gib)) for gib in GPU_GIB]
        click.echo(f"| {precision} | {' | '.join(fits)} |")
    return rows


def count_training(batch: int, *, built: bool, bfloat16: bool) -> float:
    """The peak of the second step, the first one with Adam's moments, on tensors without data."""
    with FakeTensorMode():
        model = make_model()
        if built:
            model.pose2feat = BuildingPose2Feat(model.pose2feat)  # type: ignore[assignment]
        inputs, targets = make_batch(model, batch)
        assert inputs.image is not None
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, foreach=True)  # as torch does it on a GPU

        def steps() -> None:
            for _ in range(2):
                train_step(model, optimizer, inputs, targets, bfloat16=bfloat16)

        return peak_gib(steps, model, optimizer, inputs.image)


def largest_batch(peaks: dict[int, float], limit_gib: float) -> int:
    """The largest multiple of 8 whose peak is within the limit, between counted batches by a straight line; 0: none."""
    fits = 0
    counted = sorted(peaks)
    for low, high in pairwise(counted):
        for batch in range(low, high + 1, 8):
            peak = peaks[low] + (peaks[high] - peaks[low]) * (batch - low) / (high - low)
            fits = batch if peak <= limit_gib else fits
    return fits


@click.command()
@click.option("--memory", "counts", is_flag=True, help="Count the memory of training steps instead.")
@click.option("--batch", default=2, show_default=True, help="Samples at once, for the comparison.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--threads", default=2, show_default=True)
@click.option(
    "--csv", "csv_path", type=click.Path(path_type=Path), help="Default: i2l.csv, i2l_memory.csv in results/."
)
def main(counts: bool, batch: int, rounds: int, threads: int, csv_path: Path | None) -> None:
    """Measure both versions, print the rows of the tables in the package's README, write them all."""
    torch.set_num_threads(threads)
    # The heat maps are full of numbers so small that a CPU takes a hundred times as long for each; GPUs do not.
    torch.set_flush_denormal(True)
    rows = memory() if counts else compare(batch, rounds)
    own = {"torch": torch.__version__} if counts else {"threads": threads, "torch": torch.__version__}
    path = csv_path or REPOSITORY / "results" / ("i2l_memory.csv" if counts else "i2l.csv")
    write_rows(path, [{**row, **own} for row in rows])


if __name__ == "__main__":
    main()
