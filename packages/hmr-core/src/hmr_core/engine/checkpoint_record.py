"""What a checkpoint says of itself: model.json, beside the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hmr_core.errors import HmrError
from hmr_core.files import read_bytes
from hmr_core.shell import command_line

FORMAT = "hmr-checkpoint/1"

_KINDS: dict[str, tuple[Any, str]] = {
    "model": (str, "text"),
    "recipe": (dict, "an object"),
    "blake2b": (str, "text"),
    "recipe_name": (str | None, "text or null"),
    "split": (str | None, "text or null"),
    "epoch": (int | None, "a whole number or null"),
    "val": (dict | None, "an object or null"),
    "versions": (dict, "an object"),
}
"""What the JSON file's values are; the first three must be there."""


def read_info(weights: Path) -> dict[str, Any]:
    """What the JSON file beside a weights file says; HmrError when it is missing or of another format."""
    path = weights.with_name("model.json")
    try:
        info = json.loads(read_bytes(path))
    except FileNotFoundError as error:
        raise HmrError(
            f"{weights} has no model.json beside it, which says what the weights are of. Was it moved away? Put it "
            f"back; `{command_line('hmr ckpt show', weights)}` says which model the weights fit."
        ) from error
    except (OSError, ValueError) as error:  # ValueError: neither JSON nor UTF-8
        raise HmrError(f"{weights} has no readable model.json beside it ({error}), so its model is unknown.") from error
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise HmrError(f"{path} is not the JSON file of a checkpoint of format {FORMAT!r}.")
    if absent := [key for key in ("model", "recipe", "blake2b") if key not in info]:
        raise HmrError(f"{path} does not say the checkpoint's {absent[0]}, so the checkpoint cannot be used.")
    for key, (kind, wanted) in _KINDS.items():
        if key in info and not isinstance(info[key], kind):
            raise _altered(path, f'"{key}" is a {type(info[key]).__name__}, and should be {wanted}')
    if not isinstance(info["recipe"].get("train", {}), dict):
        raise _altered(path, 'the "train" of "recipe" is no object')
    for name, value in (info.get("val") or {}).items():
        if not isinstance(value, int | float | None):
            raise _altered(path, f'"{name}" of "val" is a {type(value).__name__}, and should be a number or null')
    return info


def _altered(path: Path, how: str) -> HmrError:
    return HmrError(f"{path} was altered or damaged: {how}.")
