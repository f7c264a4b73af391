"""The packs that a run began with, wherever their files are now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.plugins.run import Run, RunData
from hmr_core.training.inputs import gone
from hmr_core.training.sources import OpenPack
from hmr_core.wording import counted


def packs_of_run(run: Run, moved: Sequence[Path]) -> tuple[OpenPack, ...]:
    """Open the packs of a run. moved: where those are now that are not where they were, in any order.

    Raises HmrError for a pack that is not there, and for one that is none of the run's.
    """
    if len(moved) > len(run.data):
        raise UsageError(
            f"{run.folder} was trained on {counted(len(run.data), 'pack')}, and {len(moved)} are given. Give those "
            "that were moved."
        )
    if len(run.data) == 1:
        (recorded,) = run.data
        return (_opened(run, recorded, Pack(moved[0]) if moved else None),)
    found = {pack.info.digest: pack for pack in map(Pack, moved)}
    strange = [str(pack.path) for digest, pack in found.items() if digest not in {each.blake2b for each in run.data}]
    if strange:
        were = ", ".join(f"{each.path} ({each.name})" for each in run.data)
        raise HmrError(f"{strange[0]} is none of the packs that {run.folder} was trained on, which are {were}.")
    return tuple(_opened(run, each, found.get(each.blake2b)) for each in run.data)


def _opened(run: Run, recorded: RunData, moved: Pack | None) -> OpenPack:
    """One of the packs. moved: the pack where it is now; None for where it was."""
    if moved is None and not recorded.path.exists():
        raise gone(run, "pack", recorded.path, "data")
    pack = moved or Pack(recorded.path)
    if pack.info.digest != recorded.blake2b:
        raise HmrError(
            f"{pack.path} is not the pack that {run.folder} was trained on (its digest differs).",
            "Give that one with ", Option("data"), ".",
        )  # fmt: skip
    return OpenPack(
        pack=pack,
        split=recorded.split or run.split,
        asked=f"{pack.path}:{recorded.split}" if recorded.split else str(pack.path),
        name=recorded.name or "",
        share=recorded.share,
    )
