"""What training costs: images a second of each model's step and of whole runs, in each precision.

Run: make bench-train, or python tools/bench_train.py. It measures every device that the machine has, CPU and GPU, makes
its own synthetic pack, fetches nothing, writes results/speed.csv and prints the tables of docs/speed.md. On a CPU the
recipes are `tiny`, on a GPU `published` with random weights.

Two stages are measured. A step begins with a batch in memory and ends where the next one does; a run's steps are those
of `hmr train`, their loading included. Beside each goes a plain loop in the manner of the published code, with the same
network and batch (see plain_loop.py), and `ratio` is images a second over that loop's. The two take turns in one
process: compare ratios, not images a second of different machines. A figure is the median over the steps, with the
quartiles.

TFLOP/s are PyTorch's count of matrix products and convolutions in the forward and backward pass, over the step's whole
time. Their share is of what a large matrix product reaches in that precision on that device in the same process. Memory
is what PyTorch's allocator held at most on a GPU, and what was in live tensors at most on a CPU.
"""

from __future__ import annotations

import gc
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from statistics import quantiles
from typing import Any, TypeVar

import click
import torch
from arithmetic_cost import gflop_per_image, peak_tflops
from live_bytes import GIB, peak_gib
from plain_loop import PlainLoop, as_floats
from provenance import REPOSITORY, write_rows
from training_stages import (
    EngineLoop,
    Setting,
    Taken,
    plain_run_taken,
    ready,
    repeated,
    run_taken,
    take_turns,
)
from training_subject import Subject, make_subject, synthetic_pack

from hmr_core.data.pack.reader import Pack
from hmr_core.data.synthetic.sizes import SIZES, Size
from hmr_core.devices import choose_device, choose_workers
from hmr_core.errors import HmrError, UsageError, out_of_memory
from hmr_core.plugins.recipes import override
from hmr_core.plugins.registry import discover
from hmr_core.training.precision import check_arithmetic

T = TypeVar("T")

MODELS = {"cpu": ("integral", "rle", "i2l", "iknet"), "cuda": ("integral", "rle", "i2l")}
RECIPE = {"cpu": "tiny", "cuda": "published"}
PRECISIONS = {"cpu": ("float32", "bfloat16"), "cuda": ("float32", "tf32", "bfloat16", "float16")}
RUN_SETTINGS = {
    "cpu": (Setting(),),
    "cuda": (Setting(), Setting(precision="bfloat16", channels_last=True)),
}
"""Of whole runs: as the recipe is, and what is quickest on most GPUs."""

DATA = {"cpu": Size(sequences=6, frames=26, subjects=4, objects=4), "cuda": SIZES["small"]}
"""What is drawn: so much that an epoch has a dozen steps or more."""

RUN_ROUNDS = 3

BATCHES = 3
"""Different ones that a step is measured on."""

