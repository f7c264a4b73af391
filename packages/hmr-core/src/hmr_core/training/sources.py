"""What a run trains and validates on: the samples of one pack, or of several, each a source of a mixture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jaxtyping import Int64
from numpy import ndarray

from hmr_core.data.mixture import draw_epoch, fill_shares, share_counts
from hmr_core.data.pack.reader import Pack
from hmr_core.errors import HmrError, Option, UsageError
from hmr_core.plugins.recipes import TrainConfig
from hmr_core.plugins.run import TRAIN, RunData
from hmr_core.training.asked_data import AskedPack
from hmr_core.training.limits import training_rows, validation_rows
from hmr_core.training.run_folder import check_batch
from hmr_core.wording import counted, listed

if TYPE_CHECKING:
    from hmr_core.data.batch import Key


@dataclass(frozen=True, kw_only=True)
class OpenPack:
    """A pack that is open, with the split to train on. asked: what the user calls it, PACK or PACK:SPLIT.

    name: what it is called in a mixture; empty where it is alone. share: of an epoch's samples; None for what the
    others leave.
    """

    pack: Pack
    split: str
    asked: str
    name: str = ""
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """A pack's samples to train on, and to validate on. name: what it is called in a mixture; empty where it is alone.

    share: of an epoch's samples, all sources together having 1. count: how many samples every epoch draws.
    """

    name: str
    pack: Pack
    split: str
    share: float
    count: int
    rows: Int64[ndarray, " n"]
    val_rows: Int64[ndarray, " m"]


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """All that a run trains on.

    steps_per_epoch: of whole batches. drawn: whether an epoch draws its samples by turns, as `mixture` has it; of one
    pack it is otherwise a pass over all of its samples. notes: what the user should know of these samples.
    """

    sources: tuple[Source, ...]
    steps_per_epoch: int
    drawn: bool
    notes: tuple[str, ...]

    @property
    def samples(self) -> int:
        """How many there are to train on."""
        return sum(len(source.rows) for source in self.sources)

    @property
    def val_samples(self) -> int:
        """How many there are to validate on."""
        return sum(len(source.val_rows) for source in self.sources)

    def keys(self, seed: int, epoch: int) -> list[Key]:
        """The samples of an epoch in the order in which they are visited: a function of its arguments and the data."""
        from hmr_core.data.batch import Key
        from hmr_core.data.loading import draw_keys, epoch_order

        if not self.drawn:
            (alone,) = self.sources
            return [Key(epoch, row) for row in epoch_order(alone.rows, seed, epoch).tolist()]
        rows, counts = zip(*((source.rows, source.count) for source in self.sources), strict=True)
        return draw_keys(draw_epoch(rows, counts, seed, epoch))

    def as_run(self) -> tuple[RunData, ...]:
        """The packs as a run's record has them."""
        if len(self.sources) == 1:
            return tuple(RunData(path=one.pack.path, blake2b=one.pack.info.digest) for one in self.sources)
        return tuple(
            RunData(
                path=source.pack.path,
                blake2b=source.pack.info.digest,
                name=source.name,
                split=source.split,
                share=source.share,
            )
            for source in self.sources
        )


def open_packs(asked: Sequence[AskedPack], split: str | None) -> tuple[OpenPack, ...]:
    """Open the packs, each with the split that is meant: its own, that of the run, or the only one that it has.

    split: that of the run. Raises UsageError where no split is meant, or a pack is given twice with one split.
    """
    packs = [Pack(one.path) for one in asked]
    splits = [_split(pack, one.split, split, packs) for pack, one in zip(packs, asked, strict=True)]
    if len(packs) == 1:
        return (OpenPack(pack=packs[0], split=splits[0], asked=str(asked[0]), share=asked[0].share),)
    twice = [n for n, times in Counter(zip((p.info.digest for p in packs), splits, strict=True)).items() if times > 1]
    if twice:
        digest, name = twice[0]
        paths = [str(pack.path) for pack in packs if pack.info.digest == digest]
        raise UsageError(f"{name} of one pack is given twice ({listed(paths)}): give it once, with a larger share.")
    return tuple(
        OpenPack(pack=pack, split=name, asked=str(one), name=called, share=one.share)
        for pack, name, called, one in zip(packs, splits, _names(packs, splits), asked, strict=True)
    )


