"""Whether a training that is killed again and again ends as the one that nobody disturbed.

Run: python tools/chaos_resume.py [--kills 20] [--processes 2] [--work DIR] MODEL [OPTIONS of hmr train]...

It trains once without a disturbance, then once more, saved every three steps and killed by SIGKILL at so many moments:
while it starts, while it trains, while it saves. With several processes either all of them are killed, as when a
machine loses its power, or one alone, after which the others have to end by themselves. Each time the run goes on by
`hmr train --resume`. At the end the weights, the optimizer's state and the figures must be the same; but for times.
Exit status 0 if they are.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import click

from hmr_core.plugins.run import CHECKPOINTS, CONFIG, LOG, METRICS
from hmr_core.training.run_folder import is_finished
from hmr_core.weights.checkpoint_folders import saved_checkpoints
from hmr_core.weights.run_record import open_run

EVERY = ("--checkpoint-every", "3")
TIMES = ("seconds", "samples_per_second", "data_wait", "device_memory_mb")
IN_START = 0.2
"""How many of the kills come before the first step, of all."""

ENDS_S = 90.0
"""How long processes may take to end that lost one of theirs."""


class Trainer(NamedTuple):
    """Trains by the command, in so many processes."""

    processes: int
    device: tuple[str, ...]

    def command(self, *arguments: str) -> list[str]:
        """The command line of a training."""
        several = () if self.processes == 1 else ("--gpus", str(self.processes))
        return [sys.executable, "-m", "hmr_core", "train", *arguments, *self.device, *several]

    def begin(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a training that is to be killed."""
        # Its own session: nothing that is killed is anybody else's. A pipe would keep a killed launcher's workers.
        return subprocess.Popen(
            self.command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, encoding="utf-8",
            start_new_session=True,
        )  # fmt: skip

    def to_the_end(self, *arguments: str) -> float:
        """Train to the end; how many seconds it took."""
        began = time.monotonic()
        done = subprocess.run(
            self.command(*arguments), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8"
        )
        if done.returncode:
            raise click.ClickException(f"a training nobody had disturbed failed: {done.stderr}")
        return time.monotonic() - began


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--kills", default=20, show_default=True)
@click.option("--processes", default=1, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of the moments.")
@click.option("--work", type=click.Path(path_type=Path), help="Where to train; by default a folder that is removed.")
@click.argument("arguments", nargs=-1, required=True, type=click.UNPROCESSED)
def main(kills: int, processes: int, device: str, seed: int, work: Path | None, arguments: tuple[str, ...]) -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = work or Path(made)
        trainer = Trainer(processes, ("--device", device))
        whole, killed = folder / "whole", folder / "killed"
        trainer.to_the_end(*arguments, *EVERY, "--out", str(whole))
        steps = _lines(whole)[-1]["step"]
        resumes, at = disturb(trainer, arguments, killed, kills, random.Random(seed), _training_s(whole))
        if not _finished(killed):
            trainer.to_the_end(*_next(killed, arguments))
        wrong = differences(whole, killed)
        click.echo(
            f"{processes} process(es), {steps} steps, killed {len(at)} times with {at} steps saved, taken up {resumes} "
            f"times: {', '.join(wrong) if wrong else 'the same weights, optimizer state and figures'}"
        )
        sys.exit(1 if wrong else 0)


def disturb(
    trainer: Trainer, arguments: tuple[str, ...], run: Path, kills: int, moments: random.Random, training_s: float
) -> tuple[int, list[int]]:
    """Train until it was killed so often, or is done; how often it was taken up, and the steps that each kill left."""
    resumes = 0
    saved: list[int] = []
    while len(saved) < kills and not _finished(run):
        resumes += (run / CONFIG).is_file()
        process = trainer.begin(*_next(run, arguments))
        spoke = _size(run / LOG)
        early = moments.random() < IN_START
        began = time.monotonic()
        while process.poll() is None and _size(run / LOG) == spoke and not (early and time.monotonic() - began > 1):
            time.sleep(0.005)
        time.sleep(moments.uniform(0, 2.0 if early else 1.2 * training_s / kills))
        if process.poll() is not None:  # nobody killed it
            continue
        family = _family(process.pid)
        workers = [number for number in family[1:] if _trains(number)]  # git is asked for the commit, too
        one = bool(workers) and moments.random() < 0.3
        for number in workers[-1:] if one else family:
            _kill(number)
        process.wait(ENDS_S)
        saved.append(_steps_saved(run))
    return resumes, saved


def _next(run: Path, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """What goes on with a run, or begins it where it was killed before it had written anything."""
    return ("--resume", str(run)) if (run / CONFIG).is_file() else (*arguments, *EVERY, "--out", str(run))


def differences(whole: Path, killed: Path) -> list[str]:
    """What is not the same in two runs."""
    one, two = (saved_checkpoints(run / CHECKPOINTS)[-1] for run in (whole, killed))
    names = sorted(path.name for path in one.glob("*.safetensors"))
    found = [f"{name} differs" for name in names if (one / name).read_bytes() != (two / name).read_bytes()]
    if one.name != two.name:
        found.append(f"{one.name} is not {two.name}")
    return [*found, *(["metrics.jsonl differs"] if _lines(whole) != _lines(killed) else [])]


def _lines(run: Path) -> list[dict[str, Any]]:
    """What was measured, but for what depends on the clock."""
    lines = [json.loads(line) for line in (run / METRICS).read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def _training_s(run: Path) -> float:
    """How long a run's epochs took."""
    lines = [json.loads(line) for line in (run / METRICS).read_text(encoding="utf-8").splitlines()]
    return sum(float(line["seconds"]) for line in lines if line["kind"] == "epoch")


def _finished(run: Path) -> bool:
    return (run / CONFIG).is_file() and is_finished(open_run(run))


def _steps_saved(run: Path) -> int:
    saved = saved_checkpoints(run / CHECKPOINTS)
    record = saved[-1] / "model.json" if saved else None
    return int(json.loads(record.read_text(encoding="utf-8"))["step"]) if record else 0


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _family(process: int) -> list[int]:
    """A process and all that it has started, the eldest first. Its workers may have sessions of their own."""
    parents: dict[int, list[int]] = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = status.read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has ended
            continue
        parents.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(status.parent.name))
    family = [process]
    for one in family:
        family += parents.get(one, [])
    return family


def _trains(process: int) -> bool:
    try:
        return b"hmr_core" in Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:  # it has ended
        return False


def _kill(process: int) -> None:
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return


if __name__ == "__main__":
    main()