PLAIN, STEP, RUN, TOO_LARGE = "plain loop", "step", "run", "memory ran out"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long to measure. rounds: in which ways take turns; steps: of each in a round; run_steps: of a whole run."""

    rounds: int
    steps: int
    run_steps: int
    compile: bool


def settings(device: str, images: bool, compiled: bool) -> list[Setting]:
    """What the engine is measured in. device: its type. images: a model without them has no layout to choose."""
    layouts = (False, True) if images else (False,)
    return [
        Setting(precision=precision, channels_last=channels_last, compile=compile)
        for compile, precision, channels_last in product(
            (False, True) if compiled else (False,), PRECISIONS[device], layouts
        )
    ]


def speed(taken: Sequence[Taken], batch: int) -> dict[str, float]:
    """Images a second at the median step and at the quartiles, the slower one first."""
    slow, middle, fast = (batch / s for s in reversed(quantiles([t.seconds for t in taken], n=4, method="inclusive")))
    return {"images_per_s": middle, "images_per_s_q1": slow, "images_per_s_q3": fast}


def data_wait(taken: Sequence[Taken]) -> float:
    """The share of all their time in which steps waited for their batches."""
    return sum(t.waited_s for t in taken) / sum(t.seconds for t in taken)


def largest_batch(published: int, fits: Callable[[int], bool]) -> int:
    """The published batch if it fits, else the largest power of two below it that does; 0 if none does."""
    below = [2**n for n in range(published.bit_length()) if 2**n < published]
    return next((batch for batch in (published, *reversed(below)) if fits(batch)), 0)


def fits_on(subject: Callable[[int], Subject]) -> Callable[[int], bool]:
    """Whether a batch's steps have room on a GPU, those of the plain loop and the engine's in float32, side by side."""

    def fits(size: int) -> bool:
        made = subject(size)
        (batch,) = made.batches(1)

        def both() -> bool:
            plain, engine = PlainLoop(made), EngineLoop(made, Setting())
            for _ in range(2):
                plain(as_floats(batch))
                engine(ready(batch, made.device))
            return True

        return unless_too_large(both, made.device) is not None

    return fits


def unless_too_large(work: Callable[[], T], device: torch.device) -> T | None:
    """What some work gives; None where memory ran out. Nothing that it held is left; its other errors are raised."""
    found = None
    try:
        found = work()
    except (HmrError, RuntimeError) as error:  # the engine tells it in an error of its own
        if not any(map(out_of_memory, filter(None, (error, error.__cause__)))):
            raise
    free(device)  # not before here: the error held what it happened in
    return found


def free(device: torch.device) -> None:
    """Give back what nothing holds any more."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def first_steps(made: PlainLoop | EngineLoop, step: Callable[[], object], device: torch.device) -> float:
    """Take the first two steps of a loop, and give the most GiB held in the second, which has the optimizer's moments.

    What else is on a GPU counts, too: see `held_before`.
    """
    step()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device) / GIB
    if isinstance(made, PlainLoop):
        return peak_gib(step, made.model, made.optimizer)
    if not made.config.compile:
        return peak_gib(step, made.state.model, made.state.optimizer)
    step()
    return float("nan")  # what is compiled shows no tensors on the way


def held_before(device: torch.device) -> float:
    """The GiB that are on a GPU already."""
    return torch.cuda.memory_allocated(device) / GIB if device.type == "cuda" else 0.0


