"""The operators that MediaPipe's hand networks are made of, and the shape of what each of them gives.

All tensors have the batch first and the channels last, as in TensorFlow Lite's files: (1, height, width, channels).
Source of the numbers of operators, options and fields: schema.fbs (version 3) of TensorFlow Lite. Only those options
are listed that can change a result, each with the values that the networks have; others are refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jaxtyping import Shaped
from numpy import ndarray

Shape = tuple[int, ...]
Constant = Shaped[ndarray, "..."]

SAME, VALID = 0, 1
"""Padding: so much that the output has the input's size over the stride, rounded up; or none."""

NO_ACTIVATION, RELU6 = 0, 3


class MisfitError(ValueError):
    """The tensors or options of an operator do not fit together."""


@dataclass(frozen=True)
class Operator:
    """An operator of a graph: it makes tensor `output` of the tensors `inputs`, which go by their numbers."""

    kind: str
    inputs: tuple[int, ...]
    output: int
    options: Mapping[str, int]


class Field(NamedTuple):
    """An option: its number among the fields, its kind as `struct` names it, its default, the values that are run."""

    number: int
    kind: str
    default: int
    valid: tuple[int, ...]


class Kind(NamedTuple):
    """A kind of operator.

    version: the newest that is run. variable: how many of its inputs are computed; they come first. constant: how many
    are stored in the file. options: which kind of options it has, 0 where none matters. shape: of what it gives, from
    the operator, the shapes of its inputs, and the constants among them.
    """

    name: str
    version: int
    variable: int
    constant: int
    options: int
    fields: Mapping[str, Field]
    shape: Callable[[Operator, Sequence[Shape], Sequence[Constant]], Shape]


