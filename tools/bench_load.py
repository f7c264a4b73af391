"""What loading a released file takes, against reading it into an initialised model: writes results/load.csv.

Run: python tools/bench_load.py. The file has made-up numbers in the names and shapes of I2L-MeshNet's released one, the
largest. Both ways end with the same model, and nothing besides. Each round is a process of its own, which begins to
count once all is imported; the ways take turns, and each keeps its best round: compare ratios, not seconds of different
runs. Memory is the most that a process held beyond that at any moment seen, without the pages of files (RssAnon of
/proc, so on Linux alone), which the system may take back.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import torch
from provenance import REPOSITORY, write_rows

from hmr_core.nn.model import PoseModel
from hmr_core.plugins.recipes import load_recipe
from hmr_core.weights.checkpoints import load_checkpoint
from hmr_core.weights.released import split_ignored
from hmr_i2l.plugin import hmr_models
from hmr_i2l.spec import RELEASED

NAMES = REPOSITORY / "packages/hmr-i2l/tests/data/golden/i2l_resnet50.json"
HOWS = ("read, and the model initialised", "ours")
MIB = 2**20
EVERY_S = 0.002
"""How often a process's memory is looked at."""


def write_file(path: Path) -> None:
    """A file in the layout of I2L-MeshNet's released one."""
    torch.manual_seed(0)
    named = json.loads(NAMES.read_text(encoding="utf-8"))["state_dict"].items()
    counts = "num_batches_tracked"
    torch.save({name: torch.tensor(0) if name.endswith(counts) else torch.rand(shape) for name, shape in named}, path)


def load(path: Path, how: str) -> PoseModel:
    """The model, in one of the ways."""
    spec = hmr_models()[0]
    if how == "ours":
        return load_checkpoint(path, spec).model
    state = torch.load(path, map_location="cpu", weights_only=True)
    model = spec.build(load_recipe(spec, "published", RELEASED.overrides).model)
    model.load_state_dict(split_ignored(RELEASED, state)[0])
    return model


def child(path: Path, how: str) -> None:
    """One round, as a process of its own: says when it begins and what it took, and holds the model until told."""
    print("begins", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    model = load(path, how)
    print(time.perf_counter() - start, flush=True)
    sys.stdin.readline()
    del model


def measure(path: Path, how: str, threads: int) -> tuple[float, float]:
    """Seconds, and the most MiB beyond those after the imports."""
    command = [sys.executable, __file__, "--threads", str(threads), "--child", how, str(path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        before = peak = anonymous(process.pid)
        print(file=process.stdin, flush=True)
        while not select.select([process.stdout], [], [], EVERY_S)[0]:
            peak = max(peak, anonymous(process.pid))
        seconds = float(process.stdout.readline())
        peak = max(peak, anonymous(process.pid))
        print(file=process.stdin, flush=True)
    return seconds, (peak - before) / MIB


def anonymous(pid: int) -> int:
    """The bytes of a process's memory that are no file's."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


def compare(path: Path, rounds: int, threads: int) -> list[dict[str, object]]:
    """The best of each way; prints ratios."""
    size = path.stat().st_size / MIB
    found: dict[str, list[tuple[float, float]]] = {how: [] for how in HOWS}
    for _ in range(rounds):
        for how in HOWS:
            found[how].append(measure(path, how, threads))
    best = {how: tuple(map(min, zip(*measured, strict=True))) for how, measured in found.items()}
    base_s, base_mib = best[HOWS[0]]
    rows: list[dict[str, object]] = []
    for how, (seconds, mib) in best.items():
        ratios = {"time_ratio": seconds / base_s, "memory_ratio": mib / base_mib, "memory_per_file": mib / size}
        rows.append(
            {
                "how": how,
                "file_mib": f"{size:.1f}",
                "seconds": f"{seconds:.3f}",
                "anonymous_mib": f"{mib:.1f}",
                **{name: f"{ratio:.3f}" for name, ratio in ratios.items()},
            }
        )
        click.echo(", ".join(f"{name} {value}" for name, value in rows[-1].items()))
    return rows


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--threads", default=1, show_default=True)
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Default: load.csv in results/.")
@click.option("--child", "how", type=click.Choice(HOWS), hidden=True)
@click.argument("path", type=click.Path(path_type=Path), required=False)
def main(rounds: int, threads: int, csv_path: Path | None, how: str | None, path: Path | None) -> None:
    """Measure both ways, print their ratios, write them. PATH: a file in that layout, instead of one made for it."""
    torch.set_num_threads(threads)
    if how is not None and path is not None:
        return child(path, how)
    with tempfile.TemporaryDirectory() as folder:
        if path is None:
            path = Path(folder) / "I2L_MeshNet.pth.tar"
            write_file(path)
        rows = compare(path, rounds, threads)
    own = {"rounds": rounds, "threads": threads, "torch": torch.__version__}
    write_rows(csv_path or REPOSITORY / "results/load.csv", [{**row, **own} for row in rows])
    return None


if __name__ == "__main__":
    main()
