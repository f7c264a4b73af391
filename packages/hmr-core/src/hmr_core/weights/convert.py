"""Make a checkpoint of ours of a released file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hmr_core.errors import HmrError, Option
from hmr_core.shell import command_line
from hmr_core.versions import versions
from hmr_core.weights.checkpoint_record import CheckpointRecord
from hmr_core.weights.checkpoints import Checkpoint, load_checkpoint, save_checkpoint
from hmr_core.weights.converted import refuse_taken
from hmr_core.weights.identify import identify
from hmr_core.weights.next_commands import Installed
from hmr_core.weights.released import PUBLISHED
from hmr_core.weights.weights_file import BareWeights, CheckpointFile, ReleasedWeights


def convert_released(
    path: Path, folder: Path, installed: Installed, *, model: str | None = None, force: bool = False
) -> Checkpoint:
    """Write a released file's weights as a checkpoint's folder, whole or not at all, and return the checkpoint.

    installed: the models among which the file's is found. model: its name, needed where several fit.
    force: whether the folder may be replaced if it holds a converted checkpoint; nothing else ever is.
    Raises HmrError for a folder that is in the way, and for anything but a released file of an installed model.
    """
    refuse_taken(folder, force)
    found = identify(path, installed)
    if isinstance(found, CheckpointFile):
        raise HmrError(
            f'{path} is a checkpoint of ours already (of the model "{found.model}"): there is nothing to convert.',
            "Give a released file.",
        )
    if found.problem and not isinstance(found, BareWeights):
        raise HmrError(f"{path} {found.problem}.")
    if not isinstance(found, ReleasedWeights):
        raise HmrError(
            f"{path} is no released file of an installed model, so it cannot be converted.",
            f"`{command_line('hmr ckpt show', path)}` says what it is.",
        )
    if found.model_state != "installed":
        why = "whose plugin cannot be used. See" if found.model_state == "broken" else "which is not installed"
        raise HmrError(f'{path} is a released file of the model "{found.model}", {why}: {found.use[0]}')
    name = _one_of([found.model, *found.fits_too], model, path)
    checkpoint = load_checkpoint(path, installed.models[name], option="FILE")
    assert checkpoint.released is not None
    record = CheckpointRecord(  # without a split: a released file does not say what it was trained on
        model=name,
        recipe_name=PUBLISHED,
        recipe=checkpoint.recipe.model_dump(mode="json"),
        versions=versions(),
        released=replace(checkpoint.released, path=checkpoint.released.path.resolve()),
    )
    save_checkpoint(folder, checkpoint.model, None, record)
    return checkpoint


def _one_of(fitting: list[str], wanted: str | None, path: Path) -> str:
    """The model that is wanted, or the only one that a file fits."""
    names = " and ".join(f'"{name}"' for name in fitting)
    if wanted is None and len(fitting) > 1:
        raise HmrError(f"{path} fits the models {names}.", "Say which by ", Option("model"), ".")
    if wanted is not None and wanted not in fitting:
        raise HmrError(f'{path} is no released file of the model "{wanted}": it fits {names}.')
    return wanted or fitting[0]
