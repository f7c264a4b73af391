"""What a checkpoint says of itself: model.json, beside the weights.

Its `digests` have the BLAKE2b of each of the checkpoint's files: of model.safetensors, of optimizer.safetensors where
it is there, and, as `model.json`, of all else that the record says, so that an edited one is found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hmr_core.digests import file_digest
from hmr_core.errors import HmrError, Option
from hmr_core.files import read_bytes
from hmr_core.plugins.run import CONFIG, Run
from hmr_core.shell import command_line
from hmr_core.staging import write_text
from hmr_core.weights.checkpoint_folders import saved_checkpoints

FORMAT = "hmr-checkpoint/1"

WEIGHTS, OPTIMIZER, RECORD = "model.safetensors", "optimizer.safetensors", "model.json"
"""A checkpoint's files: the weights, what a resume needs besides, what the checkpoint says of itself."""

ALTERED = f"altered or damaged, or {RECORD} belongs to other weights"
"""What is to be said of a file whose digest is not the one in the record."""

_KINDS: dict[str, tuple[Any, str]] = {
    "model": (str, "text"),
    "recipe": (dict, "an object"),
    "digests": (dict, "an object"),
    "recipe_name": (str | None, "text or null"),
    "split": (str | None, "text or null"),
    "data": (list, "a list"),
    "epoch": (int | None, "a whole number or null"),
    "step": (int | None, "a whole number or null"),
    "val": (dict | None, "an object or null"),
    "versions": (dict, "an object"),
}
"""What the JSON file's values are; the first three must be there."""


def read_info(weights: Path) -> dict[str, Any]:
    """What the JSON file beside a weights file says; HmrError when it is missing or of another format."""
    path = weights.with_name(RECORD)
    try:
        info = json.loads(read_bytes(path))
    except FileNotFoundError as error:
        raise HmrError(
            f"{weights} has no {RECORD} beside it, which says what the weights are of. Was it moved away? Put it "
            f"back; `{command_line('hmr ckpt show', weights)}` says which model the weights fit."
        ) from error
    except (OSError, ValueError) as error:  # ValueError: neither JSON nor UTF-8
        raise HmrError(f"{weights} has no readable {RECORD} beside it ({error}), so its model is unknown.") from error
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise HmrError(f"{path} is not the JSON file of a checkpoint of format {FORMAT!r}.")
    if absent := [key for key in ("model", "recipe", "digests") if key not in info]:
        raise HmrError(f"{path} does not say the checkpoint's {absent[0]}, so the checkpoint cannot be used.")
    for key, (kind, wanted) in _KINDS.items():
        if key in info and not isinstance(info[key], kind):
            raise _altered(path, f'"{key}" is a {type(info[key]).__name__}, and should be {wanted}')
    if not isinstance(info["recipe"].get("train", {}), dict):
        raise _altered(path, 'the "train" of "recipe" is no object')
    for name, value in (info.get("val") or {}).items():
        if not isinstance(value, int | float | None):
            raise _altered(path, f'"{name}" of "val" is a {type(value).__name__}, and should be a number or null')
    if info["digests"].get(RECORD) != _digest(info):
        raise _altered(path, "its own digest is not the one that it records")
    return info


def write_info(folder: Path, info: Mapping[str, Any]) -> None:
    """Write the record of a checkpoint whose other files are in the folder, with the digests of all of them.

    info: what it says besides its format and the digests.
    """
    there = [name for name in (WEIGHTS, OPTIMIZER) if (folder / name).is_file()]
    values = {"format": FORMAT, **info, "digests": {name: file_digest(folder / name) for name in there}}
    values["digests"][RECORD] = _digest(values)
    write_text(folder / RECORD, json.dumps(values, indent=2) + "\n")


def record_validation(folder: Path, val: Mapping[str, float | None]) -> None:
    """Write a checkpoint's metrics on val into its record."""
    info = read_info(folder / WEIGHTS)
    values = {**info, "val": dict(val)}
    values["digests"] = {**info["digests"], RECORD: _digest(values)}
    write_text(folder / RECORD, json.dumps(values, indent=2) + "\n")


def mpjpe_on_val(info: Mapping[str, Any]) -> float | None:
    """The MPJPE on val, in mm, that a checkpoint's record has; None where it was not scored."""
    return (info.get("val") or {}).get("mpjpe_mm")


def best_on_val(kept: Mapping[Path, Mapping[str, Any]]) -> Path | None:
    """Choose the checkpoint with the lowest MPJPE on val, the first of equal ones; None where none was scored.

    kept: the records of a run's checkpoints by their folders, oldest first.
    """
    scored = {folder: mpjpe_mm for folder, info in kept.items() if (mpjpe_mm := mpjpe_on_val(info)) is not None}
    return min(scored, key=lambda folder: scored[folder]) if scored else None


def check_file(path: Path, info: Mapping[str, Any], name: str) -> str:
    """The digest of one of a checkpoint's files; HmrError when it is not the one that the record has.

    name: what the record calls the file, which may have been given another name since.
    """
    digest = file_digest(path)
    if digest != info["digests"].get(name):
        raise HmrError(f"{path} was {ALTERED}: its digest is not the one in {RECORD} beside it. {way_out(path.parent)}")
    return digest


def check_model(path: Path, info: Mapping[str, Any], model: str, option: Option | str) -> None:
    """HmrError for a checkpoint of another model. path: as it was given, by the option."""
    if info["model"] != model:
        raise HmrError(
            f'{path} is a checkpoint of the model "{info["model"]}", not of "{model}".',
            "Give ",
            option,
            f" one of {model}, or use it with {info['model']}.",
        )


def check_run(run: Run, weights: Path) -> None:
    """HmrError when a run's config.json and the record of one of its checkpoints do not say the same."""
    info = read_info(weights)
    if info.get("epoch") is None:
        return  # converted, not trained here: no run's own
    said, recorded = dict(flat(run.identity())), dict(flat(info))
    differing = [key for key, value in said.items() if recorded.get(key) != value]
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


def _digest(info: Mapping[str, Any]) -> str:
    """The digest of a record without its own."""
    digests = {name: digest for name, digest in info["digests"].items() if name != RECORD}
    text = json.dumps({**info, "digests": digests}, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def way_out(folder: Path) -> str:
    """What to do about a checkpoint that is not whole: the other ones of its run are named."""
    others = [str(one) for one in saved_checkpoints(folder.parent) if one != folder and (one / RECORD).is_file()]
    left = f" (a resumed run goes on from the newest that is left when {folder.name} is removed)"
    other = f", or use another checkpoint of the run: {', '.join(others)}{left}" if others else ""
    return f"Copy it again from where it is whole{other}."


def _altered(path: Path, how: str) -> HmrError:
    return HmrError(f"{path} was altered or damaged: {how}. {way_out(path.parent)}")
