"""What training is measured on: a model, its recipe, a pack and a device."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from hmr_core.data.batch import Batch, BatchSource, Key
from hmr_core.data.loading import Loader, epoch_order, split_batches
from hmr_core.data.oakink import open_oakink
from hmr_core.data.open_dataset import open_dataset
from hmr_core.data.pack.codecs import codec_named
from hmr_core.data.pack.reader import Pack
from hmr_core.data.pack.writer import write_pack
from hmr_core.data.synthetic.sizes import Size
from hmr_core.data.synthetic.writer import write_synthetic
from hmr_core.hand.layer import HandLayer
from hmr_core.hand.source import find_hand_model
from hmr_core.plugins.recipes import Recipe, load_recipe, options
from hmr_core.plugins.specs import ModelSpec
from hmr_core.system import usable_cpus
from hmr_core.training.run_folder import check_batch

CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model with its recipe, a split of a pack, and the device to train on.

    layer: of a model that uses the hand. folder: an empty one, for what training may write.
    """

    spec: ModelSpec
    recipe_name: str
    recipe: Recipe
    overrides: tuple[str, ...]
    pack: Pack
    split: str
    layer: HandLayer | None
    device: torch.device
    folder: Path

    @property
    def batch_size(self) -> int:
        """Samples of a step."""
        return self.recipe.train.batch_size

    @cached_property
    def hand(self) -> HandLayer | None:
        """The layer on the device."""
        return None if self.layer is None else deepcopy(self.layer).to(self.device)

    def source(self) -> BatchSource:
        """The samples, augmented."""
        return open_dataset(self.spec, self.recipe, self.pack, layer=self.layer, training=True)

    def keys(self, count: int) -> list[list[Key]]:
        """The samples of so many steps, epoch after epoch."""
        train = self.recipe.train
        rows = self.pack.indices(self.split, train.subset)
        check_batch(self.split, train, len(rows))
        found: list[list[Key]] = []
        epoch = 0
        while len(found) < count:
            epoch += 1
            order = epoch_order(rows, train.seed, epoch)
            found += split_batches(order[: len(order) - len(order) % self.batch_size], self.batch_size, epoch=epoch)
        return found[:count]

    def batches(self, count: int) -> list[Batch]:
        """So many different batches, on the CPU."""
        return list(Loader(self.source(), workers=0, device=CPU).load(self.keys(count)))


def make_subject(
    spec: ModelSpec,
    recipe_name: str,
    pack: Pack,
    split: str,
    device: torch.device,
    folder: Path,
    batch_size: int | None = None,
) -> Subject:
    """The subject, its weights random: nothing is fetched. batch_size: None for the recipe's own."""
    overrides = ("backbone.weights=random",) if "backbone.weights" in options(spec) else ()
    if batch_size is not None:
        overrides = (*overrides, f"train.batch_size={batch_size}")
    return Subject(
        spec=spec,
        recipe_name=recipe_name,
        recipe=load_recipe(spec, recipe_name, overrides),
        overrides=overrides,
        pack=pack,
        split=split,
        layer=HandLayer(find_hand_model(None).model) if spec.needs_hand else None,
        device=device,
        folder=folder,
    )


@contextmanager
def synthetic_pack(size: Size) -> Iterator[Path]:
    """A pack of synthetic data, as `hmr synth` and `hmr pack` make it; it is there within the block."""
    with tempfile.TemporaryDirectory() as folder:
        made = write_synthetic(
            Path(folder) / "synthetic",
            sequences=size.sequences,
            frames=size.frames,
            subjects=size.subjects,
            objects=size.objects,
            workers=usable_cpus(),
        )
        out = Path(folder) / "pack.h5"
        write_pack(open_oakink(made.root), out, splits=["sp0"], codec=codec_named("png"))
        yield out
