"""A graph of a TensorFlow Lite file as a PyTorch module.

What is computed is what the file says, in float32, for any number of images. Images keep the channels last in memory,
which PyTorch's convolutions take as they are. Padding can be unequal, with one zero more behind than before, which
PyTorch's cannot. There, CONV_2D gets the image copied into a larger one; the kernel of DEPTHWISE_CONV_2D has a row and
a column of zeros more before it, which is faster. A sum takes the place of a summand that nobody else needs.

On one core this takes 1.4 to 1.9 times as long as LiteRT, the more the busier the caches are. oneDNN's convolutions
with an activation, which PyTorch has for its compiler alone, save a tenth of the hand network's time; so does
torch.jit, which is deprecated.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from hmr_mediapipe.operators import RELU6, Constant, Operator, Shape, pads
from hmr_mediapipe.tflite import Graph


class Convolution(nn.Module):
    """CONV_2D and DEPTHWISE_CONV_2D, with their activation."""

    def __init__(self, operator: Operator, image: Shape, weights: Constant, bias: Constant) -> None:
        super().__init__()
        by_channel = operator.kind == "DEPTHWISE_CONV_2D"
        order = (3, 0, 1, 2) if by_channel else (0, 3, 1, 2)
        weight = _tensor(weights).permute(order)
        self.stride = operator.options["stride_h"], operator.options["stride_w"]
        edges = [
            pads(size, kernel, stride, operator.options["padding"])
            for size, kernel, stride in zip(image[1:3], weight.shape[2:], self.stride, strict=True)
        ]
        (top, bottom), (left, right) = edges
        self.border: tuple[int, ...] = ()
        self.padding = bottom, right
        self.groups = weight.shape[0] if by_channel else 1
        if by_channel:
            weight = F.pad(weight, (right - left, 0, bottom - top, 0))
        elif (top, left) != (bottom, right):
            self.border, self.padding = (left, right, top, bottom), (0, 0)
        self.relu6 = operator.options["activation"] == RELU6
        self.weight = nn.Buffer(weight.contiguous(memory_format=torch.channels_last))
        self.bias = nn.Buffer(_tensor(bias))

    def forward(self, image: Tensor) -> Tensor:
        """Convolve images (n, channels, height, width)."""
        image = F.pad(image, self.border) if self.border else image
        result = F.conv2d(image, self.weight, self.bias, self.stride, self.padding, 1, self.groups)
        return result.clamp_(0, 6) if self.relu6 else result


class Connected(nn.Module):
    """FULLY_CONNECTED."""

    def __init__(self, weights: Constant, bias: Constant) -> None:
        super().__init__()
        self.weight, self.bias = nn.Buffer(_tensor(weights)), nn.Buffer(_tensor(bias))

    def forward(self, vector: Tensor) -> Tensor:
        """Map vectors (n, inputs)."""
        return F.linear(vector, self.weight, self.bias)


class Activation(nn.Module):
    """PRELU, with a slope for each channel."""

    def __init__(self, slopes: Constant) -> None:
        super().__init__()
        self.slopes = nn.Buffer(_tensor(slopes).reshape(-1))

    def forward(self, image: Tensor) -> Tensor:
        """Activate images (n, channels, height, width)."""
        return F.prelu(image, self.slopes)


class Halved(nn.Module):
    """MAX_POOL_2D of two by two pixels."""

    def forward(self, image: Tensor) -> Tensor:
        """Halve images (n, channels, height, width)."""
        return F.max_pool2d(image, 2)


class Resized(nn.Module):
    """RESIZE_BILINEAR with the centres of pixels at a half."""

    def __init__(self, size: Constant) -> None:
        super().__init__()
        self.size = [int(number) for number in size.reshape(-1)]

    def forward(self, image: Tensor) -> Tensor:
        """Resize images (n, channels, height, width)."""
        return F.interpolate(image, size=self.size, mode="bilinear", align_corners=False)


class Padded(nn.Module):
    """PAD, by channels of zeros behind the others."""

    def __init__(self, sizes: Constant) -> None:
        super().__init__()
        self.channels = int(sizes[3, 1])

    def forward(self, image: Tensor) -> Tensor:
        """Add to images (n, channels, height, width)."""
        return F.pad(image, (0, 0, 0, 0, 0, self.channels))


class Reshaped(nn.Module):
    """RESHAPE of an image, whose channels are then last."""

    def __init__(self, given: Shape, shape: Shape) -> None:
        super().__init__()
        self.image, self.shape = len(given) == 4, shape[1:]

    def forward(self, tensor: Tensor) -> Tensor:
        """Reshape all but the batch."""
        channels_last = tensor.permute(0, 2, 3, 1) if self.image else tensor
        return channels_last.reshape(len(tensor), *self.shape)


class Averaged(nn.Module):
    """MEAN over height and width."""

    def forward(self, image: Tensor) -> Tensor:
        """Average images (n, channels, height, width)."""
        return image.mean((2, 3))


class Added(nn.Module):
    """ADD."""

    def __init__(self, in_place: bool) -> None:
        super().__init__()
        self.in_place = in_place

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Add two tensors of one shape; in the first one's place where nobody needs it any more."""
        return one.add_(other) if self.in_place else one + other


