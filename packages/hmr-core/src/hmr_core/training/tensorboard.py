"""A run's metrics for TensorBoard, in the run's own folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hmr_core.errors import HmrError, Option
from hmr_core.optional_packages import require_package
from hmr_core.plugins.events import EpochDone, Event, RunEnded, RunStarted, StepDone
from hmr_core.plugins.run import Run
from hmr_core.training.run_log import is_written
from hmr_core.training.scalars import scalars

_WRITER = "tensorboard.summary.writer.event_file_writer"


class TensorBoard:
    """Writes a run's metrics as TensorBoard has them."""

    def __init__(self) -> None:
        self._writer: Any = None
        self._steps_per_epoch = 1

    def __call__(self, run: Run, event: Event) -> None:
        """Write an event's metrics."""
        if isinstance(event, RunStarted):
            self._steps_per_epoch = event.steps_per_epoch
            self._writer = _summary_writer(run.folder, event.first_step)
        elif self._writer is None:
            return
        elif isinstance(event, EpochDone) or (
            isinstance(event, StepDone) and is_written(event.step, self._steps_per_epoch)
        ):
            for name, value in scalars(event).items():
                self._writer.add_scalar(name, value, event.step)
        elif isinstance(event, RunEnded):
            self._writer.close()


def require_tensorboard(folder: Path) -> None:
    """HmrError if TensorBoard is not installed, or cannot write into a run's folder."""
    install = 'pip install "hmr-core[tensorboard]"'
    # What torch's own writer imports of it.
    require_package("tensorboard", "TensorBoard", install, module=_WRITER, has="EventFileWriter")
    try:
        str(folder).encode("utf-8")
    except UnicodeEncodeError as error:
        raise HmrError(
            f"TensorBoard takes paths in UTF-8 alone, and {folder} is none.",
            "Choose another ", Option("out"), ", or leave out ", Option("tensorboard"), ".",
        ) from error  # fmt: skip


def _summary_writer(folder: Path, first_step: int) -> Any:
    require_tensorboard(folder)
    from torch.utils.tensorboard import SummaryWriter

    # What an attempt that was stopped wrote of these steps is not shown any more: they are taken again.
    return SummaryWriter(str(folder), purge_step=first_step)
