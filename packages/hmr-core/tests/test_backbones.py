"""Backbones by name: every one of core's keeps the contract, and models of images take any of them."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
import torch

from hmr_core.builtin_backbones import core_backbones
from hmr_core.errors import UsageError
from hmr_core.nn.backbones.backbone import FeatureMap, scaled
from hmr_core.nn.backbones.config import BackboneConfig, WeightsSource
from hmr_core.nn.backbones.drop_path import DropPath, drop_rates
from hmr_core.nn.backbones.resnet import ResNet
from hmr_core.plugins.backbones import build_backbone
from hmr_core.plugins.recipes import load_recipe
from hmr_core.plugins.registry import discover
from hmr_core.plugins.specs import BackboneFamily, BackboneSpec
from hmr_core.testing import check_backbone, check_backbone_spec, check_spec

NAMES = [spec.name for spec in core_backbones()]
SMALL = {
    "integral": ("image_size=64", "head.channels=64"),
    "rle": ("image_size=32",),
    "i2l": ("image_size=32", "head.channels=16", "head.depth=16"),
    "pyramid": ("image_size=32", "channels=16", "pose.widths=[32]"),
}
"""How models of images are made small enough to be trained here for some steps."""


@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_the_contract(name: str) -> None:
    check_backbone(name, width=16)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model", SMALL)
def test_every_model_of_images_takes_it(model: str, name: str) -> None:
    size = ["image_size=56"] if name.endswith("_14") else []
    overrides = [f"backbone.name={name}", "backbone.width=8", *SMALL[model], *size]
    check_spec(discover().model(model), overrides=overrides)


def test_the_image_is_normalised_by_the_backbone_s_own_mean_unless_it_is_as_published() -> None:
    image = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    own = build_backbone(BackboneConfig(name="resnet18", width=8)).eval()
    half = build_backbone(BackboneConfig(name="resnet18", width=8, image_norm="half")).eval()
    half.load_state_dict(own.state_dict())
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normalised = (image - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(own(image - 0.5)[-1], half(normalised)[-1])


def test_a_recipe_s_options_go_where_another_backbone_lacks_them() -> None:
    spec = discover().model("integral")
    config: Any = load_recipe(spec, "published", ["backbone.name=convnext_tiny"]).model
    assert config.backbone == BackboneConfig(name="convnext_tiny", weights="imagenet")
    config = load_recipe(spec, "published", ["backbone.name=resnet34"]).model
    assert config.backbone == BackboneConfig(
        name="resnet34", weights="imagenet", freeze_batch_norm="first", image_norm="half"
    )


@pytest.mark.parametrize(
    ("sets", "text"),
    [
        (
            ["backbone.name=convnext_tiny", "backbone.freeze_batch_norm=all"],
            "the backbone convnext_tiny has no option backbone.freeze_batch_norm. It has: backbone.name, "
            "backbone.weights, backbone.width, backbone.drop_path.",
        ),
        (["backbone.class_token=false"], "the backbone resnet18 has no option backbone.class_token. It has: "),
        (["backbone.drop_path=0.1"], "the backbone resnet18 has no option backbone.drop_path. It has: "),
        (
            ["backbone.name=resnet51"],
            'unknown backbone "resnet51". Did you mean "resnet50"? Installed: convnext_nano, ',
        ),
        (["backbone.name=timm/x"], 'backbone "timm/" is not installed: pip install hmr-timm'),
        (
            ["backbone.name=vit_small_14"],
            "image_size must be a multiple of 14 (the stride of the backbone vit_small_14), such as 98, not 96.",
        ),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_built(sets: list[str], text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(text)):
        load_recipe(discover().model("integral"), "tiny", sets)


def test_doublings() -> None:
    assert [scaled(FeatureMap(1, stride), 8) for stride in (32, 16, 14, 8, 4)] == [2, 1, 1, 0, 0]
    assert [scaled(FeatureMap(1, stride), 4) for stride in (32, 16, 14, 8, 4)] == [3, 2, 2, 1, 0]


def test_branches_are_left_out_at_the_asked_rate_and_never_in_eval_mode() -> None:
    drop = DropPath(0.25)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        branch = drop(torch.ones(4000, 2, 3))
    kept = branch[:, 0, 0]
    torch.testing.assert_close(kept.unique(), torch.tensor([0, 4 / 3]))
    assert float(kept.mean()) == pytest.approx(1, abs=0.03)
    assert bool((branch == kept[:, None, None]).all())
    assert torch.equal(drop.eval()(torch.ones(5, 2)), torch.ones(5, 2))
    assert drop_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert drop_rates(0.3, 1) == [0]


def test_a_family_gives_its_members_by_their_whole_names(fakes: Any) -> None:
    resnet = core_backbones()[0]

    def member(name: str) -> BackboneSpec:
        if name != "zoo/small":
            raise UsageError(f'the zoo has no backbone "{name}"')
        return replace(resnet, name=name)

    family = BackboneFamily(name="zoo/", summary="a zoo", member=member)
    registry = fakes.registry(fakes.plugin("zoo", hmr_backbones=lambda: [family, resnet]))
    assert registry.backbone("zoo/small").name == "zoo/small"
    assert registry.provider(registry.backbone("zoo/small")) == "zoo"
    assert registry.plugins[0].backbones == ("resnet18", "zoo/")
    for name, text in (
        ("zoo/large", 'the zoo has no backbone "zoo/large"'),
        ("zoo", 'unknown backbone "zoo". Did you mean "zoo/"? Installed: resnet18, zoo/. List them: hmr backbones'),
        ("zou/small", 'unknown backbone "zou/". Did you mean "zoo/"? Installed: resnet18, zoo/.'),
    ):
        with pytest.raises(UsageError, match=re.escape(text)):
            registry.backbone(name)


def broken(rule: str) -> Any:
    """A spec of a small ResNet that breaks one rule of the contract."""
    spec = core_backbones()[0]

    class Broken(ResNet):
        def __init__(self, config: BackboneConfig, *, has_stem: bool = True) -> None:
            super().__init__(config, has_stem=has_stem)
            if rule == "maps":
                self.maps = (*self.maps[:3], FeatureMap(3, 32))
            if rule == "idle":
                self.unused = torch.nn.Parameter(torch.zeros(1))
            if rule == "seed":
                for value in self.parameters():
                    torch.nn.init.ones_(value)

        def stage_features(self, x: torch.Tensor) -> list[torch.Tensor]:
            maps = super().stage_features(x)
            return [m - m.mean(0, keepdim=True) for m in maps] if rule == "batch" else maps

        def own_names(self, state: Any) -> Any:
            found = super().own_names(state)
            return {name: value for name, value in found.items() if name != "bn1.bias"} if rule == "names" else found

    changes: dict[str, Any] = {"build": lambda config, has_stem: Broken(config, has_stem=has_stem)}
    if rule == "stride":
        changes["stride"] = 64
    if rule == "options":
        changes["options"] = ("width", "depth")
    if rule == "digest":
        changes["weights"] = {"mine": WeightsSource(url="https://x.org/weights.pth", licence="MIT")}
    return replace(spec, **changes)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("options", "its spec's options name depth, which is none that a backbone may have or not"),
        ("digest", 'nothing could tell whether its weights "mine" came whole: no digest in weights.pth'),
        ("maps", "its maps have the shapes"),
        ("stride", "its coarsest map has stride 32, and its spec says 64"),
        ("idle", "unused gets no gradient"),
        ("seed", "it is the same for every seed"),
        ("batch", "it does not give the same for an image alone and in a batch"),
        ("names", "own_names changes its own weights"),
    ],
)
def test_a_broken_rule_is_named(rule: str, text: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(text)):
        check_backbone_spec(broken(rule), width=8)
