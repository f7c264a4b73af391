"""What watches a run's events and writes them down: metrics.jsonl, and TensorBoard's files where asked for."""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hmr_core.errors import HmrError
from hmr_core.plugins.events import EpochDone, Event, RunEnded, RunStarted, StepDone
from hmr_core.plugins.run import Run
from hmr_core.staging import append_text

LOG_EVERY = 20
"""Steps between two whose figures are written; the first of a run and the last of each epoch are written besides."""


def write_jsonl(run: Run, event: Event) -> None:
    """Append an event's figures to metrics.jsonl: of some steps (see LOG_EVERY), and of every epoch."""
    if _due(run, event):
        _append(run, {"kind": "step", **_rounded(asdict(event))})
    elif isinstance(event, EpochDone):
        _append(run, {"kind": "epoch", **_rounded(asdict(event))})


def write_tensorboard(run: Run, event: Event) -> None:
    """Write an event's figures for TensorBoard into the run's folder, where the run was started with --tensorboard."""
    if not run.tensorboard:
        return
    if isinstance(event, RunStarted):
        run.scratch["tensorboard"] = _summary_writer(
            run, first_step=1 + (event.first_epoch - 1) * event.steps_per_epoch
        )
        return
    writer = run.scratch["tensorboard"]
    if isinstance(event, StepDone) and _due(run, event):
        for name, value in event.losses.items():
            writer.add_scalar(f"loss/{name}", value, event.step)
        writer.add_scalar("learning_rate", event.learning_rate, event.step)
    elif isinstance(event, EpochDone):
        for name, value in event.losses.items():
            writer.add_scalar(f"epoch_loss/{name}", value, event.step)
        for name, figure in event.val.items():
            if figure is not None:
                writer.add_scalar(f"val/{name}", figure, event.step)
    elif isinstance(event, RunEnded):
        writer.close()


def require_tensorboard(folder: Path) -> None:
    """HmrError if TensorBoard is not installed, or cannot write into a run's folder."""
    if find_spec("tensorboard") is None:
        raise HmrError('--tensorboard: not installed. Run: pip install "hmr-core[tensorboard]"')
    try:
        str(folder).encode("utf-8")
    except UnicodeEncodeError as error:
        raise HmrError(
            f"--tensorboard: TensorBoard takes paths in UTF-8 alone, and {folder} is none. Choose another --out, or "
            "leave --tensorboard out."
        ) from error


def _due(run: Run, event: Event) -> bool:
    """Whether an event is a step whose figures are written, to whichever file."""
    if isinstance(event, RunStarted):
        run.scratch["steps_per_epoch"] = event.steps_per_epoch
    return isinstance(event, StepDone) and (
        event.step == 1 or event.step % LOG_EVERY == 0 or event.step % run.scratch["steps_per_epoch"] == 0
    )


def _summary_writer(run: Run, first_step: int) -> Any:
    require_tensorboard(run.folder)
    from torch.utils.tensorboard import SummaryWriter

    # What an attempt that was stopped wrote of these steps is not shown any more: they are taken again.
    return SummaryWriter(str(run.folder), purge_step=first_step)


def _append(run: Run, line: dict[str, Any]) -> None:
    append_text(run.folder / "metrics.jsonl", json.dumps(line) + "\n")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
