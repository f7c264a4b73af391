"""The pack to evaluate a run on where none is named: one that the run was trained on, where its record says that is."""

from __future__ import annotations

from pathlib import Path

from hmr_core.data.default_pack import default_pack, named_pack
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.plugins.run import CHECKPOINTS, CONFIG, Run
from hmr_core.weights.run_record import open_run


def open_pack_for(weights: Path, split: str | None) -> Pack:
    """The pack that the environment names, else one that the weights' run was trained on, else the default one.

    split: that is asked for; None for the one that was trained on. Raises HmrError where a run's packs are gone, and
    nothing lies at the default place; UsageError for a run of several packs of which not exactly one is meant.
    """
    run = None if named_pack() is not None else _run_of(weights)
    if run is None:
        return Pack(default_pack())
    there = {path: pack for path in dict.fromkeys(each.path for each in run.data) if (pack := _still(run, path))}
    meant = [pack for pack in there.values() if split is None or split in (*pack.info.counts, *pack.info.aliases)]
    if len(run.data) == 1:
        return next(iter(there.values()), None) or _default(run)
    paths = {each.path for each in run.data}
    if len(meant) == 1 and (split is not None or len(paths) == 1):
        return meant[0]
    which = "" if split is None else f', of which {len(meant) or "none"} there has the split "{split}"'
    choices: list[str | Option] = []
    for each in run.data:
        choices += ["; or " if choices else "Give one: ", Option("data", each.path), " ", Option("split", each.split)]
        choices += [] if each.path in there else [" (not there any more)"]
    raise UsageError(f"{run.folder} was trained on {len(paths)} packs{which}.", *choices, ".")


def _default(run: Run) -> Pack:
    """The pack at the default place, since the run's only one is gone."""
    if not default_pack().exists():
        (recorded,) = run.data
        raise HmrError(
            f"{recorded.path}, the pack that {run.folder} was trained on, is not there any more, or is another one.",
            "Give ", Option("data"), ".",
        )  # fmt: skip
    return Pack(default_pack())


def _still(run: Run, path: Path) -> Pack | None:
    """The pack of a run at a path, if it is still there."""
    digests = {each.blake2b for each in run.data if each.path == path}
    try:
        pack = Pack(path)
    except HmrError:
        return None
    return pack if pack.info.digest in digests else None


def _run_of(weights: Path) -> Run | None:
    """The run that a file of weights is of; None for one that lies in no run."""
    parents = weights.parents
    if len(parents) < 3 or parents[1].name != CHECKPOINTS or not (parents[2] / CONFIG).is_file():
        return None
    return open_run(parents[2])
