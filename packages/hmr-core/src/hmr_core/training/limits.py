"""Which samples a run trains and validates on: its subsets, or a few of them, for checking an idea fast."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.plugins.recipes import TrainConfig
from hmr_core.plugins.run import OVERFIT, TRAIN, VAL
from hmr_core.wording import counted

_OPTIONS = {TRAIN: "limit_train", VAL: "limit_val", OVERFIT: "overfit"}
"""What each limit is asked for by."""


def make_limits(*, train: int | None, val: int | None, overfit: int | None) -> dict[str, int]:
    """The limits that were asked for, as a run has them; UsageError for those that contradict each other."""
    given = {TRAIN: train, VAL: val, OVERFIT: overfit}
    limits = {name: number for name, number in given.items() if number is not None}
    if OVERFIT in limits and len(limits) > 1:
        raise UsageError(
            "a run that overfits some samples validates on the same ones.",
            "Leave out ", Option("limit_train"), " and ", Option("limit_val"), ", or ", Option("overfit"), ".",
        )  # fmt: skip
    return limits


def training_rows(pack: Pack, split: str, config: TrainConfig, limits: Mapping[str, int]) -> Int64[ndarray, " n"]:
    """The rows of a pack that a run trains on; UsageError where a limit is more than there are."""
    name = OVERFIT if OVERFIT in limits else TRAIN
    return _limited(pack.indices(split, config.subset), limits, name, f"{split} {config.subset}")


def validation_rows(
    pack: Pack, split: str, config: TrainConfig, limits: Mapping[str, int]
) -> tuple[Int64[ndarray, " n"], tuple[str, ...]]:
    """The rows to validate on, none where the pack has none, and what the user should know of these samples."""
    if OVERFIT in limits:
        rows = training_rows(pack, split, config, limits)
        what = counted(len(rows), "sample")
        return rows, (f"overfits {what} of {split} {config.subset}, unaugmented: the val metrics are of the same",)
    notes = [
        f"{what} on {counted(limits[name], 'sample')} of {split} {subset} alone"
        for name, what, subset in ((TRAIN, "trains", config.subset), (VAL, "validates", "val"))
        if name in limits
    ]
    try:
        rows = pack.indices(split, "val")
    except HmrError as error:
        if VAL in limits:
            raise
        return np.zeros(0, dtype=np.int64), (*notes, f"no val metrics: {error}")
    if config.subset == "train+val":
        notes.append("trains on train+val, as published: the val metrics are of samples seen in training")
    return _limited(rows, limits, VAL, f"{split} val"), tuple(notes)


def _limited(rows: Int64[ndarray, " n"], limits: Mapping[str, int], name: str, subset: str) -> Int64[ndarray, " m"]:
    """So many of the rows as a limit says.

    They are drawn from all over the subset, since neighbours are frames of one sequence; by the subset and the number
    alone, so that runs of any recipe and seed have the same ones; and fewer of them are among more.
    """
    if name not in limits:
        return rows
    count = limits[name]
    if not 1 <= count <= len(rows):
        raise UsageError(
            f"{subset} has {counted(len(rows), 'sample')}, of which a run cannot take {count}.",
            Option(_OPTIONS[name]), f" takes 1 to {len(rows)}.",
        )  # fmt: skip
    chosen = np.random.default_rng(0).permutation(len(rows))[:count]
    return rows[np.sort(chosen)]
