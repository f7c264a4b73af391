"""From the name of a backbone to the network: the spec is found, its options are checked, the network is built."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from hmr_core.config import ModelConfig, Section
from hmr_core.errors import UsageError
from hmr_core.nn.backbones.config import ALWAYS, BackboneConfig
from hmr_core.plugins.registry import discover

if TYPE_CHECKING:
    from hmr_core.nn.backbones.backbone import Backbone
    from hmr_core.plugins.specs import BackboneSpec


def find_backbone(name: str) -> BackboneSpec:
    """Find an installed backbone by its name; UsageError says why there is none."""
    return discover().backbone(name)


def build_backbone(config: BackboneConfig, *, has_stem: bool = True) -> Backbone:
    """Build the backbone that a config names, randomly initialised by the global generator.

    has_stem: whether it begins at the image, or at a map such as its stem would give.
    """
    return find_backbone(config.name).build(config, has_stem)


def load_pretrained(backbone: Backbone) -> None:
    """Load what the backbone's config says that it starts from: nothing, a file that is fetched, or a file.

    Raises HmrError when the file cannot be had, fails its hash, or does not fit.
    """
    from hmr_core.nn.backbones.pretrained import load_pretrained as load

    load(backbone, find_backbone(backbone.config.name).weights)


def settle_backbones(model: Section, given: Collection[str]) -> Section:
    """Give a model's config with what its backbones do not have at its default; check what was given and image_size.

    given: the keys that a user set, such as "backbone.width". What a recipe holds for a backbone of its own is dropped
    where a user names another. UsageError for an option given that the backbone does not have, for a name that is not
    installed, and for an image_size that its strides do not divide.
    """
    changes: dict[str, BackboneConfig] = {}
    for key, config in _backbones(model):
        spec = find_backbone(config.name)
        lacks = [
            option
            for option, field in BackboneConfig.model_fields.items()
            if option not in (*ALWAYS, *spec.options) and getattr(config, option) != field.default
        ]
        if refused := next((option for option in lacks if f"{key}.{option}" in given), None):
            has = ", ".join(f"{key}.{option}" for option in (*ALWAYS, *spec.options))
            raise UsageError(f"the backbone {config.name} has no option {key}.{refused}. It has: {has}.")
        if isinstance(model, ModelConfig) and model.image_size % spec.stride:
            below = model.image_size // spec.stride * spec.stride
            raise UsageError(
                f"image_size must be a multiple of {spec.stride} (the stride of the backbone {config.name}), such as "
                f"{below + spec.stride}, not {model.image_size}."
            )
        if lacks:
            defaults = {option: BackboneConfig.model_fields[option].default for option in lacks}
            changes[key] = config.model_copy(update=defaults)
    return model.model_copy(update=changes) if changes else model


def _backbones(model: Section) -> Iterator[tuple[str, BackboneConfig]]:
    """The backbones of a model's config, each with its key."""
    for key in type(model).model_fields:
        value = getattr(model, key)
        if isinstance(value, BackboneConfig):
            yield key, value
