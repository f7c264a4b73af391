"""The data set that a model sees: crops of images, or joints."""

from __future__ import annotations

from hmr_core.data.batch import BatchSource
from hmr_core.data.crops import crop_size
from hmr_core.data.image_dataset import ImageDataset
from hmr_core.data.joint_dataset import JointDataset
from hmr_core.data.pack.reader import Pack
from hmr_core.hand.layer import HandLayer
from hmr_core.plugins.recipes import ImageRecipe, JointRecipe, Recipe
from hmr_core.plugins.specs import ModelSpec


def open_dataset(
    spec: ModelSpec,
    recipe: Recipe,
    pack: Pack,
    *,
    layer: HandLayer | None,
    training: bool = False,
    verify: bool = False,
) -> BatchSource:
    """The samples of a pack as a model takes them; for training augmented as its recipe says.

    layer: the hand layer, on the CPU, which models of joints need. verify: compare checksums while reading.
    HmrError when the recipe's crops reach beyond what the pack stores.
    """
    root_joint, seed = spec.root_joint, recipe.train.seed
    if isinstance(recipe, JointRecipe):
        assert layer is not None, "a model of joints needs a hand layer"
        return JointDataset(
            pack,
            root_joint=root_joint,
            layer=layer,
            data=recipe.data,
            augment=recipe.augment if training else None,
            seed=seed,
            verify=verify,
        )
    assert isinstance(recipe, ImageRecipe)
    return ImageDataset(
        pack,
        image_size=crop_size(recipe.model),
        root_joint=root_joint,
        data=recipe.data,
        augment=recipe.augment if training else None,
        seed=seed,
        verify=verify,
    )
