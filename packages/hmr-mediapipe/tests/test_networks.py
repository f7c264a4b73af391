"""The networks give what LiteRT gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hmr_core.errors import HmrError
from hmr_core.testing.golden import load_golden
from hmr_mediapipe.files import HAND, PALM
from hmr_mediapipe.networks import (
    HAND_OUTPUTS,
    HAND_SIZE,
    PALM_SIZE,
    HandNetwork,
    Networks,
    load_network,
    load_networks,
)

GOLDEN = Path(__file__).parent / "data/golden"
CPU = torch.device("cpu")
Image = Callable[[int, int], Tensor]


@pytest.fixture(scope="module", params=[False, True], ids=["full", "lite"])
def lite(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def networks(lite: bool, networks_folder_path: Path) -> Networks:
    return load_networks(lite, CPU)


@pytest.fixture(scope="module")
def recorded(lite: bool) -> dict[str, Tensor]:
    return load_golden(GOLDEN / ("lite.npz" if lite else "full.npz"))


def images(image: Image, size: int, seeds: int = 2) -> Tensor:
    return torch.stack([image(size, seed) for seed in range(seeds)])


def test_the_palm_network_gives_what_litert_gives(
    networks: Networks, recorded: dict[str, Tensor], image: Image
) -> None:
    boxes, logits = networks.palm(images(image, PALM_SIZE))
    assert boxes.shape == (2, 2016, 18)
    torch.testing.assert_close(boxes[:, ::16], recorded["boxes"], rtol=1e-6, atol=2e-4)  # pixels
    torch.testing.assert_close(logits, recorded["logits"], rtol=1e-6, atol=4e-5)


def test_the_hand_network_gives_what_litert_gives(
    networks: Networks, recorded: dict[str, Tensor], image: Image
) -> None:
    hand = networks.hand(images(image, HAND_SIZE))
    torch.testing.assert_close(hand.landmarks, recorded["landmarks"], rtol=1e-6, atol=1e-4)  # pixels
    torch.testing.assert_close(hand.presence, recorded["presence"], rtol=0, atol=1e-6)
    torch.testing.assert_close(hand.handedness, recorded["handedness"], rtol=0, atol=4e-6)
    torch.testing.assert_close(hand.world, recorded["world"], rtol=0, atol=5e-7)  # metres


@pytest.mark.parametrize("count", [0, 3])
def test_an_image_gives_the_same_alone_and_among_others(networks: Networks, image: Image, count: int) -> None:
    together = networks.hand(images(image, HAND_SIZE, count) if count else torch.zeros(0, HAND_SIZE, HAND_SIZE, 3))
    assert together.world.shape == (count, 63)
    assert together.presence.shape == (count,)
    for number in range(count):
        alone = networks.hand(image(HAND_SIZE, number)[None])
        torch.testing.assert_close(together.landmarks[number], alone.landmarks[0], rtol=1e-6, atol=1e-4)


def test_the_outputs_are_plain_tensors_that_nobody_else_has(networks: Networks, image: Image) -> None:
    first = networks.hand(image(HAND_SIZE, 0)[None])
    kept = first.landmarks.clone()
    networks.hand(image(HAND_SIZE, 1)[None])
    assert torch.equal(first.landmarks, kept)
    assert not first.landmarks.requires_grad


def test_the_images_are_left_as_they_are(networks: Networks, image: Image) -> None:
    given = image(PALM_SIZE, 0)[None]
    networks.palm(given)
    assert torch.equal(given, image(PALM_SIZE, 0)[None])


def test_another_network_is_refused(networks_folder_path: Path) -> None:
    with pytest.raises(HmrError, match=r"palm_detection_full\.tflite holds another network: it makes .* of \(1, 192"):
        HandNetwork(networks_folder_path / PALM[False], CPU)
    with pytest.raises(HmrError, match="holds another network"):
        load_network(networks_folder_path / HAND[False], PALM_SIZE, HAND_OUTPUTS, CPU)
