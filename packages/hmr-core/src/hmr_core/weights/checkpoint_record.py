"""What a checkpoint says of itself: model.json, beside the weights.

Its `digests` have the BLAKE2b of each of the checkpoint's files: of model.safetensors, of optimizer.safetensors where
it is there, and, as `model.json`, of all else that the record says, so that an edited one is found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from hmr_core.digests import file_digest
from hmr_core.errors import HmrError, Option
from hmr_core.files import read_bytes
from hmr_core.plugins.run import CONFIG, Digest, Run
from hmr_core.shell import command_line
from hmr_core.staging import write_text
from hmr_core.weights.checkpoint_folders import saved_checkpoints
from hmr_core.weights.released_file import ReleasedFile

FORMAT = "hmr-checkpoint/1"

WEIGHTS, OPTIMIZER, RECORD = "model.safetensors", "optimizer.safetensors", "model.json"
"""A checkpoint's files: the weights, what a resume needs besides, what the checkpoint says of itself."""

ALTERED = f"altered or damaged, or {RECORD} belongs to other weights"
"""What an error says of a file whose digest is not the one in the record."""

_EPOCHS = "recipe.train.epochs"
"""The one value of a run that may change."""

_KINDS: dict[str, tuple[Any, str]] = {
    "model": (str, "text"),
    "recipe": (dict, "an object"),
    "digests": (dict, "an object"),
    "recipe_name": (str | None, "text or null"),
    "split": (str | None, "text or null"),
    "data": (list, "a list"),
    "hand_model": (dict | None, "an object or null"),
    "init": (dict | None, "an object or null"),
    "limits": (dict, "an object"),
    "epoch": (int | None, "a whole number or null"),
    "step": (int | None, "a whole number or null"),
    "loss_sums": (dict, "an object"),
    "val": (dict, "an object"),
    "versions": (dict, "an object"),
}
"""What the JSON file's values are; the first three must be there."""


@dataclass(frozen=True, kw_only=True)
class CheckpointRecord:
    """What a checkpoint says of itself.

    recipe: as plain values. split, data, hand_model, init, limits: as the run has them; None or empty for a
    converted checkpoint, whose origin is `released`. epoch, step: how many it was trained for; None where it was
    trained elsewhere.
    loss_sums: each loss summed over the steps of the epoch that is not done yet or, at its end, of that epoch.
    val: its metrics on val; empty where it was not scored. digests: of its files, as they were when it was written.
    """

    model: str
    split: str | None = None
    recipe_name: str | None = None
    recipe: Mapping[str, Any]
    data: Sequence[Digest] = ()
    hand_model: Digest | None = None
    init: Mapping[str, Any] | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    epoch: int | None = None
    step: int | None = None
    loss_sums: Mapping[str, float] = field(default_factory=dict)
    val: Mapping[str, float | None] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    released: ReleasedFile | None = None
    digests: Mapping[str, str] = field(default_factory=dict)

    @property
    def mixture(self) -> list[Digest]:
        """The packs of the mixture that it was trained on; none where it was trained on one pack, or does not say."""
        return [pack for pack in self.data if "name" in pack]

    def splits_of(self, digest: str) -> list[str]:
        """The splits that it was trained on of a pack with this digest, as far as it says. Without a mixture it is the
        one split, which another pack may have, too.
        """
        if self.mixture:
            return [pack["split"] for pack in self.mixture if pack["blake2b"] == digest]
        return [] if self.split is None else [self.split]

    @property
    def mpjpe_on_val(self) -> float | None:
        """The MPJPE on val in mm; None where it was not scored."""
        return self.val.get("mpjpe_mm")

    def as_json(self) -> dict[str, Any]:
        """The record as model.json has it."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {"format": FORMAT, **values, "released": self.released and self.released.as_json()}


def read_record(weights: Path) -> CheckpointRecord:
    """The record beside a weights file; HmrError when it is missing, of another format, or altered."""
    path = weights.with_name(RECORD)
    try:
        values = json.loads(read_bytes(path))
    except FileNotFoundError as error:
        raise HmrError(
            f"{weights} has no {RECORD} beside it, which says what the weights are of. Was it moved away? Put it "
            f"back; `{command_line('hmr ckpt show', weights)}` says which model the weights fit."
        ) from error
    except (OSError, ValueError) as error:  # ValueError: neither JSON nor UTF-8
        raise HmrError(f"{weights} has no readable {RECORD} beside it ({error}), so its model is unknown.") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise HmrError(f"{path} is not the JSON file of a checkpoint of format {FORMAT!r}.")
    if absent := [key for key in ("model", "recipe", "digests") if key not in values]:
        raise HmrError(f"{path} does not say the checkpoint's {absent[0]}, so the checkpoint cannot be used.")
    _check_kinds(path, values)
    if values["digests"].get(RECORD) != record_digest(values):
        raise _altered(path, "its own digest is not the one that it records")
    released = values.get("released")
    known = {each.name: values[each.name] for each in fields(CheckpointRecord) if each.name in values}
    return CheckpointRecord(
        **{**known, "released": None if released is None else ReleasedFile.from_json(released, source=path)}
    )


def write_record(folder: Path, record: CheckpointRecord) -> None:
    """Write the record of a checkpoint whose other files are in the folder, with the digests of all of them."""
    there = [name for name in (WEIGHTS, OPTIMIZER) if (folder / name).is_file()]
    _write(folder, replace(record, digests={name: file_digest(folder / name) for name in there}))


def record_validation(folder: Path, val: Mapping[str, float | None]) -> None:
    """Write a checkpoint's metrics on val into its record."""
    _write(folder, replace(read_record(folder / WEIGHTS), val=dict(val)))


