"""MediaPipe's two networks for hands, with typed inputs and outputs.

Zhang et al., MediaPipe Hands: On-device Real-time Hand Tracking, arXiv 2006.10214. The weights are Google's, under the
Apache License 2.0. What the outputs mean was checked against the graph files of the package mediapipe.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from hmr_core.errors import HmrError
from hmr_mediapipe.files import FETCH, HAND, PALM, network_file
from hmr_mediapipe.memory import keep_freed_memory
from hmr_mediapipe.network import Network
from hmr_mediapipe.tflite import read_graph

PALM_SIZE, HAND_SIZE = 192, 224
"""Width and height of the images that the networks take, in pixels."""

PALM_OUTPUTS = {"Identity": (2016, 18), "Identity_1": (2016, 1)}
HAND_OUTPUTS = {"Identity": (63,), "Identity_1": (1,), "Identity_2": (1,), "Identity_3": (63,)}
"""What the files give, for each image."""

ON_CPU, ON_OTHERS = 4, 64
"""How many images are run at once."""


class Palms(NamedTuple):
    """What the palm network gives for n images and each of its 2016 anchors.

    boxes: centre x and y, width, height, then x and y of seven points, all in pixels of the image; the centre and the
    points are relative to the anchor's centre. logits: of the score; the logistic function makes it 0 to 1.
    """

    boxes: Float[Tensor, "n 2016 18"]
    logits: Float[Tensor, "n 2016"]


class Landmarks(NamedTuple):
    """What the hand network gives for n crops.

    landmarks: x, y and z of 21 points, in pixels of the crop. presence: 0 to 1, that there is a hand. handedness: 0 to
    1, that it is a right hand of a picture that is not mirrored. world: x, y and z of the 21 points in metres; x is
    right, y down, z away in the crop as it is turned, and the origin is near the knuckles' mean.
    """

    landmarks: Float[Tensor, "n 63"]
    presence: Float[Tensor, " n"]
    handedness: Float[Tensor, " n"]
    world: Float[Tensor, "n 63"]


class PalmNetwork:
    """Finds palms in images."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self._network = load_network(path, PALM_SIZE, PALM_OUTPUTS, device)

    def __call__(self, images: Float[Tensor, "n 192 192 3"]) -> Palms:
        """Run the network on images: RGB from 0 to 1, on its device."""
        given = _run(self._network, images)
        return Palms(given["Identity"], given["Identity_1"].squeeze(2))


class HandNetwork:
    """Finds the landmarks of the hand in a crop."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self._network = load_network(path, HAND_SIZE, HAND_OUTPUTS, device)

    def __call__(self, images: Float[Tensor, "n 224 224 3"]) -> Landmarks:
        """Run the network on crops: RGB from 0 to 1, on its device."""
        given = _run(self._network, images)
        return Landmarks(
            landmarks=given["Identity"],
            presence=given["Identity_1"].squeeze(1),
            handedness=given["Identity_2"].squeeze(1),
            world=given["Identity_3"],
        )


class Networks(NamedTuple):
    """Both networks."""

    palm: PalmNetwork
    hand: HandNetwork


def load_networks(lite: bool, device: torch.device) -> Networks:
    """Load both networks onto a device.

    lite: the small ones, which are faster and worse. Raises HmrError, which says what to run, when their files are not
    on this machine or are not what they should be.
    """
    palm, hand = network_file(PALM[lite]), network_file(HAND[lite])
    return Networks(PalmNetwork(palm, device), HandNetwork(hand, device))


def load_network(path: Path, size: int, outputs: Mapping[str, tuple[int, ...]], device: torch.device) -> Network:
    """Load a network that takes images of a size and gives certain outputs; HmrError for a file of any other."""
    graph = read_graph(path)
    given = {name: graph.shapes[number][1:] for name, number in graph.outputs.items()}
    if graph.shapes[graph.input] != (1, size, size, 3) or given != outputs:
        raise HmrError(f"{path} holds another network: it makes {given} of {graph.shapes[graph.input]}. Run: {FETCH}")
    keep_freed_memory()
    return Network(graph).eval().to(device)


@torch.inference_mode()
def _run(network: Network, images: Tensor) -> dict[str, Tensor]:
    """Run a network on any number of images, a few at once: more use more memory, and on a CPU are not faster."""
    at_once = ON_CPU if images.device.type == "cpu" else ON_OTHERS
    parts = [network(part) for part in torch.split(images, at_once)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
