"""timm's backbones by hmr's contract, and core's own against timm's modules. Runs where timm is: `make test-timm`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from hmr_core.errors import UsageError
from hmr_core.nn.backbones.config import BackboneConfig
from hmr_core.plugins.backbones import build_backbone, find_backbone, load_pretrained
from hmr_core.testing import check_backbone, check_model

timm = pytest.importorskip("timm", reason="`make test-timm` makes an environment that has it")

NAMES = (
    "resnet10t",
    "repvit_m0_9",
    "mobilenetv4_conv_small",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "hrnet_w18_small",
)


@pytest.mark.parametrize("name", NAMES)
def test_it_keeps_the_contract(name: str) -> None:
    check_backbone(f"timm/{name}")


SMALL = {
    "integral": ("image_size=64", "head.channels=64"),
    "rle": ("image_size=64",),
    "i2l": ("image_size=64", "head.channels=16", "head.depth=16"),
    "pyramid": ("image_size=64", "channels=16", "pose.widths=[32]"),
}


@pytest.mark.parametrize("model", SMALL)
@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
def test_every_model_of_images_takes_it(model: str, name: str) -> None:
    check_model(model, overrides=[f"backbone.name=timm/{name}", *SMALL[model]])


def test_a_name_that_timm_does_not_have() -> None:
    with pytest.raises(UsageError, match=r'has no model "resnet51"\. Did you mean "resnet51q"'):
        find_backbone("timm/resnet51")


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto", "vit_tiny_patch16_224"])
def test_a_file_of_timm_s_loads(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole = timm.create_model(name)
    path = tmp_path / "model.pth"
    torch.save(whole.state_dict(), path)
    backbone = build_backbone(BackboneConfig(name=f"timm/{name}", weights=str(path))).eval()
    load_pretrained(backbone)
    image = torch.rand(1, 3, 224, 224) - 0.5
    with torch.no_grad():
        last = backbone(image)[-1]
        normalised = (image + 0.5 - backbone.mean) / backbone.std
        expected = whole.eval().forward_intermediates(normalised, indices=1, intermediates_only=True)[-1]
    torch.testing.assert_close(last, expected)


# Core's own backbones, against timm's modules of the same weights.


def normalised(image: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return (image + 0.5 - mean) / std


@pytest.mark.parametrize(("name", "theirs"), [("convnext_tiny", "convnext_tiny"), ("convnext_nano", "convnext_nano")])
def test_convnext_gives_what_timm_s_does(name: str, theirs: str) -> None:
    torch.manual_seed(0)
    other = timm.create_model(theirs).eval()
    for value in other.parameters():
        torch.nn.init.normal_(value, std=0.05)
    own = build_backbone(BackboneConfig(name=name)).eval()
    own.load_state_dict(own.own_names(other.state_dict()))
    image = torch.rand(2, 3, 64, 96) - 0.5
    with torch.no_grad():
        maps = own(image)
        expected = other.forward_intermediates(normalised(image), intermediates_only=True)
    assert len(maps) == 4
    for found, value in zip(maps, expected[-4:], strict=True):
        torch.testing.assert_close(found, value, rtol=1e-5, atol=1e-5 * float(value.abs().max()))


@pytest.mark.parametrize(
    ("name", "theirs"), [("vit_small", "vit_small_patch16_224"), ("vit_base", "vit_base_patch16_224")]
)
def test_vit_gives_what_timm_s_does(name: str, theirs: str) -> None:
    torch.manual_seed(0)
    other = timm.create_model(theirs).eval()
    for value in other.parameters():
        torch.nn.init.normal_(value, std=0.03)
    own = build_backbone(BackboneConfig(name=name)).eval()
    own.load_state_dict(own.own_names(other.state_dict()))
    image = torch.rand(2, 3, 224, 224) - 0.5
    with torch.no_grad():
        (found,) = own(image)
        expected = other.forward_features(normalised(image))[:, 1:].transpose(1, 2).unflatten(2, (14, 14))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("theirs", ["vit_small_patch14_dinov2"])
def test_dinov2_gives_what_timm_s_does(theirs: str) -> None:
    torch.manual_seed(0)
    other = timm.create_model(theirs).eval()
    for name, value in other.named_parameters():
        torch.nn.init.normal_(value, mean=1 if "gamma" in name else 0, std=0.03)
    own = build_backbone(BackboneConfig(name="vit_small_14")).eval()
    own.load_state_dict(own.own_names(other.state_dict()))
    image = torch.rand(1, 3, 518, 518) - 0.5
    with torch.no_grad():
        (found,) = own(image)
        expected = other.forward_features(normalised(image))[:, 1:].transpose(1, 2).unflatten(2, (37, 37))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnet_gives_what_torchvision_s_does(name: str) -> None:
    import torchvision

    torch.manual_seed(0)
    other = getattr(torchvision.models, name)().eval()
    own = build_backbone(BackboneConfig(name=name)).eval()
    own.load_state_dict({**own.state_dict(), **own.own_names(other.state_dict())})
    image = torch.rand(2, 3, 64, 96) - 0.5
    x = normalised(image)
    with torch.no_grad():
        found = own(image)
        x = other.maxpool(other.relu(other.bn1(other.conv1(x))))
        for stage, value in zip((other.layer1, other.layer2, other.layer3, other.layer4), found, strict=True):
            x = stage(x)
            torch.testing.assert_close(value, x)


@pytest.mark.parametrize(("name", "theirs"), [("convnext_tiny", "convnext_tiny"), ("vit_base", "vit_b_16")])
def test_torchvision_s_layouts_give_what_torchvision_s_modules_do(name: str, theirs: str) -> None:
    import torchvision

    torch.manual_seed(0)
    other = getattr(torchvision.models, theirs)().eval()
    for value in other.parameters():
        torch.nn.init.normal_(value, std=0.03)
    own = build_backbone(BackboneConfig(name=name)).eval()
    own.load_state_dict(own.own_names(other.state_dict()))
    image = torch.rand(1, 3, 224, 224) - 0.5
    x = normalised(image)
    with torch.no_grad():
        found = own(image)[-1]
        if name == "convnext_tiny":
            expected = other.features(x)
        else:
            tokens = torch.cat([other.class_token, other._process_input(x)], dim=1)
            expected = other.encoder(tokens)[:, 1:].transpose(1, 2).unflatten(2, (14, 14))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5 * float(expected.abs().max()))