def pads(size: int, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Compute how many zeros come before and after `size` pixels; where the sum is odd, one more comes after."""
    if padding == VALID:
        return 0, 0
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def kind_of(code: int) -> Kind | None:
    """The kind of operator of a number of TensorFlow Lite's; None for one that is not run."""
    return _KINDS.get(code)


def _require(fits: bool, reason: str) -> None:
    if not fits:
        raise MisfitError(reason)


def _text(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _rank(shape: Shape, rank: int) -> None:
    _require(len(shape) == rank, f"its input is {_text(shape)}, and should have {rank} dimensions")


def _window(operator: Operator, shape: Shape, kernel: Shape) -> tuple[int, int]:
    """The height and width of what a window that moves over an image gives."""
    _rank(shape, 4)
    found = []
    for size, extent, stride in zip(shape[1:3], kernel, _strides(operator), strict=True):
        moves = size + sum(pads(size, extent, stride, operator.options["padding"])) - extent
        _require(moves >= 0, f"a window of {_text(kernel)} does not fit into {_text(shape)}")
        found.append(moves // stride + 1)
    return found[0], found[1]


def _strides(operator: Operator) -> tuple[int, int]:
    return operator.options["stride_h"], operator.options["stride_w"]


def _weights(weights: Shape, bias: Shape, rank: int, outputs: int) -> None:
    """outputs: which dimension of the weights counts what is given."""
    _require(len(weights) == rank, f"its weights are {_text(weights)}, and should have {rank} dimensions")
    _require(bias == (weights[outputs],), f"its bias is {_text(bias)}, and should be {weights[outputs]}")


def _convolved(operator: Operator, shapes: Sequence[Shape], _: Sequence[Constant]) -> Shape:
    image, weights, bias = shapes
    _weights(weights, bias, 4, 0)
    height, width = _window(operator, image, weights[1:3])
    _require(image[3] == weights[3], f"its weights {_text(weights)} do not fit its input {_text(image)}")
    return 1, height, width, weights[0]


def _convolved_by_channel(operator: Operator, shapes: Sequence[Shape], _: Sequence[Constant]) -> Shape:
    image, weights, bias = shapes
    _weights(weights, bias, 4, 3)
    height, width = _window(operator, image, weights[1:3])
    _require(weights[0] == 1 and image[3] == weights[3], f"its weights {_text(weights)} do not fit {_text(image)}")
    return 1, height, width, weights[3]


def _connected(operator: Operator, shapes: Sequence[Shape], _: Sequence[Constant]) -> Shape:
    vector, weights, bias = shapes
    _weights(weights, bias, 2, 0)
    _require(vector == (1, weights[1]), f"its weights {_text(weights)} do not fit its input {_text(vector)}")
    return 1, weights[0]


def _pooled(operator: Operator, shapes: Sequence[Shape], _: Sequence[Constant]) -> Shape:
    height, width = _window(operator, shapes[0], (operator.options["filter_h"], operator.options["filter_w"]))
    # A window of the border would hold zeros that are no pixels.
    padded = [sum(pads(size, 2, 2, operator.options["padding"])) for size in shapes[0][1:3]]
    _require(padded == [0, 0], f"{_text(shapes[0])} cannot be halved")
    return 1, height, width, shapes[0][3]


def _added(operator: Operator, shapes: Sequence[Shape], _: Sequence[Constant]) -> Shape:
    _require(shapes[0] == shapes[1], f"it adds {_text(shapes[0])} and {_text(shapes[1])}")
    return shapes[0]


def _concatenated(operator: Operator, shapes: Sequence[Shape], _: Sequence[Constant]) -> Shape:
    (first, second), axis = shapes, operator.options["axis"]
    fits = axis < len(first) == len(second) < 4 and all(
        one == other for place, (one, other) in enumerate(zip(first, second, strict=True)) if place != axis
    )
    _require(fits, f"it joins {_text(first)} and {_text(second)}")
    return (*first[:axis], first[axis] + second[axis], *first[axis + 1 :])


def _activated(operator: Operator, shapes: Sequence[Shape], _: Sequence[Constant]) -> Shape:
    image, slopes = shapes
    _rank(image, 4)
    _require(slopes == (1, 1, image[3]), f"its slopes are {_text(slopes)}, and should be 1x1x{image[3]}")
    return image


def _unchanged(operator: Operator, shapes: Sequence[Shape], _: Sequence[Constant]) -> Shape:
    return shapes[0]


def _reshaped(operator: Operator, shapes: Sequence[Shape], constants: Sequence[Constant]) -> Shape:
    asked = tuple(int(size) for size in constants[0].reshape(-1))
    rest = math.prod(shapes[0]) // max(math.prod(size for size in asked if size != -1), 1)
    shape = tuple(rest if size == -1 else size for size in asked)
    fits = shape[:1] == (1,) and min(shape) > 0 and math.prod(shape) == math.prod(shapes[0]) and len(shape) < 4
    _require(fits, f"it makes {_text(asked)} of {_text(shapes[0])}")
    return shape


def _resized(operator: Operator, shapes: Sequence[Shape], constants: Sequence[Constant]) -> Shape:
    _rank(shapes[0], 4)
    size = tuple(int(size) for size in constants[0].reshape(-1))
    _require(len(size) == 2 and min(size) > 0, f"it makes an image of {_text(size)}")
    return 1, size[0], size[1], shapes[0][3]


def _padded(operator: Operator, shapes: Sequence[Shape], constants: Sequence[Constant]) -> Shape:
    _rank(shapes[0], 4)
    _require(constants[0].shape == (4, 2), f"it pads by {_text(constants[0].shape)} numbers, and should by 4x2")
    before_and_after = [int(size) for size in constants[0].reshape(-1)]
    fits = before_and_after[:7] == [0] * 7 and before_and_after[7] >= 0
    _require(fits, f"it pads by {before_and_after}; only channels are added, and behind the others")
    return (*shapes[0][:3], shapes[0][3] + before_and_after[7])


def _averaged(operator: Operator, shapes: Sequence[Shape], constants: Sequence[Constant]) -> Shape:
    _rank(shapes[0], 4)
    axes = [int(axis) for axis in constants[0].reshape(-1)]
    _require(axes == [1, 2], f"it averages over the axes {axes}; only height and width (1, 2) are averaged over")
    return 1, shapes[0][3]


def _window_fields(activation: int, activations: tuple[int, ...]) -> dict[str, Field]:
    """The options of what moves over an image; activation: the number of that field."""
    return {
        "padding": Field(0, "b", SAME, (SAME, VALID)),
        "stride_w": Field(1, "i", 0, (1, 2)),
        "stride_h": Field(2, "i", 0, (1, 2)),
        "activation": Field(activation, "b", NO_ACTIVATION, activations),
    }


def _not_dilated(first: int) -> dict[str, Field]:
    return {"dilation_w": Field(first, "i", 1, (1,)), "dilation_h": Field(first + 1, "i", 1, (1,))}


def _no_activation(number: int) -> dict[str, Field]:
    return {"activation": Field(number, "b", NO_ACTIVATION, (NO_ACTIVATION,))}


_KINDS = {
    0: Kind("ADD", 1, 2, 0, 11, _no_activation(0), _added),
    2: Kind("CONCATENATION", 1, 2, 0, 10, {"axis": Field(0, "i", 0, (1,)), **_no_activation(1)}, _concatenated),
    3: Kind("CONV_2D", 1, 1, 2, 1, {**_window_fields(3, (NO_ACTIVATION, RELU6)), **_not_dilated(4)}, _convolved),
    4: Kind(
        "DEPTHWISE_CONV_2D",
        1,
        1,
        2,
        2,
        {**_window_fields(4, (NO_ACTIVATION, RELU6)), **_not_dilated(5)},
        _convolved_by_channel,
    ),
    6: Kind("DEQUANTIZE", 2, 0, 1, 0, {}, _unchanged),
    9: Kind(
        "FULLY_CONNECTED",
        1,
        1,
        2,
        8,
        {**_no_activation(0), "weights_format": Field(1, "b", 0, (0,)), "keep_num_dims": Field(2, "B", 0, (0,))},
        _connected,
    ),
    14: Kind("LOGISTIC", 1, 1, 0, 0, {}, _unchanged),
    17: Kind(
        "MAX_POOL_2D",
        1,
        1,
        0,
        5,
        {
            **_window_fields(5, (NO_ACTIVATION,)),
            "stride_w": Field(1, "i", 0, (2,)),
            "stride_h": Field(2, "i", 0, (2,)),
            "filter_w": Field(3, "i", 0, (2,)),
            "filter_h": Field(4, "i", 0, (2,)),
        },
        _pooled,
    ),
    22: Kind("RESHAPE", 1, 1, 1, 0, {}, _reshaped),
    23: Kind(
        "RESIZE_BILINEAR",
        3,
        1,
        1,
        15,
        {"align_corners": Field(2, "B", 0, (0,)), "half_pixel_centers": Field(3, "B", 0, (1,))},
        _resized,
    ),
    34: Kind("PAD", 1, 1, 1, 0, {}, _padded),
    40: Kind("MEAN", 1, 1, 1, 27, {"keep_dims": Field(0, "B", 0, (0,))}, _averaged),
    54: Kind("PRELU", 1, 1, 1, 0, {}, _activated),
}