class Bench:
    """Measures one subject, row by row."""

    def __init__(self, subject: Subject, plan: Plan, peaks: dict[str, float], note: str) -> None:
        self.subject, self.plan, self.peaks, self.note = subject, plan, peaks, note
        self.batches = subject.batches(BATCHES)
        self.gflop = gflop_per_image(subject, self.batches[0])

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row for each stage and setting."""
        yield from self.step_rows()
        free(self.subject.device)
        yield from self.run_rows()

    def step_rows(self) -> Iterator[dict[str, Any]]:
        """The rows of steps. The plain loop's, the first, is of all its turns."""
        device = self.subject.device
        before, floats = held_before(device), [as_floats(batch) for batch in self.batches]
        plain = PlainLoop(self.subject)
        held = first_steps(plain, lambda: plain(floats[0]), device) - before
        plain_way, all_plain = repeated(plain, floats), list[Taken]()
        found = []
        for setting in settings(device.type, self.subject.spec.consumes == "image", self.plan.compile):
            row, other = self.step_row(setting, plain_way)
            all_plain += other
            found.append(row)
        yield self.row(STEP, None, all_plain, held=held)
        yield from found

    def step_row(
        self, setting: Setting, plain_way: Callable[[int], list[Taken]]
    ) -> tuple[dict[str, Any], Sequence[Taken]]:
        """The row of a setting, and the plain loop's steps that were taken in turn with it."""
        if refused := self.refused(setting):
            return self.row(STEP, setting, note=refused), ()
        device = self.subject.device

        def work() -> tuple[float, list[list[Taken]]]:
            before, batches = held_before(device), [ready(batch, device) for batch in self.batches]
            made = EngineLoop(self.subject, setting)
            held = first_steps(made, lambda: made(batches[0]), device) - before
            self.peak(setting.precision)
            return held, take_turns([plain_way, repeated(made, batches)], self.plan.rounds, self.plan.steps)

        measured = unless_too_large(work, device)
        if measured is None:
            return self.row(STEP, setting, note=TOO_LARGE), ()
        held, (other, own) = measured
        return self.row(STEP, setting, own, other=other, held=held), other

    def run_rows(self) -> Iterator[dict[str, Any]]:
        """The rows of whole runs, with as many workers as `hmr train` chooses."""
        device = self.subject.device
        workers = choose_workers(None, device)
        chosen = [setting for setting in RUN_SETTINGS[device.type] if not self.refused(setting)]

        def run(setting: Setting, count: int) -> list[Taken]:
            return unless_too_large(partial(run_taken, self.subject, setting, count, workers), device) or []

        ways = [partial(plain_run_taken, self.subject, workers), *(partial(run, setting) for setting in chosen)]
        other, *found = take_turns(ways, RUN_ROUNDS, self.plan.run_steps)
        yield self.row(RUN, None, other, workers=workers)
        for setting, own in zip(chosen, found, strict=True):
            yield self.row(RUN, setting, own, other=other, workers=workers, note="" if own else TOO_LARGE)

    def refused(self, setting: Setting) -> str:
        """Why the engine would not train so on the device; empty where it would."""
        try:
            config = override(self.subject.spec, self.subject.recipe, setting.overrides()).train
            check_arithmetic(config, self.subject.device)
        except UsageError as error:
            return error.message
        return ""

    def row(
        self,
        stage: str,
        setting: Setting | None,
        taken: Sequence[Taken] = (),
        *,
        other: Sequence[Taken] = (),
        held: float = float("nan"),
        workers: int | None = None,
        note: str = "",
    ) -> dict[str, Any]:
        """A row of the table. setting: None for the plain loop. other: the steps of the plain loop beside these."""
        batch, shown = self.subject.batch_size, setting or Setting()
        values: dict[str, float] = {}
        peak = self.peak(shown.precision) if taken and setting is not None else None
        if taken:
            values = speed(taken, batch)
            values["tflop_per_s"] = self.gflop * values["images_per_s"] / 1000
            if peak is not None:
                values["share_of_peak"] = values["tflop_per_s"] / peak
            if other:
                values["ratio"] = values["images_per_s"] / speed(other, batch)["images_per_s"]
            if stage == RUN:
                values["data_wait"] = data_wait(taken)
        if not math.isnan(held):
            values["memory_gib"] = held
        made = {
            "model": self.subject.spec.name,
            "recipe": self.subject.recipe_name,
            "device": device_name(self.subject.device),
            "stage": stage,
            "how": PLAIN if setting is None else "engine",
            "precision": shown.precision,
            "channels_last": "" if setting is None else shown.channels_last,
            "compile": "" if setting is None else shown.compile,
            "batch": batch,
            "workers": "" if workers is None else workers,
            "steps": len(taken),
            "gflop_per_image": f"{self.gflop:.4g}",
            "peak_tflop_per_s": "" if peak is None else f"{peak:.4g}",
            **{name: f"{values[name]:.4g}" if name in values else "" for name in FIGURES},
            "note": "; ".join(text for text in (self.note, note) if text),
        }
        click.echo(line(made))
        return made

    def peak(self, precision: str) -> float:
        """The most that a matrix product has reached in a precision until now; it is measured with every row."""
        self.peaks[precision] = max(self.peaks.get(precision, 0.0), peak_tflops(self.subject.device, precision))
        return self.peaks[precision]


FIGURES = (
    "images_per_s", "images_per_s_q1", "images_per_s_q3", "ratio", "data_wait", "tflop_per_s", "share_of_peak",
    "memory_gib",
)  # fmt: skip


def device_name(device: torch.device) -> str:
    """cpu, or a GPU's own name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def line(row: Mapping[str, Any]) -> str:
    """A row while it is measured."""
    how = PLAIN if row["how"] == PLAIN else f"{row['precision']}, {layout(row)}"
    figures = f"{row['images_per_s']} images/s, ratio {row['ratio'] or 1}" if row["images_per_s"] else row["note"]
    return f"{row['model']}, {row['stage']}: {how}: {figures}"


def layout(row: Mapping[str, Any]) -> str:
    """How a row's engine is laid out, in words."""
    said = [text for key, text in (("channels_last", "channels_last"), ("compile", "compiled")) if is_true(row[key])]
    return ", ".join(said) or "as it is"


def is_true(value: object) -> bool:
    """Whether a cell says so, as it was measured or as a file has it."""
    return str(value) == "True"


