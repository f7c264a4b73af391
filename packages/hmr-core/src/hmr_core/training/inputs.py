"""What a run trains on and with, looked at before it trains: its pack, its hand model, how processes share a batch.

What is wrong with them is told without torch, but for what a hand model holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hmr_core.data.pack.entry import check_pack
from hmr_core.data.pack.reader import Pack, made_by_packing
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.hand.arrays import check_hand_file, named_hand_file
from hmr_core.hand.joints import MIDDLE_MCP
from hmr_core.plugins.recipes import Recipe
from hmr_core.plugins.run import Run, RunHand
from hmr_core.plugins.specs import ModelSpec
from hmr_core.processes import Place, check_shares
from hmr_core.training.run_folder import resume_command
from hmr_core.training.watchers import Tell

if TYPE_CHECKING:
    import torch

    from hmr_core.hand.layer import HandLayer
    from hmr_core.hand.source import HandModelSource
    from hmr_core.training.sources import TrainingData


def check_processes(recipe: Recipe, where: Place) -> None:
    """UsageError where the processes cannot have equal parts of a batch."""
    parts = recipe.train.grad_accum
    what = "a batch" if parts == 1 else f"each of the {parts} parts of a batch"
    check_shares(recipe.train.batch_size // parts, where.count, what)


def check_arithmetic(recipe: Recipe, device: torch.device, where: Place) -> None:
    """UsageError where the device cannot compute as the recipe says."""
    from hmr_core.training import precision

    precision.check_arithmetic(recipe.train, device, where.count)


def record_of_hand(hand: HandModelSource | None) -> RunHand | None:
    """A hand model as a run's record has it."""
    return None if hand is None else RunHand(path=hand.path and hand.path.resolve(), blake2b=hand.digest)


def check_subset(pack: Pack, split: str, subset: str) -> None:
    """UsageError where a recipe trains on train+val, and the pack has train alone."""
    there = pack.info.counts[split]
    if subset == "train+val" and subset not in there and "train" in there:
        raise UsageError(
            f'{pack.path} has no subset "train+val" of {split}, which is what the recipe trains on.',
            "To train on train, use ", Option("subset", "train"), ".",
        )  # fmt: skip


def check_data(spec: ModelSpec, pack: Pack, split: str, subset: str, tell: Tell) -> None:
    """Warn of odd samples to train or to validate on; HmrError for data that nobody, or not this model, trains on."""
    pack.require(*spec.learns_from, by=f"training {spec.name}")
    rows = pack.indices(split, subset)
    known = {"verts": pack.verts_valid(rows), "rotations": pack.pose_valid(rows), "betas": pack.pose_valid(rows)}
    for name in spec.learns_from:
        if not known[name].any():
            raise HmrError(
                f"training {spec.name} needs {name}, which no sample of {split} {subset} in {pack.path} has. Use "
                "another model, or a data set that has them.",
                *made_by_packing([name]),
            )
    joints_known = pack.joints_valid(rows)
    if not joints_known[:, MIDDLE_MCP].all():
        raise HmrError(
            f"some samples of {split} {subset} in {pack.path} have a box and no joints, and nothing can be learnt from "
            "them. Train on another subset."
        )
    if spec.consumes == "joints" and not joints_known.all():
        raise HmrError(
            f"training {spec.name} needs every joint, and some of {split} {subset} in {pack.path} are not known. Use a "
            "model of images, or a data set whose joints are all known."
        )
    validated = [] if subset == "train+val" or not pack.info.counts[split].get("val") else ["val"]
    for name in (subset, *validated):
        for text in check_pack(pack, split, name):
            tell(f"warning: {text}")


def check_hand(spec: ModelSpec, given: Path | None) -> None:
    """HmrError when the hand model's file is not there, UsageError when the model uses none."""
    if spec.needs_hand:
        named_hand_file(given)
    elif given is not None:
        raise UsageError(f"{spec.name} learns without a hand model.", "Leave out ", Option("hand_model"), ".")


def hand_of_model(spec: ModelSpec, given: Path | None) -> HandModelSource | None:
    """The hand model that training needs, if the model uses one."""
    check_hand(spec, given)
    if not spec.needs_hand:
        return None
    from hmr_core.hand.source import find_hand_model

    return find_hand_model(given)


def hand_of_run(run: Run, recorded: RunHand, given: Path | None) -> HandModelSource:
    """The hand model that a run began with, wherever its file is now; HmrError for another."""
    path = given or recorded.path
    if given is None and path and not path.exists():
        raise gone(run, "hand model", path, "hand_model")
    if path:
        check_hand_file(path)  # before torch is imported

    from hmr_core.hand.source import find_hand_model, packaged_hand

    source = find_hand_model(path) if path else packaged_hand()  # whatever HMR_HAND_MODEL says by now
    if source.digest != recorded.blake2b:
        began = (
            f"Give that of {recorded.path}" if recorded.path else "It was the synthetic hand of hmr itself: give none"
        )
        raise HmrError(
            f"{source.label} is not the hand model that {run.folder} was trained with (its digest differs). {began}."
        )
    return source


def gone(run: Run, what: str, path: Path, option: str) -> HmrError:
    """The error for a file that a run began with and that is not where it was."""
    return HmrError(
        f"{path}, the {what} that {run.folder} was trained with, is not there any more. Where it was moved, say where: "
        f"{resume_command(run, Option(option, 'FILE'))}"
    )


def layer_of(hand: HandModelSource | None, data: TrainingData, tell: Tell) -> HandLayer | None:
    """The layer of the annotations' hand model, if there is one; HmrError when that of a pack is another hand's."""
    if hand is None:
        return None
    from hmr_core.data.hand_model_check import check_hand_model, mismatch_note
    from hmr_core.hand.layer import HandLayer

    layer = HandLayer(hand.model)
    for source in data.sources:
        note = mismatch_note(check_hand_model(hand, layer, source.pack, source.rows))
        if note is not None:
            tell(f"note: {source.name}: {note}" if source.name else f"note: {note}")
    return layer
