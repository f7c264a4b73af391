"""A released file made a checkpoint of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hmr_core.engine.checkpoints import Checkpoint, load_checkpoint, read_info, save_checkpoint
from hmr_core.engine.recognise import describe
from hmr_core.engine.released import PUBLISHED
from hmr_core.errors import HmrError
from hmr_core.plugins.specs import ModelSpec
from hmr_core.versions import versions

WRITTEN = {"model.safetensors", "model.json"}
"""What a converted checkpoint's folder holds, and all of it."""


def convert_released(path: Path, folder: Path, models: Mapping[str, ModelSpec], *, force: bool = False) -> Checkpoint:
    """Write a released file's weights as a checkpoint's folder, whole or not at all; the checkpoint as it was loaded.

    models: the installed ones, by name, among which the file's is found. force: whether the folder may be replaced if
    it holds a converted checkpoint; nothing else ever is.
    Raises HmrError for a folder that is in the way, and for anything but a released file of an installed model.
    """
    _refuse_taken(folder, force)
    found = describe(path, models)
    if found["kind"] == "checkpoint":
        raise HmrError(
            f'{path} is a checkpoint of ours already (of the model "{found["model"]}"): there is nothing to convert. '
            "Give a released file."
        )
    if found["kind"] != "released":
        raise HmrError(
            f"{path} is no released file of an installed model, so it cannot be converted. `hmr ckpt show {path}` says "
            "what it is."
        )
    if not found["installed"]:
        raise HmrError(
            f'{path} is a released file of the model "{found["model"]}", which is not installed: {found["use"][0]}'
        )
    checkpoint = load_checkpoint(path, models[found["model"]], option="FILE")
    assert checkpoint.released is not None
    info = {
        "model": found["model"],
        "split": None,  # a released file does not say what it was trained on
        "recipe_name": PUBLISHED,
        "epoch": None,
        "val": {},
        "versions": versions(),
        "recipe": checkpoint.recipe.model_dump(mode="json"),
        "released": replace(checkpoint.released, path=checkpoint.released.path.resolve()).as_json(),
    }
    save_checkpoint(folder, checkpoint.model, None, info)
    return checkpoint


def _refuse_taken(folder: Path, force: bool) -> None:
    """HmrError when a folder is there, unless it is a converted checkpoint that may be replaced."""
    if not folder.exists():
        return
    if not force:
        raise HmrError(f"{folder} exists. Give another --out, or --force to replace a checkpoint converted before.")
    if not folder.is_dir() or {path.name for path in folder.iterdir()} - WRITTEN or not _converted(folder):
        raise HmrError(f"{folder} is no converted checkpoint, so it is left alone. Give another --out.")


def _converted(folder: Path) -> bool:
    return not any(folder.iterdir()) or "released" in read_info(folder / "model.safetensors")
