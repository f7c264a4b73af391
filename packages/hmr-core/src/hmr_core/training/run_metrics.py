"""What metrics.jsonl of a run holds, read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hmr_core.errors import HmrError
from hmr_core.files import check_regular, read_bytes
from hmr_core.plugins.run import Run
from hmr_core.staging import write_text


def drop_later_metrics(run: Run, epoch: int, step: int) -> None:
    """Forget the lines of metrics.jsonl after an epoch and a step: a resumed run measures them again."""
    path = run.metrics
    if path.exists():
        lines = [line for line, values in _lines(run) if _is_done(values, epoch, step)]
        write_text(path, "".join(line + "\n" for line in lines))


def is_reported(run: Run, epoch: int) -> bool:
    """Whether metrics.jsonl has the figures of an epoch."""
    found = _lines(run) if run.metrics.exists() else []
    return any(values.get("kind") == "epoch" and values.get("epoch") == epoch for _, values in found)


def measured_epochs(run: Run) -> list[dict[str, Any]]:
    """What metrics.jsonl has of each epoch, in their order; of an epoch that is there twice, the later line."""
    found = {}
    for _, values in _lines(run) if run.metrics.exists() else []:
        if (
            values.get("kind") == "epoch"
            and isinstance(values.get("epoch"), int)
            and isinstance(values.get("val"), dict)
        ):
            found[values["epoch"]] = values
    return [found[epoch] for epoch in sorted(found)]


def _lines(run: Run) -> list[tuple[str, dict[str, Any]]]:
    """The lines of metrics.jsonl and what they hold; nothing for one that is damaged or was cut off."""
    check_usable(run.metrics)
    lines = read_bytes(run.metrics).decode("utf-8", "replace").splitlines()
    return [(line, _values(line)) for line in lines]


def _values(line: str) -> dict[str, Any]:
    try:
        values = {} if "\ufffd" in line else json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def _is_done(values: dict[str, Any], epoch: int, step: int) -> bool:
    """Whether a line is of what is done; one that was cut off is of nothing."""
    number = values.get("epoch" if values.get("kind") == "epoch" else "step")
    return isinstance(number, int | float) and number <= (epoch if values.get("kind") == "epoch" else step)


def check_usable(path: Path) -> None:
    """HmrError for what is there and no file."""
    try:
        check_regular(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise HmrError(f"{path} cannot be used: {error.strerror}. Move it away, and go on.") from error
