"""A step whose numbers were not finite, kept in its run's folder so that it can be taken again.

RUN/failed/step-00000123/batch.safetensors   what the model was given: PART/targets/joints and so on
                         model.safetensors   the weights that the step began with
                         step.json           which step of which run it was, and what was not finite

Buffers, such as the running statistics of batch norm, have seen the batch already: no step that trains uses them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from hmr_core.data.batch import Batch
from hmr_core.errors import HmrError
from hmr_core.files import read_bytes
from hmr_core.nn.files import read_safetensors
from hmr_core.nn.model import Targets, TensorRecord
from hmr_core.plugins.run import Run
from hmr_core.staging import staged_folder, write_text

FORMAT = "hmr-failed-step/1"

FAILED = "failed"
"""The folder in a run's."""

BATCH, WEIGHTS, RECORD = "batch.safetensors", "model.safetensors", "step.json"


@dataclass(frozen=True, kw_only=True)
class FailedStep:
    """Which step it was, and what was not finite. As step.json has it.

    recipe: as plain values. hand_model: the path and the digest of its file, both None for the hand in the package;
    None for a model that uses no hand. rank, processes: whose batch it is, of how many. device: that it ran on.
    losses: the terms and "total" of that batch, as text where they are not finite. gradients: the parameters whose
    gradients were not finite. ids: of the samples of each part of the batch.
    """

    model: str
    split: str
    recipe_name: str
    recipe: Mapping[str, Any]
    hand_model: Mapping[str, str | None] | None
    data: Sequence[Mapping[str, Any]]
    epoch: int
    step: int
    rank: int
    processes: int
    learning_rate: float
    device: str
    losses: Mapping[str, float | str]
    gradients: Sequence[str]
    ids: Sequence[Sequence[str]]
    versions: Mapping[str, str]


def failed_step_folder(run: Run, step: int) -> Path:
    """Where a failed step of a run is kept."""
    return run.folder / FAILED / f"step-{step:08d}"


def save_failed_step(run: Run, failed: FailedStep, parts: Sequence[Batch], model: nn.Module) -> Path:
    """Keep a failed step, whole or not at all, in place of one that was kept before; gives its folder.

    parts: of the batch, on the CPU. HmrError when the folder cannot be written.
    """
    target = failed_step_folder(run, failed.step)
    tensors = {
        f"{number}/{name}": value.contiguous().clone()
        for number, part in enumerate(parts)
        for name, value in _named(part)
    }
    weights = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    with staged_folder(target) as folder:
        save_file(tensors, folder / BATCH)
        save_file(weights, folder / WEIGHTS)
        write_text(folder / RECORD, json.dumps({"format": FORMAT, **asdict(failed)}, indent=2) + "\n")
    for older in target.parent.iterdir():
        if older != target and older.is_dir():
            shutil.rmtree(older, ignore_errors=True)
    return target


def read_failed_step(folder: Path) -> tuple[FailedStep, list[Batch], dict[str, Tensor]]:
    """A failed step that was kept, the parts of its batch, and the weights; HmrError where that is not one."""
    path = folder / RECORD
    try:
        values = json.loads(read_bytes(path))
    except (OSError, ValueError) as error:
        raise HmrError(
            f"{folder} is no failed step that was kept ({RECORD}: {error}). It is a folder such as "
            f"RUN/{FAILED}/step-00000123, which a training leaves that stopped at a number that is not finite."
        ) from error
    names = {each.name for each in fields(FailedStep)}
    if not isinstance(values, dict) or values.pop("format", None) != FORMAT or values.keys() != names:
        raise HmrError(f"{path} is not the JSON file of a failed step of format {FORMAT!r}.")
    failed = FailedStep(**values)
    tensors = read_safetensors(folder / BATCH)
    parts = [
        _batch(list(ids), {name: value for key, value in tensors.items() if (name := _of_part(key, number))})
        for number, ids in enumerate(failed.ids)
    ]
    return failed, parts, read_safetensors(folder / WEIGHTS)


def _named(record: TensorRecord, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a record by their names, those of records in it as targets/joints."""
    for name, value in vars(record).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, TensorRecord):
            yield from _named(value, f"{prefix}{name}/")


def _of_part(key: str, number: int) -> str:
    """What a tensor of a part is called within it; empty for one of another part."""
    part, _, name = key.partition("/")
    return name if part == str(number) else ""


def _batch(ids: list[str], tensors: Mapping[str, Tensor]) -> Batch:
    inside = "targets/"
    targets = {name.removeprefix(inside): value for name, value in tensors.items() if name.startswith(inside)}
    given = {name: value for name, value in tensors.items() if not name.startswith(inside)}
    return Batch(ids=ids, targets=Targets(**targets), **given)