def best_on_val(kept: Mapping[Path, CheckpointRecord]) -> Path | None:
    """Choose the checkpoint with the lowest MPJPE on val, the first of equal ones; None where none was scored.

    kept: the records of a run's checkpoints by their folders, oldest first.
    """
    scored = {folder: mpjpe_mm for folder, record in kept.items() if (mpjpe_mm := record.mpjpe_on_val) is not None}
    return min(scored, key=lambda folder: scored[folder]) if scored else None


def check_file(path: Path, record: CheckpointRecord, name: str) -> str:
    """The digest of one of a checkpoint's files; HmrError when it is not the one that the record has.

    name: what the record calls the file, which may have been given another name since.
    """
    digest = file_digest(path)
    if digest != record.digests.get(name):
        raise HmrError(f"{path} was {ALTERED}: its digest is not the one in {RECORD} beside it.", way_out(path.parent))
    return digest


def check_model(path: Path, record: CheckpointRecord, model: str, option: Option | str) -> None:
    """HmrError for a checkpoint of another model. path: as it was given, by the option."""
    if record.model != model:
        raise HmrError(
            f'{path} is a checkpoint of the model "{record.model}", not of "{model}".',
            "Give ",
            option,
            f" one of {model}, or use it with {record.model}.",
        )


def check_run(run: Run, weights: Path) -> None:
    """HmrError when a run's config.json and the record of one of its checkpoints do not say the same.

    A checkpoint from before the run was lengthened has the number of epochs that the run had then.
    """
    record = read_record(weights)
    if record.epoch is None:
        return  # converted, not trained here: no run's own
    said, recorded = dict(flat(run.identity())), dict(flat(record.as_json()))
    differing = [key for key, value in said.items() if recorded.get(key) != value]
    earlier = [change["from"] for change in run.lengthened if record.epoch <= change["at_epoch"]]
    if recorded.get(_EPOCHS) in earlier:
        differing = [key for key in differing if key != _EPOCHS]
    if not differing:
        return
    key = differing[0]
    more = f" (and {len(differing) - 1} more: {', '.join(differing[1:])})" if len(differing) > 1 else ""
    ours, its = (json.dumps(value) for value in (said[key], recorded.get(key)))
    raise HmrError(
        f"{run.folder / CONFIG} says that {key} is {ours}, the checkpoint {weights.parent} that it is {its}{more}: one "
        "of them was altered. A run keeps what it began with; put it back, or start a new run with other options.",
        "The checkpoint can be evaluated by itself: ",
        Option("ckpt", weights.parent),
    )


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested objects, by dotted keys."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _write(folder: Path, record: CheckpointRecord) -> None:
    """Write a record with its own digest."""
    values = record.as_json()
    values["digests"] = {**record.digests, RECORD: record_digest(values)}
    write_text(folder / RECORD, json.dumps(values, indent=2) + "\n")


def _check_kinds(path: Path, values: Mapping[str, Any]) -> None:
    """HmrError for a value of model.json that is not what it should be."""
    for key, (kind, wanted) in _KINDS.items():
        if key in values and not isinstance(values[key], kind):
            raise _altered(path, f'"{key}" is a {type(values[key]).__name__}, and should be {wanted}')
    if not isinstance(values["recipe"].get("train", {}), dict):
        raise _altered(path, 'the "train" of "recipe" is no object')
    for name, value in values.get("loss_sums", {}).items():
        if not isinstance(value, float):
            raise _altered(path, f'"{name}" of "loss_sums" is a {type(value).__name__}, and should be a number')
    for name, value in values.get("val", {}).items():
        if not isinstance(value, int | float | None):
            raise _altered(path, f'"{name}" of "val" is a {type(value).__name__}, and should be a number or null')


def record_digest(values: Mapping[str, Any]) -> str:
    """The digest of the values of model.json but for this digest itself."""
    digests = {name: digest for name, digest in values["digests"].items() if name != RECORD}
    text = json.dumps({**values, "digests": digests}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def way_out(folder: Path) -> str:
    """What to do about a checkpoint that is not whole: the other ones of its run are named."""
    others = [str(one) for one in saved_checkpoints(folder.parent) if one != folder and (one / RECORD).is_file()]
    left = f" (a resumed run sets {folder.name} aside, and goes on from the newest that is whole)"
    other = f", or use another checkpoint of the run: {', '.join(others)}{left}" if others else ""
    return f"Copy it again from where it is whole{other}."


def _altered(path: Path, how: str) -> HmrError:
    return HmrError(f"{path} was altered or damaged: {how}.", way_out(path.parent))