def _split(pack: Pack, own: str | None, given: str | None, packs: Sequence[Pack]) -> str:
    """The split of a pack to train on. own: as it was given with the pack; given: for all packs."""
    if own is not None:
        return pack.split_name(own)
    names = list(pack.info.counts)
    if given is None or (len(packs) > 1 and not _has(pack, given) and any(_has(other, given) for other in packs)):
        if len(names) == 1:
            return names[0]
        why = "" if given is None else f', and "{given}" is none of them'
        with_pack = f" or with the pack: {pack.path}:{names[0]}" if names else ""
        raise UsageError(
            f"{pack.path} has the splits {', '.join(names)}{why}.",
            "Choose one with ", Option("split"), f"{with_pack}.",
        )  # fmt: skip
    return pack.split_name(given)


def _has(pack: Pack, split: str) -> bool:
    return split in pack.info.counts or split in pack.info.aliases


def _names(packs: Sequence[Pack], splits: Sequence[str]) -> list[str]:
    """What the sources are called: their data sets; where that is not enough their splits, too, and then a number.

    Their files' names are no part of it, since files are moved.
    """
    datasets = [pack.info.dataset for pack in packs]
    names = [
        dataset if datasets.count(dataset) == 1 else f"{dataset}-{split}"
        for dataset, split in zip(datasets, splits, strict=True)
    ]
    return [name if name not in names[:i] else f"{name}-{1 + names[:i].count(name)}" for i, name in enumerate(names)]


def mixture_label(packs: Sequence[OpenPack]) -> str:
    """What stands for the split in a run's name and record: the split of one pack, the names of several."""
    return packs[0].split if len(packs) == 1 else "+".join(one.name for one in packs)


def training_data(packs: Sequence[OpenPack], config: TrainConfig, limits: Mapping[str, int]) -> TrainingData:
    """The samples that a run trains and validates on.

    limits: of the samples of each pack (see `limits`).
    Raises UsageError for limits and shares that cannot be, HmrError where there are fewer samples than a batch.
    """
    rows = [training_rows(one.pack, one.split, config, limits) for one in packs]
    validated = [validation_rows(one.pack, one.split, config, limits) for one in packs]
    sizes = [len(own) for own in rows]
    shares = fill_shares([one.asked for one in packs], sizes, [one.share for one in packs])
    samples = config.samples_per_epoch or sum(sizes)
    drawn = len(packs) > 1 or config.samples_per_epoch is not None
    if not drawn:
        check_batch(packs[0].split, config, samples, limited=TRAIN in limits)
    elif samples < config.batch_size:
        raise HmrError(
            f"an epoch draws {counted(samples, 'sample')}, fewer than a batch of {config.batch_size}.",
            "Use a smaller ", Option("batch_size"), ", or a larger train.samples_per_epoch.",
        )  # fmt: skip
    steps = samples // config.batch_size
    counts = share_counts(shares, steps * config.batch_size)
    if 0 in counts:
        i = counts.index(0)
        raise UsageError(
            f"of the {steps * config.batch_size} samples that an epoch draws, {packs[i].asked} with its share of "
            f"{shares[i]:.2g} gives none. Give it a larger share, or set a larger train.samples_per_epoch."
        )
    notes = [(one.name, note) for one, (_, own) in zip(packs, validated, strict=True) for note in own]
    return TrainingData(
        sources=tuple(
            Source(name=one.name, pack=one.pack, split=one.split, share=share, count=count, rows=own, val_rows=val_rows)
            for one, share, count, own, (val_rows, _) in zip(packs, shares, counts, rows, validated, strict=True)
        ),
        steps_per_epoch=steps,
        drawn=drawn,
        notes=tuple(f"{name}: {note}" if name else note for name, note in notes),
    )
