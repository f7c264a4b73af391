"""The reader of a data set's tree, with the hand models at hand where its poses need them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hmr_core.errors import UsageError
from hmr_core.hand.pose_basis import find_pose_bases
from hmr_core.plugins.sample import DatasetReader
from hmr_core.plugins.specs import DatasetSpec


def open_tree(spec: DatasetSpec, root: Path, hand_files: Sequence[Path] = ()) -> DatasetReader:
    """Open the tree of a data set at root.

    hand_files: hand models of MANO's, one for each side, for a data set whose poses are in MANO's pose space, or whose
    meshes are made of them; by default the one that $HMR_HAND_MODEL names. Without any, its samples have none.
    UsageError for a hand model where the data set has no use for one; HmrError when there is no such tree or hand
    model.
    """
    if spec.open_posed is None:
        if hand_files:
            raise UsageError(f"reading {spec.name} takes no hand model, and {hand_files[0]} was given.")
        return spec.open(root)
    bases = find_pose_bases(hand_files)
    return spec.open_posed(root, bases) if bases else spec.open(root)