class Concatenated(nn.Module):
    """CONCATENATION of tensors that are no images."""

    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """Join along the first axis after the batch's."""
        return torch.cat((one, other), 1)


class Logistic(nn.Module):
    """LOGISTIC."""

    def forward(self, tensor: Tensor) -> Tensor:
        """Apply the logistic function."""
        return torch.sigmoid(tensor)


class Step(NamedTuple):
    """What the operator of the same place takes and makes.

    done: the tensors that nobody needs after it. in_place: whether it may take its first input's memory for its output.
    """

    inputs: tuple[int, ...]
    output: int
    done: tuple[int, ...]
    in_place: bool


class Network(nn.Module):
    """A network: images in, by name what the graph gives."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.entry, self.outputs = graph.input, dict(graph.outputs)
        self.steps = _steps(graph)
        self.operators = nn.ModuleList(
            _module(operator, step, graph) for operator, step in zip(graph.operators, self.steps, strict=True)
        )

    def forward(self, images: Float[Tensor, "n height width channels"]) -> dict[str, Tensor]:
        """Run the network on images of the size that it takes.

        images: with the channels last, whatever they are. Returns by the file's names what it gives, shaped as the file
        says, with n for the batch.
        """
        tensors = {self.entry: images.permute(0, 3, 1, 2)}
        for operator, step in zip(self.operators, self.steps, strict=True):
            tensors[step.output] = operator(*(tensors[number] for number in step.inputs))
            for number in step.done:  # so that the next operator gets its memory, which is in the cache
                del tensors[number]
        return {name: _channels_last(tensors[number]) for name, number in self.outputs.items()}


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.permute(0, 2, 3, 1) if tensor.dim() == 4 else tensor


def _steps(graph: Graph) -> list[Step]:
    takes = [tuple(n for n in operator.inputs if n not in graph.constants) for operator in graph.operators]
    last = {number: place for place, inputs in enumerate(takes) for number in inputs}
    uses = Counter(number for inputs in takes for number in inputs)
    kept = {graph.input, *graph.outputs.values()}
    # Nothing else can hold what a convolution made for one operator alone, as a reshaped tensor would.
    own = {operator.output for operator in graph.operators if operator.kind == "CONV_2D"} - kept
    own = {number for number in own if uses[number] == 1}
    steps = []
    for place, (operator, inputs) in enumerate(zip(graph.operators, takes, strict=True)):
        done = tuple(sorted(number for number in set(inputs) - kept if last[number] == place))
        if operator.kind == "ADD" and inputs[0] not in own:
            inputs = inputs[::-1]
        steps.append(Step(inputs, operator.output, done, in_place=operator.kind == "ADD" and inputs[0] in own))
    return steps


def _module(operator: Operator, step: Step, graph: Graph) -> nn.Module:
    shape = graph.shapes[operator.inputs[0]]
    constants = [graph.constants[number] for number in operator.inputs if number in graph.constants]
    match operator.kind:
        case "ADD":
            return Added(step.in_place)
        case "CONV_2D" | "DEPTHWISE_CONV_2D":
            return Convolution(operator, shape, *constants)
        case "FULLY_CONNECTED":
            return Connected(*constants)
        case "PRELU":
            return Activation(*constants)
        case "RESIZE_BILINEAR":
            return Resized(*constants)
        case "PAD":
            return Padded(*constants)
        case "RESHAPE":
            return Reshaped(shape, graph.shapes[operator.output])
    return _SIMPLE[operator.kind]()


_SIMPLE = {
    "CONCATENATION": Concatenated,
    "LOGISTIC": Logistic,
    "MAX_POOL_2D": Halved,
    "MEAN": Averaged,
}


def _tensor(constant: Constant) -> Tensor:
    return torch.from_numpy(constant.astype(np.float32))