def table(rows: Sequence[Mapping[str, Any]], stage: str) -> list[str]:
    """The lines of docs/speed.md's table of a stage."""
    last = "waiting for data" if stage == RUN else "of peak | GiB"
    heads = f"| model | how | images/s (quartiles) | times the plain loop | {last} |"
    lines = [heads, "|" + "---|" * (heads.count("|") - 1)]
    for row in rows:
        if row["stage"] == stage and row["images_per_s"]:
            how = PLAIN if row["how"] == PLAIN else f"{row['precision']}, {layout(row)}"
            quick = [f"{float(row[name]):.0f}" for name in ("images_per_s", "images_per_s_q1", "images_per_s_q3")]
            ratio = f"{float(row['ratio'] or 1):.2f}"
            if stage == RUN:
                rest = percent(row["data_wait"])
            else:
                memory = f"{float(row['memory_gib']):.2f}" if row["memory_gib"] else ""
                rest = f"{percent(row['share_of_peak'])} | {memory}"
            lines.append(f"| {row['model']} | {how} | {quick[0]} ({quick[1]} to {quick[2]}) | {ratio} | {rest} |")
    return lines


def percent(share: str) -> str:
    """A share as the table has it."""
    return f"{100 * float(share):.0f} %" if share else ""


def measure(
    device: torch.device, models: Sequence[str], recipe: str, batch: int | None, plan: Plan, data: Path, folder: Path
) -> Iterator[dict[str, Any]]:
    """The rows of a device."""
    registry, pack, peaks = discover(), Pack(data), dict[str, float]()
    for name in models:
        spec = registry.model(name)
        subject = partial(make_subject, spec, recipe, pack, "sp0", device, folder)
        published, size, note = subject().batch_size, batch, ""
        if size is None and device.type == "cuda":
            size = largest_batch(published, fits_on(subject))
            if not size:
                click.echo(f"{name}: not even one sample fits {device_name(device)}", err=True)
                continue
            if size != published:
                note = f"batch {size}: the published {published} needs more memory than there is"
        yield from Bench(subject(size or published), plan, peaks, note).rows()


@click.command(help=__doc__)
@click.option("--device", "devices", multiple=True, help="cpu, cuda, cuda:N.  [default: all kinds that there are]")
@click.option("--model", "models", multiple=True, help="[default: all that are measured on the device]")
@click.option("--recipe", help="[default: tiny on a CPU, published on a GPU]")
@click.option("--batch", type=click.IntRange(min=2), help="[default: the recipe's, or the largest that fits a GPU]")
@click.option("--data", type=click.Path(path_type=Path), help="A pack, in place of a synthetic one.")
@click.option(
    "--rounds", type=click.IntRange(min=1), default=8, show_default=True, help="In which the ways of a step take turns."
)
@click.option("--steps", type=click.IntRange(min=2), default=6, show_default=True, help="Of each way in a round.")
@click.option(
    "--run-steps", type=click.IntRange(min=2), default=20, show_default=True, help="Of each whole run; there are three."
)
@click.option("--compile/--no-compile", "compiled", default=True, show_default=True, help="By torch.compile, too.")
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), default=REPOSITORY / "results" / "speed.csv")
def main(
    devices: tuple[str, ...],
    models: tuple[str, ...],
    recipe: str | None,
    batch: int | None,
    data: Path | None,
    rounds: int,
    steps: int,
    run_steps: int,
    compiled: bool,
    csv_path: Path,
) -> None:
    plan = Plan(rounds=rounds, steps=steps, run_steps=run_steps, compile=compiled)
    found: list[dict[str, Any]] = []
    for name in devices or ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        device = choose_device(name)
        if device.type not in MODELS:
            raise click.UsageError(f"nothing is measured on {device}. Valid: {', '.join(MODELS)}.")
        given = synthetic_pack(DATA[device.type]) if data is None else nullcontext(data)
        with given as path, tempfile.TemporaryDirectory() as folder:
            rows = measure(
                device, models or MODELS[device.type], recipe or RECIPE[device.type], batch, plan, path, Path(folder)
            )
            own = {
                "data": "synthetic" if data is None else data.name, "cpus": os.cpu_count(),
                "threads": torch.get_num_threads(), "torch": torch.__version__,
            }  # fmt: skip
            found += [{**row, **own} for row in rows]
    for stage in (STEP, RUN):
        click.echo("\n" + "\n".join(table(found, stage)))
    write_rows(csv_path, found)


if __name__ == "__main__":
    main()
